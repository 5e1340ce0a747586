"""Timeout policy `total`: a job's time is up `limit` after its start."""

from collections.abc import Iterable, Mapping
from typing import Any

from jobworker.interfaces import PluginContext, RunFacts, TimeoutPolicy, hookimpl, positive


class Total:
    name = "total"
    wants_cpu = False  # CPU times cost something to read, and `due` does not use them

    def check(self, options: Mapping[str, Any]) -> None:
        if set(options) != {"limit"}:
            raise ValueError(f'total takes {{"limit": duration}}; got {dict(options)!r}')
        positive(options["limit"], "limit")

    def due(self, options: Mapping[str, Any], facts: RunFacts) -> float | None:
        return facts.started + positive(options["limit"], "limit")


@hookimpl
def register_timeout_policies(context: PluginContext[None]) -> Iterable[TimeoutPolicy]:
    return [Total()]
