"""Timeout policy `cpu`: a job's time is up when its tree has used `limit` of CPU time."""

from collections.abc import Iterable, Mapping
from typing import Any

from jobworker.interfaces import PluginContext, RunFacts, TimeoutPolicy, hookimpl, positive

MIN_INTERVAL = 0.05  # seconds between two calls of `due`


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
        # The earliest moment at which the limit can be reached: the job would have to use all CPUs until then.
        return facts.now + max(left / facts.cpus, MIN_INTERVAL)


@hookimpl
def register_timeout_policies(context: PluginContext[None]) -> Iterable[TimeoutPolicy]:
    return [Cpu()]
