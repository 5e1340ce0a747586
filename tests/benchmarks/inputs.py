"""How fast the input of `jw` goes through a job and back, beside two processes with a pipe between them."""

import os
import shlex
import subprocess
import sys
import time

from tests.benchmarks.figures import cpu_seconds, median_and_range, ratio, table
from tests.benchmarks.fixtures import Agent, require, running_agent
from tests.benchmarks.sshd import sshd
from tests.benchmarks.starts import through_api

ROUNDS = 5
BYTES = 200_000_000
MB = 1e6
COMMANDS = {"in and out": ["cat"], "in alone": ["sh", "-c", "cat >/dev/null"]}


async def measure() -> None:
    rows = [["jw run -i", "MB/s", "limit: cat | cat", "ratio", "ssh 127.0.0.1", "agent CPU s/GB", "pump CPU s/GB"]]
    with sshd() as ssh:
        async with running_agent() as agent, agent.client() as client:
            await through_api(client)  # what is done at the first job only
            for name, command in COMMANDS.items():
                limits, speeds, others, costs = [], [], [], []
                for _ in range(ROUNDS):
                    limits.append(_piped(["sh", "-c", f"head -c {BYTES} /dev/zero | cat | cat >/dev/null"]))
                    before = [cpu_seconds(agent.pids[which]) for which in ("agent", "pump")]
                    speeds.append(_through(agent, command))
                    after = [cpu_seconds(agent.pids[which]) for which in ("agent", "pump")]
                    costs.append([(end - start) / BYTES * 1e9 for start, end in zip(before, after, strict=True)])
                    if ssh is not None:
                        words = shlex.join([*ssh, shlex.join(command)])
                        others.append(_piped(["sh", "-c", f"head -c {BYTES} /dev/zero | {words} >/dev/null"]))
                rows.append(
                    [
                        name,
                        median_and_range(speeds),
                        median_and_range(limits),
                        ratio(speeds, limits),
                        median_and_range(others) if others else "no sshd",
                        *(median_and_range([cost[which] for cost in costs], 1) for which in (0, 1)),
                    ]
                )
    table(f"{BYTES / MB:g} MB of zeros, {ROUNDS} rounds; `jw` and ssh start and log in meanwhile", rows)


def _piped(command: list[str], **env: str) -> float:
    """Run a command that takes all of the bytes; return MB a second."""
    began = time.monotonic()
    done = subprocess.run(command, env=os.environ | env, check=False)
    require(done.returncode == 0, f"{command}: exit code {done.returncode}")
    return BYTES / MB / (time.monotonic() - began)


def _through(agent: Agent, command: list[str]) -> float:
    """Send the bytes through a job by `jw`."""
    words = " ".join(f"'{word}'" for word in [sys.executable, "-m", "jobworker_cli", "run", "-i", "--", *command])
    line = f"head -c {BYTES} /dev/zero | {words} >/dev/null"
    return _piped(["sh", "-c", line], JOBWORKER_HOME=str(agent.home.path))
