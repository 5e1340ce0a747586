"""Check values from outside, and describe errors: which field, which value, what was expected."""

import re
import reprlib
from collections.abc import Iterator
from itertools import compress, islice
from typing import Any

from msgspec import inspect

from jobworker.errors import Unauthenticated
from jobworker.protocol import MAX_DEPTH
from jobworker.signal_names import name_of, number_of

SHOWN = 80  # characters of a value in a message
MAX_NAME = 255  # characters of a principal's name
PRIVATE = {
    "env",
    "secrets",
    "secret_files",
    "token",
    "password",
    "session",
    "ticket",
}  # fields whose values no message shows
MAX_FIELD = 200  # characters of a field's name, which may be a key that the caller chose


class _Short(reprlib.Repr):
    """A repr of the beginning of a value, which does not read the rest of a large one."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlist = self.maxdict = 8
        self.maxstring = self.maxother = self.maxlong = SHOWN

    def repr_str(self, x: str, level: int) -> str:
        return repr(x[: self.maxstring])

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        # A part only: the base class sorts the keys.
        return super().repr_dict(dict(islice(x.items(), self.maxdict + 1)), level)


def shown(value: Any) -> str:
    """Return the beginning of a value, for an error message."""
    return _Short().repr(value)[:SHOWN]


def describe_error(message: str, raw: Any, kind: Any = None) -> tuple[str, str]:
    """Return the field (dotted, from the root) and a sentence for an error message of msgspec about `raw`.

    With the type that `raw` should have been, `kind`, the sentence names the values that the field may have.
    """
    what, _, path = message.partition(" - at ")
    field = path.strip("`").removeprefix("$").lstrip(".")[:MAX_FIELD]
    if match := re.match(r"Object (?:contains unknown|missing required) field `(.*)`", what):
        field = (f"{field}.{match[1]}" if field else match[1])[:MAX_FIELD]
        return field, f"{field}: {'missing' if 'missing' in what else 'unknown'}"
    if PRIVATE & {*re.findall(r"[^.\[\]]+", field)}:
        return (
            field,
            f"{field}: {what.partition(', got')[0].replace('`', '')}",
        )  # without the value, and those beside it
    value = raw
    for part in re.findall(r"[^.\[\]]+", field):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, TypeError, ValueError):
            return field, f"{field}: {what}"  # inside a key or a generic part: keep msgspec's message
    expected = (
        what.replace("`", "")
        .replace("Expected ", "expected ")
        .replace("Invalid enum value ", "not one of its values: ")
    )
    choices = "" if ", got" in what else _choices(kind, re.findall(r"[^.\[\]]+", field))
    return field, f"{field}: {shown(value)}; {choices or expected.split(', got')[0]}"


def _choices(kind: Any, path: list[str]) -> str:
    """Return which values a field may have, if its type lists or bounds them; else ""."""
    if kind is None:
        return ""
    node = inspect.type_info(kind)
    for part in path:
        found = [field.type for field in getattr(node, "fields", ()) if field.encode_name == part]
        if not found:
            return ""
        kind = found[0].type if isinstance(found[0], inspect.Metadata) else found[0]  # without its description
        node = next(one for one in getattr(kind, "types", [kind]) if not isinstance(one, inspect.NoneType))
    if isinstance(node, inspect.LiteralType):
        return "expected " + " or ".join(f'"{value}"' for value in node.values)
    low, high = getattr(node, "ge", None), getattr(node, "le", None)
    if low is None:
        return ""
    return f"expected {low} or more" if high is None else f"expected {low} to {high}"


def signal_name(value: Any, field: str) -> str:
    """Return the name of a signal: `SIGTERM` for `SIGTERM`, `term` and `"15"`, `SIGRT+3` for `rtmin+3`.

    Raise ValueError, with the field, for anything else.
    """
    number = number_of(value) if isinstance(value, str) else None
    if number is None:
        raise ValueError(f"{field}: {repr(value)[:80]}; expected the name of a signal, as SIGTERM")
    return name_of(number)


def too_deep(value: Any) -> bool:
    """Whether a decoded text (JSON, TOML) nests lists and objects deeper than 32 levels.

    Decoders raise RecursionError at a limit of their own, which differs between versions of Python.
    """
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [item for node in level for item in _inner(node)]
        if not level:
            return False
    return True


def _inner(node: Any) -> Iterator[Any]:
    """Return the lists and objects inside a list or object, without a step of Python code for each member."""
    members = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return compress(members, map({dict, list}.__contains__, map(type, members)))


def usable_name(name: Any, field: str) -> str:
    """Return the name in credentials; raise Unauthenticated for a name that must not be written to a log."""
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
        shown = repr(name[:80]) if isinstance(name, str) else type(name).__name__
        raise Unauthenticated(f"{field}: {shown}; expected a text of 1 to {MAX_NAME} printable characters")
    return name
