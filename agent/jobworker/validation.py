"""Check what comes from outside, and describe what is wrong: which field, which value, what was expected."""

import re
import reprlib
import signal
from collections.abc import Iterator
from itertools import compress, islice
from typing import Any

from jobworker.errors import Unauthenticated
from jobworker.protocol import MAX_DEPTH

SHOWN = 80  # characters of a value in a message
LONGEST_NAME = 255  # characters of a principal
LONGEST_FIELD = 200  # characters: it may be a key that the caller chose


class _Short(reprlib.Repr):
    """Reads the beginning of a value only, however large it is."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlist = self.maxdict = 8
        self.maxstring = self.maxother = self.maxlong = SHOWN

    def repr_str(self, x: str, level: int) -> str:
        return repr(x[: self.maxstring])

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        return super().repr_dict(dict(islice(x.items(), self.maxdict + 1)), level)  # it would sort all of it


def shown(value: Any) -> str:
    """Return the beginning of a value, for a message."""
    return _Short().repr(value)[:SHOWN]


def describe_error(message: str, raw: Any) -> tuple[str, str]:
    """Return the field (dotted, from the root) and a sentence for an error message of msgspec about `raw`."""
    what, _, where = message.partition(" - at ")
    field = where.strip("`").removeprefix("$").lstrip(".")[:LONGEST_FIELD]
    if match := re.match(r"Object (?:contains unknown|missing required) field `(.*)`", what):
        field = (f"{field}.{match[1]}" if field else match[1])[:LONGEST_FIELD]
        return field, f"{field}: {'missing' if 'missing' in what else 'unknown'}"
    value = raw
    for part in re.findall(r"[^.\[\]]+", field):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, TypeError, ValueError):
            return field, f"{field}: {what}"  # inside a key or a generic part: msgspec's own words
    expected = (
        what.replace("`", "")
        .replace("Expected ", "expected ")
        .replace("Invalid enum value ", "not one of its values: ")
    )
    return field, f"{field}: {shown(value)}; {expected.split(', got')[0]}"


def signal_name(value: Any, field: str) -> str:
    """Return the name of a signal as `SIGTERM`, also of `TERM`; raise ValueError, with the field, for others."""
    name = value if isinstance(value, str) and value.startswith("SIG") else f"SIG{value}"
    if name not in signal.Signals.__members__:
        raise ValueError(f"{field}: {repr(value)[:80]}; expected the name of a signal, as SIGTERM")
    return name


def too_deep(value: Any) -> bool:
    """Whether a decoded text (JSON, TOML) nests lists and objects deeper than 32 levels.

    Decoders have a limit too, and raise RecursionError; but it differs between versions of Python.
    """
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [item for node in level for item in _inner(node)]
        if not level:
            return False
    return True


def _inner(node: Any) -> Iterator[Any]:
    """Return the lists and objects inside a list or object, without a Python step for each member."""
    members = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return compress(members, map({dict, list}.__contains__, map(type, members)))


def usable_name(name: Any, where: str) -> str:
    """Return the name in credentials; raise Unauthenticated for a name that must not be in a log."""
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        shown = repr(name[:80]) if isinstance(name, str) else type(name).__name__
        raise Unauthenticated(f"{where}: {shown}; expected a text of 1 to {LONGEST_NAME} printable characters")
    return name
