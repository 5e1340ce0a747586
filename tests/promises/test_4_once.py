"""Promise 4: a job is launched at most once, and no process is signalled that is not the job's."""

import json
import os
import signal
import sqlite3
from pathlib import Path

import pytest
from tests.conftest import DEADLINE, RunningAgent
from tests.torture import once, stops
from tests.torture.outcome import SEED, judge

from jobworker.client.local import wait_gone
from jobworker.errors import InvalidState
from jobworker.model import JobSpec, Reason, State
from jobworker.paths import Home


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("boot", '"another"', "the host was restarted"), ("start", "1", "it is not known how the job ended")],
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


async def test_what_no_agent_has_read_before_a_reboot(home: Home) -> None:
    """The keeper had started a job and the agent had not stored it: in the next boot its pid is another's."""
    agent = RunningAgent(home)
    agent.start()
    async with agent.client() as client:
        created = await client.create(JobSpec(argv=["sleep", "1000"]))
        keeper = (await client.call("agent.info"))["keeper"]
        position = home.journal.stat().st_size
        job = await client.start(created.id)
    assert job.pid
    agent.end()
    for pid in keeper.values():
        os.kill(pid, signal.SIGKILL)
        assert wait_gone(pid, DEADLINE)
    forget_start(home.database, job.id, position)
    try:
        agent.start()
        async with agent.client() as client:
            lost = await client.wait(job.id, DEADLINE)
            assert lost.exit
            assert (lost.state, lost.exit.message) == (State.LOST, "the host was restarted")
        assert not wait_gone(job.pid, 0)
    finally:
        os.kill(job.pid, signal.SIGKILL)
    await agent.clean()


def forget_start(database: Path, job: str, position: int) -> None:
    """Make the table what it was before the job was started: the journal read to there, in another boot than this."""
    db = sqlite3.connect(database)
    with db:
        record = json.loads(db.execute("SELECT record FROM jobs WHERE id = ?", (job,)).fetchone()[0])
        record["process"] |= {"boot": "", "launching": False, "start": 0}
        record["job"] |= {"state": "created", "pid": None, "started_at": None}
        db.execute("UPDATE jobs SET state = 'created', record = ? WHERE id = ?", (json.dumps(record), job))
        db.execute("UPDATE meta SET value = ? WHERE name = 'journal'", (position,))
        db.execute("UPDATE meta SET value = 'another' WHERE name = 'journal_boot'")
    db.close()


def change(database: Path, job: str, field: str, value: str) -> None:
    """Change a field of a job's record as it is on disk; the journal has been applied to it."""
    db = sqlite3.connect(database)
    with db:
        changed = db.execute(
            "UPDATE jobs SET record = json_set(record, ?, json(?)) WHERE id = ? AND live",
            (f"$.process.{field}", value, job),
        )
    assert changed.rowcount == 1
    db.close()


@pytest.mark.slow
@pytest.mark.parametrize("process", ["keeper", "pump", "agent"])
async def test_killed_at_every_system_call(tmp_path: Path, process: str) -> None:
    """Whichever call it dies at, a job is run at most once, ended at most once, and its exit is the true one."""
    outcome = await once.killed_at_every_call(tmp_path / "t", process)
    judge(outcome)
    assert outcome.kills > 20
    if process != "keeper":
        assert set(outcome.statuses) == {"exact"}


async def test_starts_and_stops_meet(tmp_path: Path) -> None:
    """A job that is stopped at the moment of its start runs once and ends once, with the reason."""
    outcome = await stops.starts_and_stops_meet(tmp_path / "t", SEED, 100)
    judge(outcome)
    assert outcome.kills == 100
