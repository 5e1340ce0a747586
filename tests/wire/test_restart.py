"""A planned restart: the same process executes the agent again, and no client is refused meanwhile."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.conftest import RunningAgent
from tests.support.waiting import DEADLINE

from jobworker.client import connect
from jobworker.errors import InvalidState
from jobworker.model import JobSpec, Reason
from jobworker.paths import Home

if TYPE_CHECKING:
    from tests.support.wire import Gate

    from jobworker.client import Client

# The last step of an agent of the version before, when it restarts into the program that is on disk now.
PREDECESSOR = """
import os, sys, pathlib
from jobworker.config import Server
from jobworker.instance import Instance
from jobworker.paths import Home
home = Home(pathlib.Path(sys.argv[sys.argv.index("--home") + 1]))
kept = Instance(home, Server(), local=True).hand_over()
for fd in kept:
    os.set_inheritable(fd, True)
command = [sys.executable, "-m", "jobworker.app", *sys.argv[1:], "--inherited", *map(str, kept)]
os.execv(command[0], command)
"""
COUNT = "i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo $i; case $i in 5|30) {wait};; esac; done; exit 9"


async def restart(agent: RunningAgent) -> None:
    async with agent.client() as client:
        await client.call("agent.restart")
        await client.closed()


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def test_pid_keeper_and_port_stay(agent: RunningAgent) -> None:
    """The process is the same, so it stays the ancestor of its keeper; its configuration is read again."""
    async with agent.client() as client:
        before = await client.call("agent.info")
    agent.home.config.write_text("[limits]\nsubscriptions = 7\n")
    await restart(agent)
    async with agent.client() as client:
        after = await client.call("agent.info")
    assert (after["pid"], after["keeper"], after["address"]) == (before["pid"], before["keeper"], before["address"])
    assert (before["limits"]["subscriptions"], after["limits"]["subscriptions"]) == (100, 7)
    assert parent_of(after["keeper"]["pid"]) == after["pid"]


async def test_the_command_line_of_the_version_before(home: Home) -> None:
    """An agent that was started as `python -m jobworker.app` restarts into this version, and that one again."""
    agent = RunningAgent(home, program=["-c", PREDECESSOR])
    agent.start()
    try:
        await restart(agent)
        async with agent.client() as client:
            assert (await client.call("agent.info"))["pid"] == agent.pid
    finally:
        await agent.clean()


async def test_followers_ride_through_and_callers_wait(agent: RunningAgent, gate: Callable[[], "Gate"]) -> None:
    """A subscriber continues at its byte; a client that connects during the restart is served after it.

    The job waits during the first restart and writes during the second.
    """
    told: list[str] = []
    door = gate()
    async with connect(agent.address, token=agent.token, ca=agent.ca, lost=told.append) as client:
        run = await client.run(JobSpec(shell=COUNT.format(wait=door.wait)))
        said, moments = b"", [5, 30]  # lines, after which the job waits
        async for chunk in run:
            said += chunk.data
            if moments and said.count(b"\n") >= moments[0]:
                if moments.pop(0) == 30:
                    door.open()
                await restart(agent)
                async with agent.client() as other:
                    assert (await other.status(run.job.id)).pid
                door.open()
    assert said == "".join(f"{number}\n" for number in range(1, 61)).encode()
    assert told[:2] == ["connection lost; trying again", "connected again"]
    assert run.end is not None
    assert run.end.exit is not None
    assert (run.end.exit.code, run.end.exit.reason) == (9, Reason.FINISHED)


async def test_it_inherits_when_the_keeper_dies_later(agent: RunningAgent, client: "Client") -> None:
    """The exit status of a job outlives its keeper after a restart as it did before."""
    spec = JobSpec(shell="trap 'exit 77' USR1; while :; do sleep 0.01; done")
    job = await client.start((await client.create(spec)).id)
    await restart(agent)
    async with agent.client() as other:
        os.kill((await other.call("agent.info"))["keeper"]["pid"], signal.SIGKILL)
        assert job.pid is not None
        os.kill(job.pid, signal.SIGUSR1)
        ended = await other.wait(job.id, DEADLINE)
    assert ended.exit is not None
    assert (ended.exit.code, ended.exit.reason) == (77, Reason.FINISHED)


@pytest.mark.parametrize("broken", ["nonsense", "[plugins]\nload = ['nobody']\n", "[auth]\nproviders = ['nobody']\n"])
async def test_a_restart_that_would_fail_is_refused(agent: RunningAgent, client: "Client", broken: str) -> None:
    """With a configuration that would not start, the agent runs on as it is, and the error has the reason."""
    agent.home.config.write_text(broken)
    with pytest.raises(InvalidState, match="would not start again"):
        await client.call("agent.restart")
    async with asyncio.timeout(DEADLINE):
        assert await client.call("agent.ping")


async def test_a_restart_with_a_module_that_is_shadowed(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is one line and ends with the reason; the log has the traceback, and the agent runs on."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    agent = RunningAgent(home)
    agent.start()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "uvloop.py").write_text("raise RuntimeError('shadowed')\n")
    try:
        said = await asyncio.to_thread(agent.jw, "agent", "restart")
        assert said.returncode == 5
        last = "jw: error: the agent would not start again and runs on unchanged: RuntimeError: shadowed"
        assert said.stderr.splitlines() == [last, "hint: the log of the agent has the traceback"]
        assert "Traceback" in home.agent_log.read_text()
    finally:
        (tmp_path / "site" / "uvloop.py").unlink()
        await agent.clean()


async def test_a_restart_with_a_setting_that_is_wrong(agent: RunningAgent) -> None:
    """The error is that of a start, with its hint, and no line break is shown as a text."""
    agent.home.config.write_text("[limits]\nconnections = -1\n")
    said = await asyncio.to_thread(agent.jw, "agent", "restart")
    assert said.returncode == 5
    assert said.stderr.splitlines()[1:] == ["hint: config.toml explains every key"]
    assert "\\n" not in said.stderr
    assert "limits.connections: -1; expected 1 or more" in said.stderr
