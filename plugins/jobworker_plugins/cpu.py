"""Timeout policy `cpu`: a job's time is up when its tree has used so many seconds of CPU."""

from collections.abc import Iterable, Mapping
from typing import Any

from jobworker.interfaces import PluginContext, RunFacts, TimeoutPolicy, hookimpl, positive

SOONEST = 0.05  # seconds until it is asked again


class Cpu:
    name = "cpu"

    def check(self, options: Mapping[str, Any]) -> None:
        if set(options) != {"limit"}:
            raise ValueError(f'cpu takes {{"limit": duration}}; got {dict(options)!r}')
        positive(options["limit"], "limit")

    def due(self, options: Mapping[str, Any], facts: RunFacts) -> float | None:
        left = positive(options["limit"], "limit") - facts.cpu_seconds
        if left <= 0:
            return facts.now
        return facts.now + max(left / facts.cpus, SOONEST)  # not before, if it used all CPUs from now on


@hookimpl
def register_timeout_policies(context: PluginContext[None]) -> Iterable[TimeoutPolicy]:
    return [Cpu()]
