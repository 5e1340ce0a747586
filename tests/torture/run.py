"""Kill everything under running jobs, and print what was lost, doubled, invented or held up.

``python tests/torture/run.py [FAULT...]``: all, or those whose name begins so. Exits 1 where a promise was broken.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.torture import faults, once, volume
from tests.torture.outcome import Outcome, broken

SEED = 20261124
FAULTS: dict[str, Callable[[Path], Awaitable[Outcome]]] = {
    "pump": lambda path: faults.pump_dies(path, SEED, 200, 50_000_000),
    "agent": lambda path: faults.agent_dies(path, 60, 30, 1_000_000),
    "down": lambda path: faults.jobs_end_while_the_agent_is_down(path, 100),
    "keeper-ancestor": lambda path: faults.keeper_dies(path, 20, 50, "ancestor"),
    "keeper-kernel": lambda path: faults.keeper_dies(path, 20, 50, "kernel"),
    "keeper-nobody": lambda path: faults.keeper_dies(path, 20, 50, "nobody"),
    "several": lambda path: faults.several_die(path, SEED, faults.ORDERS, 1_000_000),
    "once-keeper": lambda path: once.killed_at_every_call(path, "keeper"),
    "once-pump": lambda path: once.killed_at_every_call(path, "pump"),
    "once-agent": lambda path: once.killed_at_every_call(path, "agent"),
    "volume": lambda path: volume.many_jobs(path, 10_000, 200),
}


async def run(names: list[str]) -> list[Outcome]:
    outcomes = []
    for name in names:
        with tempfile.TemporaryDirectory(prefix="jobworker-torture-") as folder:
            outcomes.append(await FAULTS[name](Path(folder) / name))
        print(outcomes[-1].row(), flush=True)
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.py", description="Kill everything under running jobs.")
    parser.add_argument("fault", nargs="*", help=f"one or more of: {', '.join(FAULTS)} (default: all)")
    given = parser.parse_args().fault
    names = [name for name in FAULTS if not given or any(name.startswith(start) for start in given)]
    began = time.monotonic()
    failures = broken(asyncio.run(run(names)))
    print(f"{time.monotonic() - began:.0f} s; " + ("; ".join(failures) or "every promise held"))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
