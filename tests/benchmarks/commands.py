"""How long a command of `jw` takes beside `python -c pass`, by wall and by processor time, and by what it imports."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.benchmarks import results
from tests.benchmarks.figures import median_and_range, table
from tests.benchmarks.fixtures import require, running_agent

ROUNDS = 15
PYTHON = [sys.executable, "-c", "pass"]
JW = [str(Path(sys.executable).with_name("jw"))]
SHOWN_IMPORTS = 8  # the dearest packages


async def measure() -> None:
    async with running_agent() as agent:
        environment = os.environ | {"JOBWORKER_HOME": str(agent.home.path)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed `jw` is compiled
        async with agent.client() as client:
            job = (await client.call("job.create", spec={"argv": ["sleep", "600"]}))["id"]
        lines = {
            "jw --version": ["--version"],
            "jw status": ["status", job],
            "jw ps": ["ps"],
            "jw run -- true": ["run", "--", "true"],
        }
        await asyncio.to_thread(_measure, lines, environment)


def _measure(lines: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> None:
    commands = {"python -c pass": PYTHON} | {name: [*JW, *words] for name, words in lines.items()}
    walls: dict[str, list[float]] = {name: [] for name in commands}
    cpus: dict[str, list[float]] = {name: [] for name in commands}
    for command in commands.values():
        once(command, environment)  # compiles what is not compiled yet
    for _ in range(ROUNDS):
        for name, command in commands.items():
            wall, cpu = once(command, environment)
            walls[name].append(wall)
            cpus[name].append(cpu)
    rows = [["", "ms", "times python", "CPU ms", "times python"]]
    rows.append(["python -c pass", _ms(walls["python -c pass"]), "1.00", _ms(cpus["python -c pass"]), "1.00"])
    for name in lines:
        ratios = [
            results.keep(f"commands: {name}, {what}, times python -c pass", found[name], found["python -c pass"])
            for what, found in (("wall", walls), ("CPU", cpus))
        ]
        rows.append([name, _ms(walls[name]), ratios[0], _ms(cpus[name]), ratios[1]])
    table(f"Commands, {ROUNDS} times each in turn", rows)
    found = sorted(
        imports([sys.executable, *JW, *lines["jw status"]], environment).items(), key=lambda item: -item[1]
    )
    shown = [[package, f"{seconds * 1000:.1f}"] for package, seconds in found[:SHOWN_IMPORTS]]
    table("Imports of jw status by package, as -X importtime counts them", [["", "ms"], *shown])


def once(command: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float]:
    """Return the seconds that a command takes, by wall and on a processor."""
    null = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    began = time.perf_counter()
    pid = os.posix_spawn(command[0], list(command), environment, file_actions=null)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - began
    require(status == 0, f"{' '.join(command)}: wait status {status}")
    return wall, usage.ru_utime + usage.ru_stime


def imports(command: Sequence[str], environment: Mapping[str, str]) -> dict[str, float]:
    """Return the seconds that a command of Python spends in the modules of each package."""
    line = [command[0], "-X", "importtime", *command[1:]]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    seconds: dict[str, float] = {}
    for text in done.stderr.splitlines():
        fields = text.removeprefix("import time:").split("|")
        if text.startswith("import time:") and fields[0].strip().isdigit():
            package = fields[2].strip().partition(".")[0]
            seconds[package] = seconds.get(package, 0.0) + int(fields[0]) / 1e6
    return seconds


def _ms(values: Sequence[float]) -> str:
    return median_and_range([value * 1000 for value in values], 1)
