"""Timeout policy `total`: so many seconds after its start a job's time is up."""

from collections.abc import Iterable, Mapping
from typing import Any

from jobworker import hookimpl
from jobworker.errors import InvalidSpec
from jobworker.interfaces import PluginContext, RunFacts, TimeoutPolicy
from jobworker.model import seconds


class Total:
    name = "total"

    def check(self, options: Mapping[str, Any]) -> None:
        if set(options) != {"limit"}:
            raise ValueError(f'total takes {{"limit": duration}}; got {dict(options)!r}')
        try:
            limit = seconds(options["limit"], "limit")
        except (InvalidSpec, TypeError) as error:
            raise ValueError(str(error)) from error
        if not limit:
            raise ValueError("limit: 0; expected more than 0 seconds")

    def due(self, options: Mapping[str, Any], facts: RunFacts) -> float | None:
        return facts.started + seconds(options["limit"], "limit")


@hookimpl
def register_timeout_policies(context: PluginContext) -> Iterable[TimeoutPolicy]:
    return [Total()]
