"""Stop strategy `kill`: send SIGKILL to the whole tree at once."""

from collections.abc import Iterable, Mapping
from typing import Any

from jobworker.interfaces import JobHandle, PluginContext, StopOptions, StopStrategy, hookimpl


class Kill:
    name = "kill"

    def check(self, options: Mapping[str, Any]) -> None:
        if options:
            raise ValueError(f"kill takes no options; got {', '.join(options)}")

    async def stop(self, job: JobHandle, options: StopOptions) -> None:
        await job.signal("SIGKILL")
        await job.wait()


@hookimpl
def register_stop_strategies(context: PluginContext[None]) -> Iterable[StopStrategy]:
    return [Kill()]
