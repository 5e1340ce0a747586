"""Timeout policy `idle`: a job's time is up when it has written nothing for `limit`; with `cpu`, nor used CPU time.

It does not count while the job is paused.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from jobworker.interfaces import PluginContext, RunFacts, TimeoutPolicy, hookimpl, positive

CHECKS = 4  # in each `limit` if CPU time counts: no event shows that a job has used any


class Idle:
    name = "idle"

    def check(self, options: Mapping[str, Any]) -> None:
        if not {"limit"} <= set(options) <= {"limit", "cpu"} or not isinstance(options.get("cpu", False), bool):
            raise ValueError(f'idle takes {{"limit": duration, "cpu": false}}; got {dict(options)!r}')
        positive(options["limit"], "limit")

    def due(self, options: Mapping[str, Any], facts: RunFacts) -> float | None:
        if facts.paused:
            return None
        limit = positive(options["limit"], "limit")
        due = (facts.started if facts.last_output is None else facts.last_output) + limit
        if not options.get("cpu", False) or facts.last_cpu is None:
            return due
        due = max(due, facts.last_cpu + limit)
        return due if due <= facts.now else min(due, facts.now + limit / CHECKS)


@hookimpl
def register_timeout_policies(context: PluginContext[None]) -> Iterable[TimeoutPolicy]:
    return [Idle()]
