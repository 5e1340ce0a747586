"""A plugin whose objects misbehave in one way, that of its name, wherever they are asked to.

It is installed once for each of FAULTS, and again, as NAME-may, with the authorizer alone: one that blocks denies
everybody. What blocks, blocks until the file FAULTY_GATE is there.
"""

import asyncio
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jobworker.interfaces import (
    Authorizer,
    AuthProvider,
    Credentials,
    Executor,
    ExecutorUnavailable,
    Grant,
    JobEvent,
    JobHandle,
    Need,
    Phase,
    PluginContext,
    Principal,
    RunFacts,
    SecretProvider,
    Sighting,
    StopOptions,
    StopStrategy,
    TimeoutPolicy,
    hookimpl,
)

QUICK = ("raises", "exits", "interrupts", "cancels", "timeouts", "none", "wrong", "huge")
BLOCKING = ("sleeps", "spins")
SUBTLE = ("mutates", "keeps", "leaks")
FAULTS = (*QUICK, *BLOCKING, *SUBTLE, "hangs", "impersonates")
MAY = "-may"
SPINS = 100_000  # turns of an endless loop between two looks at the gate
leaked: list[Any] = []


def gate() -> bool:
    return os.path.exists(os.environ["FAULTY_GATE"])


class Right:
    """What a fault answers that is to be followed by the right answer."""


def fault(kind: str, huge: Any = None) -> Any:
    """Do what is wrong in a plain function, or return it."""
    match kind:
        case "raises":
            raise RuntimeError("secret")
        case "exits":
            raise SystemExit(3)
        case "interrupts":
            raise KeyboardInterrupt
        case "cancels":
            raise asyncio.CancelledError
        case "timeouts":
            raise TimeoutError("secret")
        case "sleeps":
            while not gate():
                time.sleep(0.01)
        case "spins":
            while not gate():
                for _ in range(SPINS):
                    pass
        case "none":
            return None
        case "wrong":
            return "soon"
        case "huge":
            return huge
    return Right


async def slow_fault(kind: str, huge: Any = None) -> Any:
    """The same where it may wait."""
    if kind == "hangs":
        await asyncio.sleep(3600)
    if kind == "leaks":
        leaked.extend(asyncio.create_task(asyncio.sleep(3600)) for _ in range(10))
    return fault(kind, huge)


class Auth:
    def __init__(self, name: str) -> None:
        self.name = name
        self.given: Principal | None = None

    async def authenticate(self, credentials: Credentials) -> Any:
        if credentials.username != self.name:
            return None
        huge = Principal("x" * 10_000_000, self.name, ["reader"] * 1_000_000)
        if (answer := await slow_fault(self.name, huge)) is not Right:
            return answer
        if self.name == "impersonates":
            return Principal("local", "token", ["admin"])
        principal = Principal(self.name, self.name, ["reader"])
        if self.name == "mutates":  # after it has been taken for what it was
            asyncio.get_running_loop().call_later(0.05, principal.roles.append, "admin")
        return principal


class Grants:
    def __init__(self, name: str) -> None:
        self.name = name

    async def grants(self, principal: Principal) -> Any:
        if principal.name != self.name:
            return None
        if (answer := await slow_fault(self.name, [Grant(look="all")] * 1_000_000)) is not Right:
            return answer
        if self.name == "mutates":
            principal.roles.append("admin")
            return None
        return [Grant(look="all")]


class Strategy:
    """One for each place: NAME.check, NAME.longest, NAME.stop."""

    def __init__(self, kind: str, place: str, state: Path) -> None:
        self.name = f"{kind}.{place}"
        self.kind = kind
        self.place = place
        self.state = state

    def check(self, options: Mapping[str, Any]) -> Any:
        if self.place != "check" or not options:
            return None
        if self.kind == "huge":
            raise ValueError("x" * 10_000_000)
        if self.kind == "mutates":
            options.clear()  # type: ignore[attr-defined]
        answer = fault(self.kind)
        return None if answer is Right else answer

    def longest(self, options: StopOptions) -> Any:
        if self.place != "longest":
            return options.grace
        answer = fault(self.kind, 10**400)
        return options.grace if answer is Right else answer

    async def stop(self, job: JobHandle, options: StopOptions) -> Any:
        if self.place == "stop":
            if self.kind == "mutates":
                job.job.labels["changed"] = "yes"
                job.env["CHANGED"] = "yes"  # type: ignore[index]
                options.options["changed"] = True  # type: ignore[index]
            if self.kind == "keeps":
                leaked.append(asyncio.create_task(self.later(job)))
                return None
            if (answer := await slow_fault(self.kind, "x" * 10_000_000)) is not Right:
                return answer
        await job.signal("SIGTERM")
        await job.wait()
        return None

    async def later(self, job: JobHandle) -> None:
        """Use the handle when the stop is over."""
        while True:
            await asyncio.sleep(0.02)
            try:
                await job.signal("SIGCONT")
            except RuntimeError as error:
                (self.state / "kept").write_text(str(error))
                return


class Policy:
    """One for each place: NAME.check, NAME.due."""

    def __init__(self, kind: str, place: str) -> None:
        self.name = f"{kind}.{place}"
        self.kind = kind
        self.place = place

    check = Strategy.check

    def due(self, options: Mapping[str, Any], facts: RunFacts) -> Any:
        if self.place != "due":
            return None
        if self.kind == "mutates":
            options["changed"] = True  # type: ignore[index]
        answer = fault(self.kind, 10**400)
        return None if answer is Right else answer


class Provider:
    def __init__(self, name: str) -> None:
        self.name = name

    async def secret(self, name: str, principal: Principal) -> Any:
        if (answer := await slow_fault(self.name, "x" * 10_000_000)) is not Right:
            return answer
        if self.name == "mutates":
            principal.roles.append("admin")
        return "the right value"


class Elsewhere:
    """An executor whose jobs stay queued; one for each place: NAME.check, NAME.submit, NAME.find, NAME.poll…"""

    kill_grace, users, python = 5.0, False, "python3"

    def __init__(self, kind: str, place: str, state: Path) -> None:
        self.name = f"{kind}.{place}"
        self.kind = kind
        self.place = place
        self.folder = str(state / "shared")
        Path(self.folder).mkdir(exist_ok=True)

    check = Strategy.check

    async def submit(
        self, tag: str, command: Sequence[str], folder: str, need: Need, options: Mapping[str, Any]
    ) -> Any:
        if self.place == "find":  # which is called only then
            raise ExecutorUnavailable("no answer")
        if self.kind == "mutates":
            options["changed"] = True  # type: ignore[index]
        return await self.at("submit", "7", "x" * 10_000_000)

    async def find(self, prefix: str) -> Any:
        return await self.at("find", {}, {prefix + str(n): "x" for n in range(100_000)})

    async def poll(self, jobs: Mapping[str, str]) -> Any:
        right = {tag: Sighting(Phase.QUEUED, reason="Priority") for tag in jobs}
        if self.kind == "mutates":
            jobs.clear()  # type: ignore[attr-defined]
        return await self.at("poll", right, {tag: Sighting(Phase.QUEUED, reason="x" * 10_000_000) for tag in jobs})

    async def ring(self, tag: str, engine_id: str) -> None:
        """No runner of it ever begins."""

    async def cancel(self, tag: str, engine_id: str) -> Any:
        return await self.at("cancel", None, "x" * 10_000_000)

    async def at(self, place: str, right: Any, huge: Any) -> Any:
        answer = await slow_fault(self.kind, huge) if place == self.place else Right
        return right if answer is Right else answer


@hookimpl
def register_auth_providers(context: PluginContext[None]) -> Iterable[AuthProvider]:
    return [] if context.name.endswith(MAY) else [Auth(context.name)]


@hookimpl
def register_authorizers(context: PluginContext[None]) -> Iterable[Authorizer]:
    return [Grants(context.name.removesuffix(MAY))] if context.name.endswith(MAY) else []


@hookimpl
def register_stop_strategies(context: PluginContext[None]) -> Iterable[StopStrategy]:
    if context.name.endswith(MAY):
        return []
    return [Strategy(context.name, place, context.state) for place in ("check", "longest", "stop")]


@hookimpl
def register_timeout_policies(context: PluginContext[None]) -> Iterable[TimeoutPolicy]:
    if context.name.endswith(MAY):
        return []
    return [Policy(context.name, place) for place in ("check", "due")]


@hookimpl
def register_secret_providers(context: PluginContext[None]) -> Iterable[SecretProvider]:
    return [] if context.name.endswith(MAY) else [Provider(context.name)]


@hookimpl
def register_executors(context: PluginContext[None]) -> Iterable[Executor]:
    if context.name.endswith(MAY):
        return []
    places = ("check", "submit", "find", "poll", "cancel")
    return [Elsewhere(context.name, place, context.state) for place in places]


@hookimpl
def job_changed(context: PluginContext[None], event: JobEvent) -> Any:
    """Misbehave at the start of a job with the label `observe`; write down what was heard."""
    if event.job.labels.get("observe") != context.name:
        return None
    with (context.state / f"heard-{context.name}").open("a") as file:
        file.write(f"{event.job.id} {event.event}\n")
    if event.event == "started" or event.job.labels.get("always"):
        if context.name == "mutates":
            event.job.labels["changed"] = "yes"
        return slow_fault(context.name)
    return None
