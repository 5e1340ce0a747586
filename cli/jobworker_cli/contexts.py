"""The contexts of a user: agents by name, with credentials and the certificate to trust, in one file."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from jobworker.client.endpoint import Endpoint
from jobworker.errors import StartError
from jobworker.paths import contexts_file
from jobworker.private import make_private, require_private, write_private
from jobworker_cli import LOCAL_CONTEXT
from jobworker_cli.declare import UsageError

VERSION = 1


class _Stored(msgspec.Struct):
    """An endpoint in the file."""

    address: str | None = None
    token: str | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    pin: str | None = None
    insecure: bool = False
    username: str | None = None
    password: str | None = None


class Contexts(msgspec.Struct):
    version: int = VERSION
    current: str | None = None
    contexts: dict[str, Endpoint] = {}

    def get(self, name: str) -> Endpoint:
        """Return a context by its name; raise UsageError."""
        if name not in self.contexts:
            known = ", ".join([*self.contexts, LOCAL_CONTEXT])
            raise UsageError(f"context: {name!r}; expected one of {known}")
        return self.contexts[name]


def _decode(kind: Any, value: Any) -> Any:
    """Return an endpoint or a path from what JSON has for it; raise ValidationError or TypeError."""
    if kind is Endpoint:
        return Endpoint(**msgspec.structs.asdict(msgspec.convert(value, _Stored, dec_hook=_decode)))
    return kind(value)


def read() -> Contexts:
    """Return all contexts, none if there is no file; raise StartError if it is not ours alone or no such file."""
    path = contexts_file()
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return Contexts()
    except OSError as error:
        raise StartError(
            f"{path}: the contexts of jw cannot be read: {error.strerror}; expected a file of uid {os.geteuid()}",
            hint=f"ls -ld {path}; jw --address uses no context",
        ) from error
    require_private(path.parent)
    require_private(path)
    try:
        # The module json passes on the bytes of file names that are not UTF-8.
        stored = msgspec.convert(json.loads(data), Contexts, dec_hook=_decode)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise StartError(f"{path}: not contexts of jw: {error}", hint=f"rm {path}") from error
    for name, endpoint in stored.contexts.items():
        if endpoint.address is None:  # that would be the local agent
            raise StartError(f"{path}: not contexts of jw: {name!r} has no address", hint=f"rm {path}")
    return stored


@contextmanager
def changing() -> Iterator[Contexts]:
    """Yield the contexts, and write them unless the caller raises; one process at a time."""
    path = contexts_file()
    make_private(path.parent)
    lock = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stored = read()
        yield stored
        write_private(path, _encode(stored))
    finally:
        os.close(lock)


def _encode(stored: Contexts) -> bytes:
    """Return the text of the file, without what is not set."""
    plain = msgspec.to_builtins(
        stored, enc_hook=lambda value: vars(value) if isinstance(value, Endpoint) else str(value)
    )
    plain["contexts"] = {
        name: {field: value for field, value in endpoint.items() if value}
        for name, endpoint in plain["contexts"].items()
    }
    return json.dumps(plain, indent=2).encode() + b"\n"
