"""How long another user's starts and stops take beside an attacker, against alone: rounds of both in turn.

One attacker has launches that hang and search paths that are long; the other all that one caller can have an agent
hold and read: unread events and answers, lists over large specs that find nothing, large stops, idle connections.
"""

import asyncio
import contextlib
import fcntl
import itertools
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path
from typing import Any

from tests.hostile.floods import LABELS, LARGE, MIB, STUBBORN, ask, call
from tests.hostile.outcome import Outcome, quantile
from tests.hostile.raw import TEXT, Raw
from tests.hostile.target import Target
from tests.hostile.victim import Victim

HUNG = 128  # launches at once: more than one principal may have under way
FOLDERS = 1024  # of a search path, as many as are allowed
UNREAD = 200  # calls on one connection
IDLE = 200  # connections that send nothing
MOST = 0.5  # seconds by which the p99 of another user's calls may grow on a quiet machine


@contextlib.contextmanager
def leased(folder: Path) -> Iterator[Path]:
    """A program whose execve hangs for as long as this process has a lease on it."""
    folder.mkdir(mode=0o755)
    program = folder / "program"
    shutil.copy("/bin/true", program)
    for above in (folder, *folder.parents[:3]):  # every user can reach it
        with contextlib.suppress(PermissionError):
            above.chmod(above.stat().st_mode | 0o011)
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    fd = os.open(program, os.O_RDWR)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    try:
        yield program
    finally:
        os.close(fd)
        signal.signal(signal.SIGIO, before)


async def _starts(raw: Raw, spec: dict[str, Any], count: int) -> None:
    """Start jobs with this spec, so many at once, each again when it has failed."""
    number = 0
    for number in range(count):
        await raw.say(call("job.run", number, spec=spec))
    while (heard := await raw.hear()) is not None:
        if heard[0] == TEXT and "id" in json.loads(heard[1]):
            number += 1
            await raw.say(call("job.run", number, spec=spec))


@contextlib.asynccontextmanager
async def launches(target: Target, token: str) -> AsyncIterator[None]:
    """Launches that hang in execve, and those that look through a thousand folders for a program."""
    path = ":".join(f"/nowhere/{number}" for number in range(FOLDERS))
    with leased(target.agent.home.path.parent / "leased") as program:
        specs: list[dict[str, Any]] = [
            {"argv": [str(program)], "cwd": "/"},
            {"argv": ["missing"], "env": {"PATH": path}, "cwd": "/"},
        ]
        raws = [await Raw.upgraded(target.agent, token) for _ in range(3)]
        works = [_starts(raws[0], specs[0], 60), _starts(raws[1], specs[0], HUNG - 60), _starts(raws[2], specs[1], 4)]
        async with _under_way(works, raws):
            yield


@contextlib.asynccontextmanager
async def floods(target: Target, token: str) -> AsyncIterator[None]:
    """Events and answers that nobody reads, lists that find nothing, large stops, idle connections."""
    raws = [await Raw.upgraded(target.agent, token) for _ in range(7)]
    writer, reader, lists, stops, unread, refused, status = raws
    created = await ask(writer, "job.create", spec={"argv": ["true"], "labels": LABELS})
    if "error" in created:  # labels have a bound
        created = await ask(writer, "job.create", spec={"argv": ["true"], "labels": {"a": "b"}})
    job = created["result"]["id"]
    while "result" in await ask(writer, "job.create", spec={"argv": ["true"], "env": {"X": LARGE}}):
        pass  # until the specs of the attacker have all the bytes that they may have
    run = await ask(stops, "job.run", spec={"shell": STUBBORN, "cwd": "/", "stop": {"grace": "60s"}})
    for number in range(50):
        await reader.say(call("event.subscribe", number, **{"from": 0}))
    idle = [await Raw.open(target.agent, tls=False) for _ in range(IDLE)]
    stubborn = {"strategy": "command", "options": {"argv": ["true", LARGE[:850_000]]}}
    policies = [{"policy": "idle", "options": {"limit": 1000}}] * 4900
    rounds: list[tuple[Raw, str, dict[str, Any]]] = [
        (lists, "job.list", {"owner": "token:nobody", "states": ["created"]}),
        (refused, "job.create", {"spec": {"argv": ["true"], "timeout_policies": policies}}),
    ]
    works: list[Awaitable[None]] = [_repeat(*each) for each in rounds]
    works.append(_update(writer, job))
    works += [_send(stops, "job.stop", {"id": run["result"]["job"]["id"], "stop": stubborn})]
    works += [_send(unread, "job.list", {}), _send(status, "job.status", {"id": job})]
    async with _under_way(works, [*raws, *idle]):
        yield


async def _repeat(raw: Raw, method: str, params: dict[str, Any]) -> None:
    while isinstance(await ask(raw, method, **params), dict):  # else the agent has closed the connection
        pass


async def _update(raw: Raw, job: str) -> None:
    labels = {f"{n}": "l" * 1000 for n in range(60)}
    for number in itertools.count():
        if not isinstance(await ask(raw, "job.update", id=job, labels=labels | {"n": str(number)}), dict):
            return


async def _send(raw: Raw, method: str, params: dict[str, Any]) -> None:
    """Send calls whose answers nobody reads: more than the agent reads of them."""
    for number in range(UNREAD):
        await raw.say(call(method, number, **params))
    await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def _under_way(works: list[Any], raws: list[Raw]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for raw in raws:
            raw.drop()


ATTACKS = {"launches": launches, "floods": floods}


async def compare(path: Path, attack: str, *, rounds: int = 4, jobs: int = 50) -> Outcome:
    outcome = Outcome(f"beside {attack}")
    async with Target(path, outcome) as target:
        token, other = await target.token("attacker", "writer"), await target.token("victim", "writer")
        told: dict[str, dict[str, list[Any]]] = {}
        async with Victim(target.agent.address, target.agent.ca, other) as victim:
            await victim.ask("5")  # the first few load what is seldom used
            before = target.private_bytes()
            for _ in range(rounds):
                _add(told, "alone", await victim.ask(str(jobs)))
                async with ATTACKS[attack](target, token):
                    await asyncio.sleep(0.5)  # until it is under way
                    _add(told, "beside", await victim.ask(str(jobs)))
                    grown = (target.private_bytes() - before) / MIB
        outcome.cases = 2 * rounds * jobs
        for name in ("starts", "stops"):
            alone, beside = (
                [round(quantile(told[when][name], share), 1) for share in (0.5, 0.99)] for when in ("alone", "beside")
            )
            text = f"{name} of another user, p50 and p99 in ms: alone {alone}, beside it {beside}"
            outcome.notes.append(text)
            if beside[1] > alone[1] + MOST * 1000:
                outcome.figures.append(text)
        outcome.notes.append(f"memory beside it: {grown:+.0f} MiB; longest pause {target.pause() * 1000:.0f} ms")
        wrong = told["alone"]["wrong"] + told["beside"]["wrong"]
        outcome.require(not wrong, f"another user's calls failed {len(wrong)} times: {wrong[:1]}")
    return outcome


def _add(told: dict[str, dict[str, list[Any]]], when: str, figures: dict[str, list[Any]]) -> None:
    for name, values in figures.items():
        told.setdefault(when, {}).setdefault(name, []).extend(values)
