"""Stop strategy `ladder`: send one signal after the other, each with a grace of its own, the last SIGKILL."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from jobworker.interfaces import JobHandle, PluginContext, StopOptions, StopStrategy, duration, hookimpl, signal_name

MAX_STEPS = 32  # each is saved, with all before it, as soon as it is taken
EXPECTED = 'expected {"steps": [{"signal": "INT", "grace": "5s"}, …, {"signal": "KILL"}]}'


class Rung(NamedTuple):
    """One step: a signal, and how long the job may take to end of it."""

    signal: str
    grace: float  # seconds until the next step


DEFAULT = [Rung("SIGINT", 5.0), Rung("SIGTERM", 10.0), Rung("SIGKILL", 0.0)]


def rungs(options: Mapping[str, Any]) -> list[Rung]:
    """Return the steps in options; raise ValueError if they are wrong or do not end with SIGKILL."""
    if not options:
        return DEFAULT
    steps = options.get("steps")
    if set(options) != {"steps"} or not isinstance(steps, list) or not steps:
        raise ValueError(f"{dict(options)!r}; {EXPECTED}")
    if len(steps) > MAX_STEPS:
        raise ValueError(f"steps: {len(steps)}; expected at most {MAX_STEPS}")
    ladder = [_rung(f"steps[{number}]", step) for number, step in enumerate(steps)]
    if ladder[-1].signal != "SIGKILL":
        raise ValueError(f"steps: the last is {ladder[-1].signal}; expected SIGKILL, which no process survives")
    return ladder


def _rung(field: str, step: Any) -> Rung:
    if not isinstance(step, dict) or not {"signal"} <= set(step) <= {"signal", "grace"}:
        raise ValueError(f"{field}: {step!r}; {EXPECTED}")
    name = signal_name(step["signal"], f"{field}.signal")
    return Rung(name, duration(step.get("grace", 0), f"{field}.grace"))


def ladder_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are for the ladder, of a strategy that does as it in the end."""
    return {name: value for name, value in options.items() if name == "steps"}


class Ladder:
    name = "ladder"

    def check(self, options: Mapping[str, Any]) -> None:
        rungs(options)

    def longest(self, options: StopOptions) -> float:
        return sum(rung.grace for rung in rungs(options.options))

    async def stop(self, job: JobHandle, options: StopOptions) -> None:
        for rung in rungs(options.options):
            await job.signal(rung.signal)
            if await job.wait(rung.grace):
                return
        await job.wait()


@hookimpl
def register_stop_strategies(context: PluginContext[None]) -> Iterable[StopStrategy]:
    return [Ladder()]
