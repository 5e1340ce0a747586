"""The contexts of a user: agents by name, with the credentials for each and what vouches for it, in one file."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

import click
import msgspec

from jobworker.errors import StartError
from jobworker.paths import contexts_file, make_private, require_private, write_private

VERSION = 1
LOCAL = "local"  # the context of the agent of this host


class Context(msgspec.Struct, frozen=True, omit_defaults=True):
    """An agent, as whom, and what vouches for it: a CA (a PEM file), a pin, or the CAs of the system."""

    address: str
    token: str | None = None
    username: str | None = None
    password: str | None = None
    ca: str | None = None
    pin: str | None = None
    cert: str | None = None
    key: str | None = None

    def __repr__(self) -> str:
        return f"Context({self.address!r})"  # and no secrets


class Contexts(msgspec.Struct):
    version: int = VERSION
    current: str | None = None
    contexts: dict[str, Context] = {}

    def get(self, name: str) -> Context:
        """Return a context by its name; raise UsageError."""
        if name not in self.contexts:
            known = ", ".join([*self.contexts, LOCAL])
            raise click.UsageError(f"context: {name!r}; expected one of {known}")
        return self.contexts[name]


def read() -> Contexts:
    """Return all contexts, none where there is no file; raise StartError for one that others can reach."""
    path = contexts_file()
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Contexts()
    require_private(path.parent)
    require_private(path)
    try:
        return msgspec.json.decode(data, type=Contexts)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StartError(f"{path}: not contexts of jw: {error}", hint=f"rm {path}") from error


@contextmanager
def changing() -> Iterator[Contexts]:
    """Yield the contexts, and write them when all went well; one process at a time."""
    path = contexts_file()
    make_private(path.parent)
    lock = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = read()
        yield found
        write_private(path, msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    finally:
        os.close(lock)
