"""The secrets of a job, from --secret and --secret-file."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from jobworker_cli.declare import UsageError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
EXPECTED = "expected NAME (its value here), NAME=@FILE (of a file here) or NAME=PROVIDER:SECRET (of the agent)"


def secrets(option: str, texts: Sequence[str] | None) -> dict[str, str | dict[str, str]]:
    """Return the secrets; no value is ever in an argument of `jw`, which all users of the host can read.

    Raises UsageError.
    """
    return dict(_secret(option, text) for text in texts or [])


def _secret(option: str, text: str) -> tuple[str, str | dict[str, str]]:
    name, equals, source = text.partition("=")
    provider, colon, secret = source.partition(":")
    if not NAME.fullmatch(name) or (equals and not source.startswith("@") and not (colon and provider and secret)):
        raise UsageError(f"{option} {name[:40]}: {EXPECTED}")
    if source.startswith("@"):
        return name, _file(f"{option} {name}", Path(source[1:]))
    if equals:
        return name, {"provider": provider, "name": secret}
    if name not in os.environ:
        raise UsageError(f"{option} {name}: there is no such variable here; {EXPECTED}")
    return name, os.environ[name]


def _file(shown: str, path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig").removesuffix("\n")
    except OSError as error:
        raise UsageError(f"{shown}: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{shown}: {path} is not UTF-8; expected text") from None
