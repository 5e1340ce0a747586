"""job.stop: when it answers, the whole tree is gone, and the receipt has how."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import RunningAgent
from tests.support.waiting import alive

from jobworker.model import JobSpec, Reason, StopSpec

if TYPE_CHECKING:
    from tests.support.wire import Dial, Gate, Wire

    from jobworker.paths import Home

Gone = Callable[[int], Awaitable[bool]]
IGNORES = "trap '' TERM; echo up; while :; do sleep 1000; done"
LEAVES = "setsid sleep 1000 & echo $!; "  # a grandchild in a session of its own
RUNGS = [{"signal": "HUP", "grace": "10ms"}, {"signal": "INT", "grace": 0.01}]


async def start(wire: "Wire", shell: str, **spec: Any) -> tuple[dict[str, Any], list[int]]:
    """Run a shell that writes one line when it is up; return the job and the pids in that line."""
    run = await wire.ask("job.run", spec={"shell": shell, **spec})
    log = await wire.until(run["subscription"], b"\n")
    return run["job"], [int(word) for word in log.stdout.split() if word.isdigit()]


async def test_the_whole_tree(wire: "Wire") -> None:
    """TERM reaches all processes, also those that left the session; the receipt lists it with its proof."""
    job, others = await start(wire, "setsid sleep 1000 & sleep 1000 & (setsid sleep 1000 & echo $!) & wait")
    ended = await wire.ask("job.stop", id=job["id"])
    assert not any(alive(pid) for pid in [*others, job["pid"]])
    assert (ended["state"], ended["exit"]["code"], ended["exit"]["signal"]) == ("exited", None, "SIGTERM")
    assert (ended["exit"]["reason"], ended["exit"]["by"]) == ("stopped", "local")
    receipt = ended["exit"]["receipt"]
    method = (await wire.ask("agent.info"))["capabilities"]["stop"]
    proof = {"cgroup": "complete", "sweep": "best_effort"}[method]
    assert (receipt["strategy"], receipt["method"], receipt["proof"]) == ("graceful", method, proof)
    assert receipt["survivors"] == []
    step = receipt["steps"][0]
    assert (step["action"], step["signal"], step["target"]) == ("signal", "SIGTERM", "all")
    assert step["alive"] >= 4
    assert step["delivered"] >= 4
    assert ended["started_at"] < step["time"] < ended["exited_at"]
    assert (await wire.ask("job.status", id=job["id"]))["exit"] == ended["exit"]


async def test_ignored_signals_are_followed_by_a_kill(wire: "Wire") -> None:
    """A job that ignores SIGTERM is killed after the grace of the spec."""
    job, _ = await start(wire, IGNORES, stop={"grace": "100ms"})
    ended = await wire.ask("job.stop", id=job["id"])
    assert (ended["exit"]["signal"], ended["exit"]["reason"]) == ("SIGKILL", "stopped")
    assert [step["signal"] for step in ended["exit"]["receipt"]["steps"]] == ["SIGTERM", "SIGKILL"]
    assert not alive(job["pid"])


@pytest.mark.parametrize(
    ("spec", "call", "signals"),
    [
        ({}, {"strategy": "kill"}, ["SIGKILL"]),
        ({"strategy": "kill"}, None, ["SIGKILL"]),
        ({"strategy": "kill"}, {"strategy": "graceful", "grace": 0}, ["SIGTERM", "SIGKILL"]),
        ({"signal": "SIGHUP", "grace": 0}, None, ["SIGHUP", "SIGKILL"]),
        ({"signal": "HUP"}, {"grace": 0}, ["SIGHUP", "SIGKILL"]),
        ({"grace": "1h"}, {"signal": "INT", "grace": "10ms"}, ["SIGINT", "SIGKILL"]),
        (
            {"strategy": "ladder", "options": {"steps": [*RUNGS, {"signal": "SIGKILL"}]}},
            None,
            ["SIGHUP", "SIGINT", "SIGKILL"],
        ),
    ],
    ids=str,
)
async def test_how_to_stop(wire: "Wire", spec: dict[str, Any], call: Any, signals: list[str]) -> None:
    """The options of the call count, else those of the spec, else those of the configuration."""
    job, _ = await start(wire, "trap '' TERM HUP INT; echo up; while :; do sleep 1000; done", stop=spec)
    how = {} if call is None else {"stop": call}
    receipt = (await wire.ask("job.stop", id=job["id"], **how))["exit"]["receipt"]
    assert [step["signal"] for step in receipt["steps"]] == signals


async def test_a_job_that_ends_itself_on_the_signal(wire: "Wire") -> None:
    """Its own code is kept, and the reason is that it was stopped."""
    job, _ = await start(wire, "trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done")
    ended = await wire.ask("job.stop", id=job["id"])
    assert (ended["exit"]["code"], ended["exit"]["signal"], ended["exit"]["reason"]) == (7, None, "stopped")


async def test_two_stops_are_one(wire: "Wire", second: "Wire") -> None:
    """The second joins the first: both get the same exit, and the signal is sent once."""
    job, _ = await start(wire, IGNORES, stop={"grace": "300ms"})
    ids = [await each.begin("job.stop", id=job["id"]) for each in (wire, second, wire)]
    answers = [await each.answer(number) for each, number in zip((wire, second, wire), ids, strict=True)]
    exits = [answer["result"]["exit"] for answer in answers]
    assert exits[0] == exits[1] == exits[2]
    assert [step["signal"] for step in exits[0]["receipt"]["steps"]] == ["SIGTERM", "SIGKILL"]


async def test_a_kill_escalates(wire: "Wire", second: "Wire") -> None:
    """A stop with the strategy kill cuts the grace of the one under way short."""
    job, _ = await start(wire, IGNORES, stop={"grace": "1h"})
    first = await wire.begin("job.stop", id=job["id"])
    while (await second.ask("job.status", id=job["id"]))["state"] != "stopping":
        pass
    ended = await second.ask("job.stop", id=job["id"], stop={"strategy": "kill"})
    assert ended["exit"]["signal"] == "SIGKILL"
    assert (await wire.answer(first))["result"]["exit"]["signal"] == "SIGKILL"


async def test_a_stop_and_a_natural_end(wire: "Wire") -> None:
    """A stop that races with the end: the code is the real one, and the reason matches the cause."""
    for _ in range(25):
        job = await wire.run(shell="exit 7")
        answer = await wire.answer(await wire.begin("job.stop", id=job["id"]))
        ended = await wire.ask("job.wait", id=job["id"])
        if "error" in answer:
            assert answer["error"]["code"] == 40901
        how = ended["exit"]
        assert (how["code"], how["signal"]) in ((7, None), (None, "SIGTERM"))
        assert how["reason"] == "stopped" or (how["reason"], how["code"], how["by"]) == ("finished", 7, None)
        if how["signal"]:
            assert how["reason"] == "stopped"


async def test_a_job_ended_by_someone_else(wire: "Wire") -> None:
    """An end by a signal that the agent did not send is the job's own: reason finished."""
    job = await wire.run(argv=["sleep", "1000"])
    os.kill(job["pid"], signal.SIGUSR1)
    ended = await wire.ask("job.wait", id=job["id"])
    assert (ended["exit"]["code"], ended["exit"]["signal"]) == (None, "SIGUSR1")
    assert (ended["exit"]["reason"], ended["exit"]["by"]) == ("finished", None)


# By a command


def by_command(script: str, **options: Any) -> dict[str, Any]:
    return {"strategy": "command", "options": {"argv": ["sh", "-c", script], **options}}


async def test_a_command_ends_the_job(wire: "Wire", tmp_path: Path) -> None:
    """The command runs in the job's folder with its variables and its id; no signal is needed."""
    shell = "echo up; while [ ! -e over ]; do sleep 0.01; done; exit 8"
    script = 'echo "$WHO $JOBWORKER_STOP_ID $JOBWORKER_STOP_PID $PPID" > seen; touch over'
    job, _ = await start(wire, shell, cwd=str(tmp_path), env={"WHO": "me"}, stop=by_command(script))
    ended = (await wire.ask("job.stop", id=job["id"]))["exit"]
    assert (ended["code"], ended["reason"], ended["receipt"]["survivors"]) == (8, "stopped", [])
    assert [step["action"] for step in ended["receipt"]["steps"]] == ["asked"]
    assert (tmp_path / "seen").read_text().split()[:3] == ["me", job["id"], str(job["pid"])]


@pytest.mark.parametrize(
    "how",
    [
        by_command("exit 1", timeout="100ms"),
        by_command("sleep 1000 & sleep 1000", timeout="100ms"),
        {"strategy": "command", "options": {"argv": ["/no/such"]}},
    ],
    ids=["fails", "hangs", "absent"],
)
async def test_a_command_that_does_not(wire: "Wire", how: dict[str, Any]) -> None:
    """The ladder comes after it, and nothing is left of the command either."""
    job, _ = await start(wire, "echo up; exec sleep 1000")
    how["options"]["steps"] = [{"signal": "TERM", "grace": "5s"}, {"signal": "KILL"}]
    ended = (await wire.ask("job.stop", id=job["id"], stop=how))["exit"]
    assert (ended["signal"], ended["reason"]) == ("SIGTERM", "stopped")
    assert [step["action"] for step in ended["receipt"]["steps"]] == ["asked", "signal"]


# Timeouts


@pytest.mark.parametrize(
    "spec",
    [
        {"timeout": "200ms"},
        {"timeout": 0.2},
        {"timeout_policies": [{"policy": "total", "options": {"limit": "200ms"}}]},
        {"timeout": "1h", "timeout_policies": [{"policy": "total", "options": {"limit": "200ms"}}]},
        {"timeout": "200ms", "timeout_policies": [{"policy": "total", "options": {"limit": "1h"}}]},
    ],
    ids=str,
)
async def test_a_timeout(wire: "Wire", spec: dict[str, Any]) -> None:
    """The first limit that is due ends the job: reason timeout, by its policy, with a receipt."""
    job = await wire.run(argv=["sleep", "60"], **spec)
    ended = await wire.ask("job.wait", id=job["id"])
    assert (ended["exit"]["signal"], ended["exit"]["reason"], ended["exit"]["by"]) == ("SIGTERM", "timeout", "total")
    assert ended["exit"]["message"].startswith(("timed out after 0.2 s:", "timed out after 200ms:"))
    log = await wire.follow(await wire.subscribe(job["id"]))
    assert log.end is not None
    assert log.end["exit"]["receipt"]["survivors"] == []


async def test_a_timeout_that_is_not_reached(wire: "Wire") -> None:
    """A job that ends before its limit has finished."""
    job = await wire.run(shell="exit 4", timeout="1h")
    ended = await wire.ask("job.wait", id=job["id"])
    assert (ended["exit"]["code"], ended["exit"]["reason"]) == (4, "finished")


async def test_the_configured_timeout(start_agent: "Callable[..., RunningAgent]", dial: "Dial") -> None:
    """It holds if a spec has no timeout; null in a spec means no limit."""
    agent = start_agent(config='[jobs]\ntimeout = "300ms"\ngrace = "100ms"\nstop_signal = "SIGINT"\n')
    async with dial(agent) as wire:
        default = await wire.run(argv=["sleep", "60"])
        unlimited = await wire.run(argv=["sleep", "60"], timeout=None)
        longer = await wire.run(argv=["sleep", "60"], timeout="1h")
        ended = await wire.ask("job.wait", id=default["id"])
        assert (ended["exit"]["reason"], ended["exit"]["signal"]) == ("timeout", "SIGINT")
        later = await wire.run(argv=["sleep", "60"])
        await wire.ask("job.wait", id=later["id"])
        for job in (unlimited, longer):
            assert (await wire.ask("job.status", id=job["id"]))["state"] == "running"
            await wire.ask("job.stop", id=job["id"])


# Leftovers


async def test_leftovers_are_stopped(wire: "Wire", gone: Gone) -> None:
    """What a job leaves behind is ended by default; the exit is the job's own, at once."""
    job, (left,) = await start(wire, LEAVES + "exit 5")
    ended = await wire.ask("job.wait", id=job["id"])
    assert (ended["exit"]["code"], ended["exit"]["reason"]) == (5, "finished")
    assert await gone(left)
    log = await wire.follow(await wire.subscribe(job["id"]))
    assert log.end is not None
    assert log.end["exit"]["code"] == 5


async def test_leftovers_are_left(wire: "Wire", gate: Callable[[], "Gate"]) -> None:
    """With `leftovers: "leave"` they live on and their output is logged; a stop still ends them."""
    door = gate()
    shell = f"(trap '' TERM; exec setsid sh -c '{door.wait}; echo late; exec sleep 1000') & echo $!; exit 5"
    job, (left,) = await start(wire, shell, leftovers="leave")
    ended = await wire.ask("job.wait", id=job["id"])
    assert (ended["exit"]["code"], ended["exit"]["reason"]) == (5, "finished")
    assert alive(left)
    name = await wire.subscribe(job["id"])
    door.open()
    await wire.until(name, b"late\n")
    stopped = await wire.ask("job.stop", id=job["id"], stop={"grace": "50ms"})
    assert not alive(left)
    assert (stopped["exit"]["code"], stopped["exit"]["reason"]) == (5, "finished")
    assert stopped["exit"]["receipt"]["survivors"] == []
    assert (await wire.follow(name)).end is not None
    assert (await wire.refused("job.stop", id=job["id"]))["code"] == 40901


async def test_leftovers_that_end_by_themselves(wire: "Wire", gate: Callable[[], "Gate"]) -> None:
    """When the last of them is gone the log ends."""
    door = gate()
    job, _ = await start(wire, f"setsid sh -c '{door.wait}; echo late' & echo $!; exit 0", leftovers="leave")
    name = await wire.subscribe(job["id"])
    door.open()
    assert (await wire.follow(name)).stdout.endswith(b"late\n")
    async with asyncio.timeout(wire.deadline):
        while "error" not in await wire.answer(await wire.begin("job.stop", id=job["id"])):
            pass


async def test_a_ladder_has_the_time_it_asks_for(home: "Home") -> None:
    """What a strategy means to take counts, not the grace; the agent's limit comes on top."""
    agent = RunningAgent(home, config='[jobs]\ngrace = 0\nstop_limit = "100ms"\n')
    agent.start()
    ladder = StopSpec(strategy="ladder", options={"steps": [{"signal": "HUP", "grace": "20s"}, {"signal": "KILL"}]})
    async with agent.client() as client:
        shell = "trap 'sleep 0.5; exit 6' HUP; echo up; while :; do sleep 0.01; done"
        run = await client.run(JobSpec(shell=shell, stop=ladder))
        async for _ in run:
            break
        ended = (await client.stop(run.job.id)).exit
        assert ended is not None
        assert (ended.code, ended.reason) == (6, Reason.STOPPED)
    await agent.clean()
