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

from tests.torture import ai_agents, codes, cuts, faults, inputs, once, stops, volume, webhooks
from tests.torture.outcome import Outcome, broken

SEED = 20261124
FAULTS: dict[str, Callable[[Path, bool], Awaitable[Outcome]]] = {
    "pump": lambda path, short: faults.pump_dies(path, SEED, *((10, 2_000_000) if short else (200, 50_000_000))),
    "agent": lambda path, short: faults.agent_dies(path, *((4, 8, 200_000) if short else (60, 30, 1_000_000))),
    "down": lambda path, short: faults.jobs_end_while_the_agent_is_down(path, 20 if short else 100),
    "keeper-ancestor": lambda path, short: faults.keeper_dies(path, *((2, 8) if short else (20, 50)), "ancestor"),
    "keeper-kernel": lambda path, short: faults.keeper_dies(path, *((2, 8) if short else (20, 50)), "kernel"),
    "keeper-nobody": lambda path, short: faults.keeper_dies(path, *((2, 8) if short else (20, 50)), "nobody"),
    "several": lambda path, short: faults.several_die(
        path, SEED, faults.ORDERS[::4] if short else faults.ORDERS, 400_000 if short else 1_000_000
    ),
    "input": lambda path, short: inputs.input_under_kills(
        path, SEED, *((12, 3_000_000) if short else (200, 50_000_000))
    ),
    "writers": lambda path, short: inputs.writers_send_again(
        path, SEED, *((40, 20_000) if short else (1000, 50_000))
    ),
    "volume": lambda path, short: volume.many_jobs(path, *((300, 20) if short else (10_000, 200))),
    "stops": lambda path, short: stops.trees_are_stopped(path, 10 if short else 200, blind=False),
    "stops-blind": lambda path, short: stops.trees_are_stopped(path, 5 if short else 50, blind=True),
    "stops-namespace": lambda path, short: stops.trees_are_stopped(
        path, 10 if short else 200, blind=True, namespace=True
    ),
    "races": lambda path, short: stops.starts_and_stops_meet(path, SEED, 100 if short else 1000),
    "limits": lambda path, short: stops.limits_are_due_together(path, 50 if short else 500),
    "cuts": lambda path, short: cuts.connections_are_cut(path, SEED, *((60, 2) if short else (1000, 10))),
    "ends": lambda path, short: cuts.subscriptions_meet_exits(path, SEED, 60 if short else 1000),
    "codes": lambda path, short: codes.many_commands(path, 20 if short else 200),
    "mcp": lambda path, short: ai_agents.jobs_under_kills(path, SEED, 15 if short else 200),
    "webhooks": lambda path, short: webhooks.receiver_and_agent_die(
        path, SEED, *((100, 20) if short else (1000, 150))
    ),
    "once-keeper": lambda path, short: once.killed_at_every_call(path, "keeper"),
    "once-pump": lambda path, short: once.killed_at_every_call(path, "pump"),
    "once-agent": lambda path, short: once.killed_at_every_call(path, "agent"),
}


async def run(names: list[str], *, short: bool) -> list[Outcome]:
    outcomes = []
    for name in names:
        with tempfile.TemporaryDirectory(prefix="jobworker-torture-") as folder:
            outcomes.append(await FAULTS[name](Path(folder) / name, short))
        print(outcomes[-1].row(), flush=True)
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.py", description="Kill everything under running jobs.")
    parser.add_argument("fault", nargs="*", help=f"one or more of: {', '.join(FAULTS)} (default: all)")
    parser.add_argument("--short", action="store_true", help="fewer of each: a minute instead of ten")
    options = parser.parse_args()
    given: list[str] = options.fault
    names = [name for name in FAULTS if not given or any(name.startswith(start) for start in given)]
    began = time.monotonic()
    failures = broken(asyncio.run(run(names, short=options.short)))
    print(f"{time.monotonic() - began:.0f} s; " + ("; ".join(failures) or "every promise held"))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
