"""Say what a typed decoder found wrong: which field, which value, what was expected."""

import re
from typing import Any

SHOWN = 80  # characters of a value in a message


def explain(message: str, raw: Any) -> tuple[str, str]:
    """Return the field (dotted, from the root) and a sentence, from what msgspec says of `raw`."""
    what, _, where = message.partition(" - at ")
    field = where.strip("`").removeprefix("$").lstrip(".")
    if match := re.match(r"Object (?:contains unknown|missing required) field `(.*)`", what):
        field = f"{field}.{match[1]}" if field else match[1]
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
    return field, f"{field}: {repr(value)[:SHOWN]}; {expected.split(', got')[0]}"
