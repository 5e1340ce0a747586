"""How many lines a second come through `jw run`, beside the same `cat` into a pipe."""

import asyncio
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.benchmarks.commands import JW
from tests.benchmarks.figures import median_and_range, ratio, table
from tests.benchmarks.fixtures import require, running_agent

ROUNDS = 5
LINES = 5_000_000
LINE = b"a line of a build, as long as most: 60 characters or so....\n"
READ_BYTES = 65536


async def measure() -> None:
    async with running_agent() as agent:
        environment = os.environ | {"JOBWORKER_HOME": str(agent.home.path)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        await asyncio.to_thread(_measure, environment)


def _measure(environment: Mapping[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lines"
        path.write_bytes(LINE * LINES)
        cat = ["cat", str(path)]
        run = [*JW, "run", "--log-max", "1GiB", "--", *cat]
        lines_a_second([*JW, "run", "--", "true"], environment, 0)
        alone, through = [], []
        for _ in range(ROUNDS):
            alone.append(lines_a_second(cat, environment, LINES))
            through.append(lines_a_second(run, environment, LINES))
    rows = [["", "million lines/s", "limit: cat alone", "ratio"]]
    millions = [[value / 1e6 for value in values] for values in (through, alone)]
    rows.append(["jw run -- cat", *(median_and_range(values, 2) for values in millions), ratio(through, alone)])
    table(f"{LINES:,} lines of {len(LINE)} bytes into a pipe, {ROUNDS} rounds", rows)


def lines_a_second(command: Sequence[str], environment: Mapping[str, str], expected: int) -> float:
    """Run a command and read its output from a pipe; require that many lines."""
    began = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        count = 0
        while data := os.read(process.stdout.fileno(), READ_BYTES):
            count += data.count(b"\n")
    seconds = time.perf_counter() - began
    require((process.returncode, count) == (0, expected), f"{command[:4]}: {process.returncode}, {count} lines")
    return count / seconds
