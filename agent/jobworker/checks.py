"""What plugins check in options, settings and credentials: durations, signals, depth, names that a log may hold."""

import signal
from collections.abc import Iterator
from itertools import compress
from typing import Any

from jobworker.errors import InvalidSpec, Unauthenticated
from jobworker.model import seconds
from jobworker.protocol import MAX_DEPTH

LONGEST_NAME = 255


def duration(value: Any, field: str) -> float:
    """Return a duration (a number, or "90s", "10m", "2h") in seconds; raise ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f'{field}: {repr(value)[:80]}; expected seconds or a text like "90s", "10m", "2h"')
    try:
        return seconds(value, field)
    except InvalidSpec as error:
        raise ValueError(error.message) from error


def positive(value: Any, field: str) -> float:
    """Return a duration in seconds; raise ValueError for what is none, and for 0."""
    limit = duration(value, field)
    if not limit:
        raise ValueError(f"{field}: 0; expected more than 0 seconds")
    return limit


def signal_name(value: Any, field: str) -> str:
    """Return the name of a signal as `SIGTERM`, also of `TERM`; raise ValueError, with the field, for others."""
    name = value if isinstance(value, str) and value.startswith("SIG") else f"SIG{value}"
    if name not in signal.Signals.__members__:
        raise ValueError(f"{field}: {repr(value)[:80]}; expected the name of a signal, as SIGTERM")
    return name


def too_deep(value: Any) -> bool:
    """Whether a decoded text (JSON, TOML) nests lists and objects deeper than 32 levels.

    Decoders have a bound too, which raises RecursionError; but it is another one in each version of Python.
    """
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [item for node in level for item in _inner(node)]
        if not level:
            return False
    return True


def _inner(node: Any) -> Iterator[Any]:
    """Return the lists and objects in one, without a step of Python for each of its members."""
    members = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return compress(members, map({dict, list}.__contains__, map(type, members)))


def usable_name(name: Any, where: str) -> str:
    """Return what credentials call their owner; raise Unauthenticated for what no log should hold."""
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        shown = repr(name[:80]) if isinstance(name, str) else type(name).__name__
        raise Unauthenticated(f"{where}: {shown}; expected a text of 1 to {LONGEST_NAME} printable characters")
    return name
