"""A keeper that is silent is replaced; one that is slow, or that could not run, is not."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.keeper_copy import copy_keeper

from jobworker.host import keeper_link, keeper_process, keeper_silence
from jobworker.host.journal import Ended

if TYPE_CHECKING:
    from tests.support.keeper_host import Host

SILENCE = 1.0  # seconds


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_silence, "SILENCE_SECONDS", SILENCE)
    monkeypatch.setattr(keeper_silence, "BUSY_SECONDS", 4 * SILENCE)
    monkeypatch.setattr(keeper_silence, "CHECK_SECONDS", SILENCE / 5)


async def test_a_silent_keeper_is_killed(host: "Host") -> None:
    os.kill(host.pid, signal.SIGSTOP)
    with pytest.raises(keeper_link.KeeperGone):
        await host.ask("hello")
    assert host.link.stuck


async def test_a_host_that_stood_still(host: "Host") -> None:
    """The agent is the first to run again: it gives the keeper the time to answer that neither had."""
    os.kill(host.pid, signal.SIGSTOP)
    asked = asyncio.create_task(host.ask("hello"))
    await asyncio.sleep(0)  # it is sent
    time.sleep(2 * SILENCE)  # noqa: ASYNC251  # nothing of this process runs meanwhile
    asyncio.get_running_loop().call_later(SILENCE / 3, os.kill, host.pid, signal.SIGCONT)
    assert (await asked)["pid"] == host.pid
    assert not host.link.stuck


async def test_many_launches_on_a_slow_host(
    cold_host: "Host", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keeper answers between launches that together take longer than it may be silent."""
    line = "        job.limited = bool(limits)\n"
    slow = copy_keeper(
        tmp_path / "slow", {"keeper/launch.py": (line, f"{line}        __import__('time').sleep(0.07)\n")}
    )
    monkeypatch.setattr(keeper_process, "KEEPER", slow)
    await cold_host.connect()
    jobs = [f"m{number}" for number in range(18)]
    await asyncio.gather(*(cold_host.launch(job, "/bin/sh", "-c", "exit 3") for job in jobs))
    assert not cold_host.link.stuck
    for job in jobs:
        assert (await cold_host.until(Ended, job)).code == 3


@pytest.mark.slow
async def test_a_keeper_that_computes(cold_host: "Host", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has longer, as it is not stuck, but not for ever."""
    line = "        job.limited = bool(limits)\n"
    spin = "        end = os.times().elapsed + limits.pop('spin', 0)\n        while os.times().elapsed < end: pass\n"
    busy = copy_keeper(tmp_path / "busy", {"keeper/launch.py": (line, line + spin)})
    monkeypatch.setattr(keeper_process, "KEEPER", busy)
    await cold_host.connect()
    await cold_host.launch("a1", "/bin/sh", "-c", "exit 3", limits={"spin": 2 * SILENCE})
    assert (await cold_host.until(Ended, "a1")).code == 3
    with pytest.raises(keeper_link.KeeperGone):
        await cold_host.launch("a2", "/bin/true", limits={"spin": 1000})
    assert cold_host.link.stuck
