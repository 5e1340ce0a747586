"""The environment of a job, from --env and --env-file."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from jobworker_cli import output
from jobworker_cli.declare import UsageError

NAME = re.compile(r"[^\s=]+")


def environment(files: Sequence[Path] | None, texts: Sequence[str] | None) -> dict[str, str]:
    """Return the variables: those of --env replace those of files. Raises UsageError.

    A name without a value has the value that it has here; if it has none, the job gets no such variable.
    """
    variables: dict[str, str] = {}
    for file in files or []:
        for number, line in enumerate(_lines(file), 1):
            text = line.lstrip()
            if text and not text.startswith("#"):
                _add(variables, text, f"{file}:{number}")
    for text in texts or []:
        _add(variables, text, "--env")
    return variables


def _lines(file: Path) -> list[str]:
    """Return the lines of a file, with bytes that are not UTF-8 as in names of files."""
    try:
        return file.read_bytes().decode("utf-8-sig", "surrogateescape").replace("\r\n", "\n").split("\n")
    except OSError as error:
        raise UsageError(f"--env-file: {file}: {error.strerror}") from None


def _add(variables: dict[str, str], text: str, origin: str) -> None:
    name, equals, value = text.partition("=")
    if not (name if equals else NAME.fullmatch(name)):
        raise UsageError(f"{origin}: {text[:40]!r}; expected NAME=VALUE, or NAME")
    if equals:
        variables[name] = value
    elif name in os.environ:
        variables[name] = os.environ[name]
    else:
        output.note(f"{origin}: {name} has no value here, and the job gets none")
