"""Jobs that an agent with a table of format 1 has left are adopted, stopped and resumed by this one."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import RunningAgent

from jobworker.errors import ConnectionFailed
from jobworker.model import JobSpec, Reason, State, StopSpec


def flat(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record as format 1 has it."""
    stop = record.pop("stop")
    for group in ("process", "pause", "log"):
        record |= record.pop(group)
    return record | {"ending": stop["request"], "receipt": stop["receipt"], "sent": stop["sent"]}


def to_format_1(table: Path) -> None:
    with closing(sqlite3.connect(table)) as db, db:
        for job, text in db.execute("SELECT id, record FROM jobs").fetchall():
            db.execute("UPDATE jobs SET record = ? WHERE id = ?", (json.dumps(flat(json.loads(text))), job))
        for index in ("ended_jobs", "ended_of", "states", "owners"):
            db.execute(f"DROP INDEX {index}")
        db.execute("DROP TABLE labels")
        for column in ("ended", "kept"):
            db.execute(f"ALTER TABLE jobs DROP COLUMN {column}")
        db.execute("CREATE INDEX ended ON jobs (json_extract(record, '$.job.exited_at'))")
        db.execute("PRAGMA user_version=1")


async def test_the_jobs_of_a_table_of_format_1(agent: RunningAgent) -> None:
    """Whatever a job was doing goes on: a stop with its grace, a pause, a process that was left behind."""
    deaf = "trap '' TERM; echo up; while :; do sleep 1; done"
    async with agent.client() as client:
        created = await client.create(JobSpec(argv=["sh", "-c", "exit 7"]))
        started = {}
        for name, spec in {
            "running": JobSpec(shell="echo up; sleep 1000"),
            "paused": JobSpec(shell="echo up; sleep 1000"),
            "stopping": JobSpec(shell=deaf, stop=StopSpec(grace="1000s")),
            "left": JobSpec(shell="sleep 1000 & echo up", leftovers="leave"),
        }.items():
            run = await client.run(spec)
            assert (await anext(aiter(run))).data == b"up\n"
            started[name] = run.job.id
        await client.pause(started["paused"])
        await client.wait(started["left"], 10)
        stop = asyncio.create_task(client.stop(started["stopping"]))
        async for event in await client.events(0):
            if event.event == "stopping":
                break
        agent.kill()
        with pytest.raises(ConnectionFailed):
            await stop
    to_format_1(agent.home.database)
    agent.start()
    async with agent.client() as client:
        jobs = {name: await client.status(job) for name, job in started.items()}
        assert {name: job.state for name, job in jobs.items()} == {
            "running": State.RUNNING,
            "paused": State.PAUSED,
            "stopping": State.STOPPING,
            "left": State.EXITED,
        }
        await client.start(created.id)
        ended = (await client.wait(created.id, 10)).exit
        assert ended is not None
        assert ended.code == 7
        assert (await client.resume(started["paused"])).state == State.RUNNING
        for name, job in started.items():
            stopped = await client.stop(job, StopSpec(strategy="kill"))
            assert stopped.exit is not None
            assert stopped.exit.receipt is not None or name == "left"
            assert stopped.exit.reason == (Reason.FINISHED if name == "left" else Reason.STOPPED)
            assert stopped.log.bytes == 3
