"""Stop strategy `input`: write a line to the job's input that asks it to end, wait, then do as `ladder`."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from jobworker.interfaces import JobHandle, PluginContext, StopOptions, StopStrategy, hookimpl, positive
from jobworker_plugins.ladder import Ladder, ladder_options

EXPECTED = 'expected {"line": "quit", "timeout": "10s", "steps": as for ladder}'
LINE = "quit"
TIMEOUT = 10.0  # seconds, for the job to take the line and to end


class Input:
    name = "input"

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._ladder = Ladder()  # stops a job that does not end of the line

    def check(self, options: Mapping[str, Any]) -> None:
        if not set(options) <= {"line", "timeout", "steps"}:
            raise ValueError(f"{dict(options)!r}; {EXPECTED}")
        if not isinstance(options.get("line", LINE), str):
            raise ValueError(f"line: {options['line']!r}; {EXPECTED}")
        self._timeout(options)
        self._ladder.check(ladder_options(options))

    def longest(self, options: StopOptions) -> float:
        return self._timeout(options.options) + self._ladder.longest(self._then(options))

    async def stop(self, job: JobHandle, options: StopOptions) -> None:
        """Write the line; if the job takes no input or does not end in time, send the signals of the ladder."""
        end = asyncio.get_running_loop().time() + self._timeout(options.options)
        line = options.options.get("line", LINE)
        await job.asked(f"by {line!r} on its input")
        try:
            async with asyncio.timeout_at(end):
                await job.write(f"{line}\n")
        except (OSError, TimeoutError) as error:
            why = str(error) or "it does not read its input"
            self._log.warning("job %s: the line of the stop is not written: %s", job.job.id, why)
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
    return [Input(context.log)]
