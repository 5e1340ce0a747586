"""How long a backup of 10,000 jobs and its restore take while the agent runs, beside tar, and what differs."""

import asyncio
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.benchmarks.figures import median_and_range, ratio, table
from tests.benchmarks.fixtures import agent_on, require, state_folder
from tests.benchmarks.starts import in_flight
from tests.support.backups import differences, rows

from jobworker.backup import create, restore
from jobworker.client import Client
from jobworker.model import JobSpec
from jobworker.paths import Home

JOBS = 10_000
ROUNDS = 3
WIDTH = 16  # jobs at once
LINES = 40  # of each job, on both streams
SHELL = f"for n in $(seq {LINES}); do echo line $n of $$; done; echo done >&2"


async def measure(count: int = JOBS) -> None:
    """Run jobs, back up and restore several times, and compare every job, event and byte."""
    with state_folder() as home:
        home.config.write_text("[retention]\njobs = 0\nbytes = 0\n")
        async with agent_on(home) as agent, agent.client() as client:
            await in_flight(WIDTH, count, lambda: one(client))
            while rows(home, "SELECT 1 FROM jobs WHERE live"):  # noqa: ASYNC110  # the end of a log comes later
                await asyncio.sleep(0.2)
            revision = int(str(rows(home, "SELECT max(revision) FROM events")[0][0]))
            await asyncio.to_thread(_compare, home, count, revision)


async def one(client: Client) -> None:
    job = await client.run(JobSpec(shell=SHELL))
    async for _ in job:
        pass


def _compare(home: Home, count: int, revision: int) -> None:
    times: dict[str, list[float]] = {name: [] for name in ("backup", "tar c", "verify", "restore", "tar x")}
    size, different = 0, 0
    for number in range(ROUNDS):
        file, packed = (home.path.parent / f"{name}{number}.tgz" for name in ("backup", "tar"))
        to, unpacked = home.path.parent / f"to{number}", home.path.parent / f"unpacked{number}"
        unpacked.mkdir()
        steps: dict[str, Callable[[], object]] = {
            "backup": partial(create.create, home, file, logs=True, keys=True),
            "tar c": partial(_pack, home, packed),
            "verify": partial(restore.verify, file),
            "restore": partial(restore.restore, file, Home(to)),
            "tar x": partial(_unpack, packed, unpacked),
        }
        for name, step in steps.items():
            began = time.monotonic()
            step()
            times[name].append((time.monotonic() - began) * 1000)
        size = file.stat().st_size
        require(len(rows(Home(to), "SELECT id FROM jobs")) == count, "jobs are missing")
        different += len(differences(home, Home(to), revision))
        for folder in (to, unpacked):
            shutil.rmtree(folder)
    lines = [["", "ms", "speed beside tar"]]
    for name, limit in (("backup", "tar c"), ("verify", ""), ("restore", "tar x")):
        beside = ratio(times[limit], times[name]) if limit else ""
        lines.append([name, median_and_range(times[name]), beside])
    table(f"Backup of {count:,} jobs while the agent runs, {size / 1e6:.1f} MB; differences: {different}", lines)
    require(different == 0, f"{different} differences between {ROUNDS} restored state folders and the first one")


def _pack(home: Home, packed: Path) -> None:
    what = ["logs", "jobs.db", "journal"]
    tar = ["tar", "-C", str(home.path), "-I", "gzip -1", "-cf", str(packed), *what]
    subprocess.run(tar, check=False, capture_output=True)  # it ends with 1 if a file changes meanwhile


def _unpack(packed: Path, to: Path) -> None:
    with tarfile.open(packed) as tar:
        tar.extractall(to, filter="data")
