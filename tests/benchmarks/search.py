"""How fast log.search goes through a log, and whether it finds all that is there, beside grep on the same bytes."""

import asyncio
import itertools
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import cpu_seconds, median_and_range, ratio, table
from tests.benchmarks.fixtures import require, running_agent

from jobworker.client import Client
from jobworker.model import JobSpec

ROUNDS = 3
GIB = 1 << 30
MB = 1e6
LINE_BYTES = 100
EVERY = 10_007  # lines: each of these has the text that is searched for
PATTERNS: list[tuple[str, str, dict[str, Any]]] = [
    ("a text", "needle", {}),
    ("in any case", "NEEDLE", {"case": False}),
    ("an expression", "level=(err|fatal).*needle [0-9]+$", {"regex": True}),
]
WRITER = """
BEGIN {
    fill = "level=info 2030-01-31T12:00:00Z a request was served, and there is nothing more to be known of it......"
    fill = substr(fill, 1, 99)
    for (n = 1; n <= lines; n++)
        if (n % every) print fill
        else printf "%-80s level=err needle %d\\n", "", n
}
"""


async def measure(size: int = GIB) -> None:
    """Search a log of this size for texts and expressions, and only count."""
    lines = size // LINE_BYTES
    rows = [["log.search", "MB/s", "limit: grep -c", "ratio", "agent CPU s/GB", "found", "there"]]
    async with running_agent('[jobs]\nlog_max_bytes = "4GiB"\n') as agent, agent.client() as client:
        job = await client.run(JobSpec(argv=["awk", "-v", f"lines={lines}", "-v", f"every={EVERY}", WRITER]))
        async for _ in job:
            pass
        require(job.offset > 0.99 * size, f"the log has {job.offset} bytes; expected {size}")
        log = agent.home.logs / job.job.id / "out"
        for (name, pattern, how), limit in itertools.product(PATTERNS, (10_000, 0)):
            found, speeds, limits, costs = 0, [], [], []
            for _ in range(ROUNDS):
                began = time.monotonic()
                await asyncio.to_thread(_grep, log, pattern, how)
                limits.append(job.offset / MB / (time.monotonic() - began))
                before, began = cpu_seconds(agent.pids["agent"]), time.monotonic()
                found = await _search(client, job.job.id, pattern, how, limit)
                speeds.append(job.offset / MB / (time.monotonic() - began))
                costs.append((cpu_seconds(agent.pids["agent"]) - before) / job.offset * 1e9)
            there = lines // EVERY
            require(found == there, f"{found} matches of {pattern!r} were found; expected {there}")
            rows.append(
                [
                    name if limit else f"{name}, only counted",
                    median_and_range(speeds),
                    median_and_range(limits),
                    ratio(speeds, limits),
                    median_and_range(costs, 1),
                    str(found),
                    str(there),
                ]
            )
    table(f"a log of {size / MB:.0f} MB with a match in {EVERY} lines, {ROUNDS} rounds", rows)


async def measure_short() -> None:
    await measure(100_000_000)


async def _search(client: Client, job: str, pattern: str, how: dict[str, Any], limit: int) -> int:
    """Return how many matches all calls together have found."""
    found, offset, complete = 0, 0, False
    while not complete:
        answer = await client.search(job, pattern, offset, limit=limit, **how)
        found, offset, complete = found + answer.count, answer.next, answer.complete
    return found


def _grep(log: Path, pattern: str, how: dict[str, Any]) -> None:
    kind = "-E" if how.get("regex") else "-F"
    options = ["-c", kind] + ([] if how.get("case", True) else ["-i"])
    done = subprocess.run(
        ["grep", *options, "-e", pattern, log], env={"LC_ALL": "C.UTF-8"}, capture_output=True, check=False
    )
    require(done.returncode == 0, f"grep {pattern}: exit code {done.returncode}")
