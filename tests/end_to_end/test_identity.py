"""A process that is not the one that was started is nobody's job: after a reboot, or with a pid that was reused."""

import os
import signal
import sqlite3
from pathlib import Path

import pytest
from tests.conftest import DEADLINE, RunningAgent

from jobworker.client.local import wait_gone
from jobworker.errors import InvalidState
from jobworker.model import JobSpec, Reason, State
from jobworker.paths import Home


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("boot", '"another"', "the host was restarted"), ("start", "1", "nobody knows how it ended")],
    ids=["reboot", "reused"],
)
async def test_lost_and_left_alone(home: Home, field: str, value: str, words: str) -> None:
    """The job is lost, with the reason; the process that has its pid now gets no signal."""
    agent = RunningAgent(home)
    agent.start()
    async with agent.client() as client:
        job = await client.start((await client.create(JobSpec(argv=["sleep", "1000"], timeout=1000))).id)
        keeper = (await client.call("agent.info"))["keeper"]
    assert job.pid is not None
    agent.end()
    for pid in keeper.values():
        os.kill(pid, signal.SIGKILL)
        assert wait_gone(pid, DEADLINE)
    change(home.database, job.id, field, value)
    try:
        agent.start()
        async with agent.client() as client:
            lost = await client.wait(job.id, DEADLINE)
            assert lost.exit is not None
            assert (lost.state, lost.exit.reason, lost.exit.code, lost.exit.signal) == (
                State.LOST,
                Reason.LOST,
                None,
                None,
            )
            assert words in lost.exit.message
            with pytest.raises(InvalidState):
                await client.stop(job.id)
            await client.delete(job.id, force=True)
        assert not wait_gone(job.pid, 0)
    finally:
        os.kill(job.pid, signal.SIGKILL)
    await agent.clean()


def change(database: Path, job: str, field: str, value: str) -> None:
    """Change a field of a job's record as it is on disk; the journal has been applied to it."""
    db = sqlite3.connect(database)
    with db:
        changed = db.execute(
            "UPDATE jobs SET record = json_set(record, ?, json(?)) WHERE id = ? AND live", (f"$.{field}", value, job)
        )
    assert changed.rowcount == 1
    db.close()
