"""What plugins check in options, settings and credentials: durations, and names that a log may hold."""

from typing import Any

from jobworker.errors import InvalidSpec, Unauthenticated
from jobworker.model import seconds

LONGEST_NAME = 255


def duration(value: Any, field: str) -> float:
    """Return a duration (a number, or "90s", "10m", "2h") in seconds; raise ValueError for what is none."""
    try:
        return seconds(value, field)
    except (InvalidSpec, TypeError) as error:
        raise ValueError(str(error)) from error


def positive(value: Any, field: str) -> float:
    """Return a duration in seconds; raise ValueError for what is none, and for 0."""
    limit = duration(value, field)
    if not limit:
        raise ValueError(f"{field}: 0; expected more than 0 seconds")
    return limit


def usable_name(name: Any, where: str) -> str:
    """Return what credentials call their owner; raise Unauthenticated for what no log should hold."""
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        shown = repr(name[:80]) if isinstance(name, str) else type(name).__name__
        raise Unauthenticated(f"{where}: {shown}; expected a text of 1 to {LONGEST_NAME} printable characters")
    return name
