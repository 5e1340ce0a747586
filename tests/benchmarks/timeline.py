"""Where the time of one job goes, stage by stage, from the client's call to the end of the log at the client.

The stages inside the agent are traced by `traced_agent.py`, those of the keeper are times in the journal.
"""

import asyncio
import os
import statistics
import time
from pathlib import Path

from tests.benchmarks.figures import table
from tests.benchmarks.fixtures import agent_on, require, state_folder
from tests.benchmarks.starts import PROGRAM

from jobworker.client import Client
from jobworker.host.journal import Journal
from jobworker.model import JobSpec

JOBS = 60
PAUSES = {"at once": 0.0, "after 100 ms": 0.1}
PROGRAM_OF_AGENT = [str(Path(__file__).with_name("traced_agent.py"))]
STAGES = {  # in the order in which a job reaches them
    "read by the session": "trace",
    "record made": "trace",
    "committed": "trace",
    "keeper asked": "trace",
    "launching": "journal",
    "started": "journal",
    "ended": "journal",
    "the agent reads the journal": "trace",
    "answer sent": "trace",
    "answer at the client": "client",
    "log.end at the client": "client",
}


async def measure() -> None:
    with state_folder() as home:
        trace = home.path / "trace"
        os.environ["JOBWORKER_TRACE"] = str(trace)
        async with agent_on(home, PROGRAM_OF_AGENT) as agent, agent.client() as client:
            await one(client)  # what is done at first use only
            columns = {}
            for name, pause in PAUSES.items():
                jobs = []
                for _ in range(JOBS):
                    await asyncio.sleep(pause)
                    trace.write_bytes(b"")
                    jobs.append((*await one(client), trace.read_text()))
                columns[name] = jobs
        journal = read_journal(home.journal)
    rows = [["", *columns]]
    medians = {name: [stages(*job, journal) for job in jobs] for name, jobs in columns.items()}
    for stage in STAGES:
        cells = [f"{statistics.median(job[stage] for job in jobs if stage in job):.0f}" for jobs in medians.values()]
        rows.append([stage, *cells])
    table(f"One job of {PROGRAM}: us after the client's call, median of {JOBS}", rows)


async def one(client: Client) -> tuple[str, int, int, int]:
    """Run a job; return its id, when the call was made, when it was answered and when the log had ended, in ns."""
    called = time.time_ns()
    subscription = await client.run(JobSpec(argv=[PROGRAM]))
    answered = time.time_ns()
    async for _ in subscription:
        pass
    require(subscription.end is not None, "the log has no end")
    return subscription.job.id, called, answered, time.time_ns()


def read_journal(path: Path) -> dict[str, dict[str, int]]:
    """Return when each entry of each job was written, in ns."""
    journal = Journal(path)
    found: dict[str, dict[str, int]] = {}
    while entries := journal.read():
        for entry in entries:
            found.setdefault(entry.id, {})[type(entry).__name__.lower()] = entry.at
    journal.close()
    return found


def stages(
    job: str, called: int, answered: int, ended: int, trace: str, journal: dict[str, dict[str, int]]
) -> dict[str, float]:
    """Return when each stage was reached first, in us after the call."""
    reached = {"answer at the client": answered, "log.end at the client": ended, **journal[job]}
    for line in trace.splitlines():
        stage, at = line.split("\t")
        # The journal is read several times; the reading that counts is the first one after the start.
        if stage != "the agent reads the journal" or int(at) >= journal[job]["started"]:
            reached.setdefault(stage, int(at))
    return {stage: (at - called) / 1000 for stage, at in reached.items() if stage in STAGES}
