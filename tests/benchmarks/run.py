"""Print how fast and how small the agent is, each figure beside the limit measured in the same run.

``python tests/benchmarks/run.py [--write] [SECTION...]``: everything, or the sections named. Exits 1 if what was
measured is not what should have happened. With ``--write`` the ratios are kept, for later runs to be compared with.
The machine is never quiet: compare figures of one run, and the ratios rather than the figures.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks import (
    backups,
    budget,
    commands,
    delay,
    fanout,
    growth,
    idle,
    inputs,
    pauses,
    plugged,
    printed,
    pumped,
    recorded,
    results,
    scraped,
    search,
    stalled,
    starts,
    status,
    timeline,
    waiting,
)
from tests.benchmarks.fixtures import BenchmarkError

SECTIONS: dict[str, Callable[[], Awaitable[None]]] = {
    "starts": starts.measure,
    "timeline": timeline.measure,
    "budget": budget.measure,
    "pauses": pauses.measure,
    "idle": idle.measure,
    "pumped": pumped.measure,
    "followed": pumped.measure_followed,
    "printed": printed.measure,
    "input": inputs.measure,
    "search": search.measure_short,
    "search-1GiB": search.measure,
    "fanout": fanout.measure,
    "stalled": stalled.measure,
    "delay": delay.measure,
    "status": status.measure,
    "plugins": plugged.measure,
    "recorded": recorded.measure,
    "growth": growth.measure,
    "metrics": scraped.measure,
    "commands": commands.measure,
    "waiting": waiting.measure,
    "backup": backups.measure,
}

LONG = {"search-1GiB", "backup"}  # measured only if they are named


async def run(names: list[str]) -> None:
    for name in names:
        await SECTIONS[name]()


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.py", description="Print figures, each beside its limit.")
    parser.add_argument(
        "section", nargs="*", help=f"one or more of: {', '.join(SECTIONS)} (default: all but the long ones)"
    )
    parser.add_argument("--write", action="store_true", help=f"write the ratios to {results.COMMITTED.name}")
    arguments = parser.parse_args()
    names = arguments.section or [name for name in SECTIONS if name not in LONG]
    if unknown := [name for name in names if name not in SECTIONS]:
        parser.error(f"no section {unknown[0]!r}; there are: {', '.join(SECTIONS)}")
    began, (busy, *_) = time.monotonic(), os.getloadavg()
    print(f"Linux {os.uname().release}, {os.cpu_count()} processors, load {busy:.1f}; median (lowest to highest)")
    try:
        asyncio.run(run(names))
    except BenchmarkError as error:
        print(f"the figures mean nothing: {error}", file=sys.stderr)
        return 1
    print("\nRatios that differ from the committed ones by more than a tenth:")
    print("\n".join(f"  {line}" for line in results.compare()) or "  none")
    if arguments.write:
        results.write()
    print(f"\n{time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
