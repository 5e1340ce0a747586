"""A wall clock that was wrong or is set: certificates heal, and no order or duration depends on it."""

import os
import signal
import subprocess
from collections.abc import AsyncIterator

import pytest
from tests.support.set_clock import SetClock
from tests.support.waiting import until

from jobworker.paths import Home
from jobworker.testing import RunningAgent

HOUR, DAY, YEAR = 3600, 86400, 365 * 86400


@pytest.fixture(scope="session")
def set_clock(tmp_path_factory: pytest.TempPathFactory) -> SetClock:
    return SetClock(tmp_path_factory.mktemp("clock"))


@pytest.fixture
async def elsewhen(home: Home, set_clock: SetClock) -> AsyncIterator[RunningAgent]:
    """An agent, not started yet, whose clock is that of `set_clock`; `jw` and the tests have the real one."""
    set_clock.set(0)
    agent = RunningAgent(home, under=set_clock.command)
    yield agent
    set_clock.set(0)
    await agent.clean()


def over_tls(agent: RunningAgent) -> "subprocess.CompletedProcess[str]":
    """Call the agent at its port: on its Unix socket there is no certificate."""
    return agent.jw("--address", agent.address, "--token", agent.token, "--ca", str(agent.ca), "ps")


@pytest.mark.parametrize("wrong", [2 * DAY, -12 * YEAR, 12 * YEAR], ids=["ahead", "behind", "far ahead"])
async def test_a_first_start_with_a_wrong_clock(elsewhen: RunningAgent, set_clock: SetClock, wrong: float) -> None:
    """The certificates of that start are made again at the next one, and the key of the CA stays."""
    set_clock.set(wrong)
    elsewhen.start()
    key = (elsewhen.home.tls / "ca.key").read_bytes()
    elsewhen.end()
    set_clock.set(0)
    elsewhen.start()
    ran = elsewhen.jw("run", "--", "echo", "hello")
    assert ran.stdout == "hello\n", ran.stderr
    assert (elsewhen.home.tls / "ca.key").read_bytes() == key


@pytest.mark.parametrize("wrong", [2 * DAY, -12 * YEAR], ids=["ahead", "behind"])
async def test_a_clock_that_is_set_while_the_agent_runs(
    elsewhen: RunningAgent, set_clock: SetClock, wrong: float
) -> None:
    """The next look at the certificates heals them, without a restart."""
    set_clock.set(wrong)
    elsewhen.start()
    assert over_tls(elsewhen).returncode == 6
    set_clock.set(0)
    os.kill(elsewhen.pid, signal.SIGHUP)
    await until(lambda: "the CA was made again" in elsewhen.home.agent_log.read_text())
    await until(lambda: over_tls(elsewhen).returncode == 0)


async def test_certificates_allow_clients_an_hour(elsewhen: RunningAgent, set_clock: SetClock) -> None:
    """A client whose clock is almost an hour behind that of the agent can connect."""
    set_clock.set(HOUR - 60)
    elsewhen.start()
    assert over_tls(elsewhen).returncode == 0


@pytest.mark.parametrize(
    ("wrong", "words"),
    [(-3 * DAY, "is not valid before"), (12 * YEAR, "expired at")],
    ids=["behind", "ahead"],
)
async def test_jw_with_a_wrong_clock(
    agent: RunningAgent, set_clock: SetClock, monkeypatch: pytest.MonkeyPatch, wrong: float, words: str
) -> None:
    """The error has what is off, by how much, and whose clock to look at."""
    set_clock.set(wrong)
    for name, value in set_clock.environment.items():
        monkeypatch.setenv(name, value)
    refused = over_tls(agent)
    for name in set_clock.environment:
        monkeypatch.delenv(name)
    set_clock.set(0)
    assert refused.returncode == 6
    assert words in refused.stderr
    assert ("3 days" if wrong < 0 else "years") in refused.stderr
    assert "clock" in refused.stderr


async def test_the_clock_is_set_back_between_two_starts(elsewhen: RunningAgent, set_clock: SetClock) -> None:
    """A name means the newer job, and lists have it first, although it was created at an earlier time."""
    elsewhen.start()
    old = elsewhen.jw("run", "-d", "--name", "web", "--", "true").stdout.strip()
    deleted = elsewhen.jw("run", "-d", "--name", "web", "--", "true").stdout.strip()
    assert elsewhen.jw("wait", deleted).returncode == 0
    assert elsewhen.jw("rm", deleted).returncode == 0
    elsewhen.end()
    set_clock.set(-2 * HOUR)
    elsewhen.start()
    new = elsewhen.jw("run", "-d", "--name", "web", "--", "sleep", "600").stdout.strip()
    assert old < deleted < new
    stopped = elsewhen.jw("stop", "web")
    assert stopped.stdout.startswith(new), stopped.stderr


async def test_the_clock_is_set_back_under_a_job(elsewhen: RunningAgent, set_clock: SetClock) -> None:
    """Its duration is positive, and its history is in the order in which it happened."""
    elsewhen.start()
    job = elsewhen.jw("run", "-d", "--", "sleep", "600").stdout.strip()
    async with elsewhen.client() as client:
        assert (await client.call("job.pause", id=job))["state"] == "paused"
        set_clock.set(-2 * HOUR)
        await client.call("job.resume", id=job)
        await client.call("job.stop", id=job)
        explained = await client.call("job.explain", id=job)
        ended = await client.call("job.status", id=job)
    what = [link["what"] for link in explained["chain"] if link["time"]]
    assert what == ["created", "started", "paused", "resumed", "SIGTERM to all", "exited"]
    assert 0 < ended["exit"]["ran_seconds"] < HOUR
    assert "after -" not in explained["summary"]
    assert f"after {ended['exit']['ran_seconds']:.1f} s" in explained["summary"]
    shown = elsewhen.jw("status", job).stdout
    assert "ran: 0.0s" not in shown


async def test_the_clock_is_set_back_during_a_stop(elsewhen: RunningAgent, set_clock: SetClock) -> None:
    """The signal is before the end that it caused: the keeper has the right clock, the agent one ahead."""
    elsewhen.start()
    job = elsewhen.jw("run", "-d", "--", "sleep", "600").stdout.strip()
    async with elsewhen.client() as client:
        set_clock.set(2 * HOUR)
        await client.call("job.stop", id=job)
        explained = await client.call("job.explain", id=job)
    what = [link["what"] for link in explained["chain"] if link["time"]]
    assert what == ["created", "started", "SIGTERM to all", "exited"]
