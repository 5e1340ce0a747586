"""A job that waits for its input: found by what its processes are blocked in, and over once something moves."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.readers import ONLY_SO, WAITING

from jobworker.host.input_wait import hidden
from jobworker.host.procfs import ProcReader
from jobworker.keeper.namespace import run_in_fork
from jobworker.linux import blocked
from jobworker.linux.proc import start_of

if TYPE_CHECKING:
    from tests.conftest import RunningAgent
    from tests.support.wire import Dial, Wire

KILL = {"strategy": "kill"}
SOME_WAIT = ["sh read", "dd", "python select", "a loop of epoll", "a thread, the first one has ended"]
SOME_WAIT += ["a child of a child", "a sleeping sibling"]
SOME_WAIT += ["terminal: cat of /dev/tty", "terminal: less", "terminal: bash"]
SOME_ONLY_SO = ["sleep", "a busy loop", "a reader that has a busy thread", "a pipe of its own", "epoll of a socket"]
SOME_ONLY_SO += ["poll of an input for errors", "another FIFO", "a reader that is stopped"]
SOME_ONLY_SO += ["terminal: another terminal"]


async def until_waiting(wire: "Wire", job: str, *, waits: bool = True) -> dict[str, Any]:
    """Return the next event that reports that the job waits, or does no longer."""
    while True:
        for place, event in enumerate(wire.events):
            of_job = event["event"] == "waiting" and event["job"]["id"] == job
            if of_job and (event["job"]["waiting"] is not None) == waits:
                return wire.events.pop(place)
        await wire.hear()


async def test_programs_that_wait_and_programs_that_only_look_so(wire: "Wire", tmp_path: Path) -> None:
    """By pipe and by terminal; `tests/benchmarks/run.py waiting` has all programs, and what looking costs."""

    async def start(tty: bool, shell: str) -> str:
        spec = {"shell": shell, "cwd": str(tmp_path), "tty": tty, "stdin": None if tty else "pipe"}
        return str((await wire.run(**spec))["id"])

    await wire.ask("event.subscribe")
    only_so = {name: await start(*ONLY_SO[name]) for name in SOME_ONLY_SO}
    waiting = [await start(*WAITING[name]) for name in SOME_WAIT]
    for job in waiting:
        await until_waiting(wire, job)
    jobs = {name: await wire.ask("job.status", id=job) for name, job in only_so.items()}
    assert {name: job["waiting"] for name, job in jobs.items()} == dict.fromkeys(only_so)
    for job in [*waiting, *only_so.values()]:
        await wire.ask("job.stop", id=job, stop=KILL)


async def test_the_prompt_and_the_end(wire: "Wire") -> None:
    """The wait ends with input, with a pause and with a stop."""
    await wire.ask("event.subscribe")
    shell = r"printf 'a\nName? '; read x; printf '\033[1mAge\033[0m: ' >&2; read y"
    job = (await wire.run(shell=shell, stdin="pipe"))["id"]
    event = await until_waiting(wire, job)
    assert (event["detail"], event["job"]["waiting"]["prompt"]) == ("Name? ", "Name? ")
    assert (await wire.ask("job.status", id=job))["waiting"] == event["job"]["waiting"]
    await wire.ask("stdin.write", id=job, data="bob\n")
    assert (await wire.ask("job.status", id=job))["waiting"] is None
    assert (await until_waiting(wire, job, waits=False))["detail"] == "its input moved"
    assert (await until_waiting(wire, job))["detail"] == "Age: "
    await wire.ask("job.pause", id=job)
    assert (await wire.ask("job.status", id=job))["waiting"] is None
    await wire.ask("job.resume", id=job)
    await until_waiting(wire, job)
    await wire.ask("job.stop", id=job, stop=KILL)
    assert (await wire.ask("job.status", id=job))["waiting"] is None


async def test_output_ends_it(wire: "Wire", tmp_path: Path) -> None:
    """Another process of the job writes; from then on the status has it, before the agent has noticed."""
    await wire.ask("event.subscribe")
    gate = tmp_path / "gate"
    shell = f"mkfifo {gate}; (read x < {gate}; echo more; sleep 1000) & cat"
    run = await wire.ask("job.run", spec={"shell": shell, "stdin": "pipe"})
    job = run["job"]["id"]
    await until_waiting(wire, job)
    with gate.open("w") as file:
        file.write("\n")
    await wire.until(run["subscription"], b"more")
    status = (await wire.ask("job.status", id=job))["waiting"]
    assert status is None or status["prompt"] == ""  # it may be waiting again by now
    assert (await until_waiting(wire, job, waits=False))["detail"] == "its output moved"
    await until_waiting(wire, job)
    await wire.ask("job.stop", id=job, stop=KILL)


async def test_the_next_agent_finds_it_again(start_agent: Callable[..., "RunningAgent"], dial: "Dial") -> None:
    """What the agent before has recorded ends with it."""
    agent = start_agent()
    async with dial(agent) as wire:
        await wire.ask("event.subscribe")
        job = (await wire.run(shell="printf '? '; read x", stdin="pipe"))["id"]
        revision = (await until_waiting(wire, job))["revision"]
    agent.kill()
    agent.start()
    async with dial(agent) as wire:
        await wire.ask("event.subscribe", **{"from": revision})
        assert (await until_waiting(wire, job, waits=False))["detail"] == "its agent has ended"
        assert (await until_waiting(wire, job))["detail"] == "? "


async def test_the_capability(wire: "Wire") -> None:
    """It is believed after a trial, and has a reason where the kernel hides what processes wait for."""
    capabilities = (await wire.ask("agent.info"))["capabilities"]
    assert (capabilities["waiting"], "waiting" in capabilities["missing"]) == (True, False)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_process_of_another_user() -> None:
    """A plain user may not look at a process of root, and root may."""
    child = subprocess.Popen(["sleep", "1000"])

    def attempt(report: int) -> None:
        os.setresuid(65534, 65534, 65534)
        os.write(report, hidden(child.pid, start_of(child.pid), ProcReader()).encode())

    try:
        assert run_in_fork(attempt).decode().startswith(f"/proc/{child.pid}/syscall: ")
        assert hidden(child.pid, start_of(child.pid), ProcReader()) == ""
    finally:
        child.kill()
        child.wait()


def test_an_unknown_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers of system calls are those of a machine."""
    monkeypatch.setattr("jobworker.host.input_wait.MACHINE", "m68k")
    assert hidden(1, 1, ProcReader()) == "the system calls of m68k are not known"
    assert blocked.MACHINE in blocked.CALLS
