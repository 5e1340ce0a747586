"""Print how many jobs and status calls a second jobworker and its peers carry, all from one run.

``python tests/benchmarks/peers/run.py [--tools FOLDER]``: FOLDER is the `bin` of a virtual environment with
supervisor and circus. What is not there is skipped, with the reason. Every peer is used as its users use it:
task-spooler by runs of its program, the others over one or more connections. The rounds are interleaved, so that
what disturbs the machine disturbs all.
"""

import argparse
import asyncio
import statistics
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.benchmarks.figures import median_and_range, ratio, table
from tests.benchmarks.fixtures import BenchmarkError
from tests.benchmarks.peers import circusd, ours, spooler, supervised
from tests.benchmarks.peers.peer import LANES, Peer, Skipped, Start
from tests.benchmarks.starts import bare

ROUNDS = 5
SECONDS = 1.0  # that each round of each peer lasts
TOOLS = Path("build/peers/bin")
HELD = 50  # jobs for the memory of a running job


async def starts(peer: Peer, width: int) -> float:
    """Start jobs for a while, `width` at any time; return how many ended a second."""
    ended = 0

    async def lane(number: int) -> None:
        nonlocal ended
        while time.perf_counter() < end:
            await peer.run(number)
            ended += 1

    began = time.perf_counter()
    end = began + SECONDS
    await asyncio.gather(*(lane(number) for number in range(min(width, peer.lanes))))
    return ended / (time.perf_counter() - began)


async def statuses(peer: Peer, width: int) -> float:
    """Ask for the state of a job for a while, `width` calls at any time; return how many were answered a second."""
    answered = 0

    async def lane() -> None:
        nonlocal answered
        while time.perf_counter() < end:
            await peer.status()
            answered += 1

    began = time.perf_counter()
    end = began + SECONDS
    await asyncio.gather(*(lane() for _ in range(min(width, peer.lanes))))
    return answered / (time.perf_counter() - began)


async def compare(everyone: dict[str, Start]) -> None:
    async with AsyncExitStack() as stack:
        peers: dict[str, Peer] = {}
        for name, start in everyone.items():
            try:
                peers[name] = await stack.enter_async_context(start())
            except Skipped as reason:
                print(f"{name}: skipped: {reason}")
        for peer in peers.values():
            await starts(peer, LANES)  # what is done at first use only
        for width in (1, LANES):
            limits: list[float] = []
            found: dict[str, list[float]] = {name: [] for name in peers}
            for _ in range(ROUNDS):
                limits.append(bare(width, 400))
                for name, peer in peers.items():
                    found[name].append(await starts(peer, width))
            show(f"Jobs a second, {width} in flight (circus: 1); of posix_spawn and waitpid alone", found, limits)
        for width in (1, LANES):
            found = {name: [] for name in peers}
            for _ in range(ROUNDS):
                for name, peer in peers.items():
                    found[name].append(await statuses(peer, width))
            show(f"Status calls a second, {width} in flight (circus: 1)", found)
        rows = [["", "kB a running job"]]
        for name, peer in peers.items():
            before, after = await peer.hold(HELD)
            rows.append([name, f"{(after - before) / HELD / 1000:.1f}"])
        table(f"Private memory of {HELD} running jobs, without the jobs' own", rows)


def show(title: str, found: dict[str, list[float]], limits: list[float] | None = None) -> None:
    """Print a row for each peer: its figure, of the limit, and what jobworker reaches of it."""
    mine = found["jobworker"]
    rows = [["", "a second", "of the limit", "jobworker / this"]]
    for name, values in found.items():
        of_limit = ratio(values, limits) if limits else ""
        rows.append([name, median_and_range(values), of_limit, ratio(mine, values)])
    if limits:
        rows.append(["the limit", f"{statistics.median(limits):.0f}", "1.00", ""])
    table(title, rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.py", description="Compare jobworker with its peers.")
    parser.add_argument(
        "--tools", type=Path, default=Path("build/peers/bin"), help="where supervisord and circusd are"
    )
    tools = parser.parse_args().tools.resolve()
    everyone: dict[str, Start] = {
        "jobworker": ours.start,
        "task-spooler": spooler.start,
        "supervisor": supervised.starter(tools / "supervisord"),
        "circus": circusd.starter(tools),
    }
    try:
        asyncio.run(compare(everyone))
    except BenchmarkError as error:
        print(f"the figures mean nothing: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
