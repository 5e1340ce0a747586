"""Timeout policy `deadline`: a job's time is up at a moment of the wall clock, even if the clock is set."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from jobworker.interfaces import PluginContext, RunFacts, TimeoutPolicy, hookimpl


def moment(options: Mapping[str, Any]) -> float:
    """Return the moment in seconds since 1970; raise ValueError."""
    at = options.get("at")
    if set(options) != {"at"} or not isinstance(at, str):
        raise ValueError(f'deadline takes {{"at": "2030-01-31T12:00:00Z"}}; got {dict(options)!r}')
    try:
        parsed = datetime.fromisoformat(at)
    except ValueError:
        raise ValueError(f"at: {at!r}; expected a time as 2030-01-31T12:00:00Z") from None
    if parsed.tzinfo is None:
        raise ValueError(f"at: {at!r} has no zone; expected one, as in 2030-01-31T12:00:00Z")
    return parsed.timestamp()


class Deadline:
    name = "deadline"
    wants_cpu = False  # CPU times cost something to read, and `due` does not use them

    def check(self, options: Mapping[str, Any]) -> None:
        moment(options)

    def due(self, options: Mapping[str, Any], facts: RunFacts) -> float | None:
        return facts.now + moment(options) - facts.wall


@hookimpl
def register_timeout_policies(context: PluginContext[None]) -> Iterable[TimeoutPolicy]:
    return [Deadline()]
