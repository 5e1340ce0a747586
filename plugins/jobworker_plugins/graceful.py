"""Stop strategy `graceful`: send a signal to the whole tree, wait for the grace, then send SIGKILL."""

from collections.abc import Iterable, Mapping
from typing import Any

from jobworker.interfaces import JobHandle, PluginContext, StopOptions, StopStrategy, hookimpl


class Graceful:
    name = "graceful"

    def check(self, options: Mapping[str, Any]) -> None:
        if options:
            raise ValueError(f"graceful takes no options but signal and grace; got {', '.join(options)}")

    async def stop(self, job: JobHandle, options: StopOptions) -> None:
        await job.signal(options.signal)
        if not await job.wait(options.grace):
            await job.signal("SIGKILL")
            await job.wait()  # the agent ends this call at its limit, and names the survivors


@hookimpl
def register_stop_strategies(context: PluginContext[None]) -> Iterable[StopStrategy]:
    return [Graceful()]
