"""Stop strategy `command`: run a command that asks the job to end, wait, then do as `ladder`."""

import asyncio
import logging
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from jobworker.interfaces import JobHandle, PluginContext, StopOptions, StopStrategy, hookimpl, positive
from jobworker_plugins.ladder import Ladder, ladder_options

EXPECTED = 'expected {"argv": ["./shutdown.sh"], "timeout": "10s", "steps": as for ladder}'
TIMEOUT = 10.0  # seconds, for the command and for the end of the job after it


class Command:
    name = "command"

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._ladder = Ladder()  # stops a job that does not end after the command

    def check(self, options: Mapping[str, Any]) -> None:
        if not {"argv"} <= set(options) <= {"argv", "timeout", "steps"}:
            raise ValueError(f"{dict(options)!r}; {EXPECTED}")
        argv = options["argv"]
        if not isinstance(argv, list) or not argv or not all(isinstance(word, str) and word for word in argv):
            raise ValueError(f"argv: {argv!r}; {EXPECTED}")
        self._timeout(options)
        self._ladder.check(ladder_options(options))

    def longest(self, options: StopOptions) -> float:
        return self._timeout(options.options) + self._ladder.longest(self._then(options))

    async def stop(self, job: JobHandle, options: StopOptions) -> None:
        """Run the command; if it fails or the job does not end in time, send the signals of the ladder."""
        end = asyncio.get_running_loop().time() + self._timeout(options.options)
        env = dict(job.env) | {"JOBWORKER_STOP_ID": job.job.id, "JOBWORKER_STOP_PID": str(job.job.pid)}
        await job.asked(shlex.join(options.options["argv"]))
        try:
            await job.run(options.options["argv"], env, self._timeout(options.options))
        except OSError as error:
            self._log.warning("job %s: the command of the stop cannot be executed: %s", job.job.id, error)
        else:
            if await job.wait(max(0.0, end - asyncio.get_running_loop().time())):
                return
        await self._ladder.stop(job, self._then(options))

    @staticmethod
    def _timeout(options: Mapping[str, Any]) -> float:
        return positive(options.get("timeout", TIMEOUT), "timeout")

    @staticmethod
    def _then(options: StopOptions) -> StopOptions:
        return StopOptions(options.signal, options.grace, ladder_options(options.options))


@hookimpl
def register_stop_strategies(context: PluginContext[None]) -> Iterable[StopStrategy]:
    return [Command(context.log)]
