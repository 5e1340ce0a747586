"""What several of the plugins here make of a duration in their options and settings."""

from typing import Any

from jobworker.errors import InvalidSpec
from jobworker.model import seconds


def duration(value: Any, field: str) -> float:
    """Return a duration in seconds; raise ValueError for what is none."""
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
