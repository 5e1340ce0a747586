"""Describe the errors of a typed decoder: which field, which value, what was expected."""

import re
import reprlib
from itertools import islice
from typing import Any

SHOWN = 80  # characters of a value in a message
LONGEST_FIELD = 200  # characters: it may be a key that the caller chose


class _Short(reprlib.Repr):
    """Looks at the beginning of a value only, however large it is."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlist = self.maxdict = 8
        self.maxstring = self.maxother = self.maxlong = SHOWN

    def repr_str(self, x: str, level: int) -> str:
        return repr(x[: self.maxstring])

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        return super().repr_dict(dict(islice(x.items(), self.maxdict + 1)), level)  # it would sort all of it


def shown(value: Any) -> str:
    """Return how a value begins."""
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
