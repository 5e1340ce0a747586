"""Draining: no job is created or started, what runs goes on, and that lasts until an admin ends it."""

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import DEADLINE

from jobworker.errors import Draining
from jobworker.model import JobSpec, State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.wire import Upgrade

    from jobworker.testing import RunningAgent

SLEEP = JobSpec(argv=["sleep", "600"])


async def test_drain_over_restarts(
    start: "Callable[..., RunningAgent]", upgrade: "Upgrade", tmp_path: "Path"
) -> None:
    """Creating and starting are refused, also by an agent after a restart and a kill; keys return their jobs."""
    agent = start()
    gate = tmp_path / "gate"
    async with agent.client() as client:
        created = await client.create(SLEEP)
        running = await client.create(JobSpec(shell=f"echo one; while [ ! -e {gate} ]; do sleep 0.05; done"), key="k")
        await client.start(running.id)
        answer = await client.drain()
        assert (answer.running, bool(answer.draining)) == (1, True)
        again = await client.drain()
        assert again.draining == answer.draining, "it began once"
    for end in (None, agent.kill, agent.end):
        if end is not None:
            await asyncio.to_thread(end)
            agent.start()
        async with agent.client() as client:
            assert (await client.info()).draining == answer.draining
            for call in (client.create(SLEEP), client.start(created.id), client.run(SLEEP)):
                with pytest.raises(Draining) as refused:
                    await call
                assert (refused.value.code, refused.value.retryable) == (50302, True)
                assert refused.value.data["since"] == answer.draining
            assert len(await client.list()) == 2, "no job is left of a call that was refused"
            assert (await client.create(running.spec, key="k")).id == running.id
            assert (await client.status(running.id)).state == State.RUNNING
        status, _, text = await upgrade(agent, path="/readyz")
        assert (status, text.splitlines()[-1]) == (503, "starts: draining")
    done = await asyncio.to_thread(agent.jw, "doctor")
    assert f"starts        draining since {answer.draining}" in done.stdout
    left = await asyncio.to_thread(agent.jw, "agent", "drain", "--timeout", "0.2", "--json")
    assert (left.returncode, [job["id"] for job in json.loads(left.stdout)["jobs"]]) == (1, [running.id])
    waiting = asyncio.create_task(asyncio.to_thread(agent.jw, "agent", "drain", "--wait"))
    gate.touch()
    async with asyncio.timeout(DEADLINE):
        waited = await waiting
    assert (waited.returncode, waited.stdout) == (0, "")
    assert "the agent starts no jobs, and no job runs\n" in waited.stderr
    off = await asyncio.to_thread(agent.jw, "agent", "drain", "--off")
    assert (off.returncode, off.stderr) == (0, "jw: the agent starts jobs again\n")
    assert (await upgrade(agent, path="/readyz"))[0] == 200
    async with agent.client() as client:
        assert (await client.info()).draining is None
        assert (await client.start(created.id)).state == State.RUNNING
        entries = [entry.method for entry in await client.audit(1000) if entry.decision == "allowed"]
        assert {"agent.drain", "agent.undrain"} <= {*entries}


async def test_no_start_after_the_answer(start: "Callable[..., RunningAgent]") -> None:
    """Of starts that race with a drain, each is refused or was over when the drain answered."""
    agent = start()
    async with agent.client() as client, agent.client() as admin:
        jobs = [await client.create(SLEEP) for _ in range(20)]
        starts = [asyncio.create_task(client.start(job.id)) for job in jobs]
        await starts[0]
        answer = await admin.drain()
        now = {job.id for job in await admin.list(states=[State.RUNNING])}
        outcomes = await asyncio.gather(*starts, return_exceptions=True)
        begun = {job.id for job in outcomes if not isinstance(job, BaseException)}
        assert begun == now
        assert answer.running == len(now)
        assert {type(each) for each in outcomes if isinstance(each, BaseException)} <= {Draining}
        assert {job.id for job in await admin.list(states=[State.RUNNING])} == now
