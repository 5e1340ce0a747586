"""Figures: what power cuts at random moments take of what the agent had answered.

    python -m tests.vm.power_cuts --cuts 20 --durability power process           # copies of the disk, one boot
    python -m tests.vm.power_cuts --cuts 5 --durability power --boot            # kill and boot the guest each time

Qemu is killed with SIGKILL: what the guest had flushed (fsync) is on its disk, what was in its page cache is gone.
What it had written and not flushed stays in this host's page cache, unless it was still under way in qemu: so a
missing fsync shows, a missing flush of the disk's own cache does not.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from pathlib import Path

from tests.vm.code import pack
from tests.vm.disk_copies import check, take
from tests.vm.guest import Guest
from tests.vm.power import Loss, Subject, moments
from tests.vm.recipe import TREE, build, missing

Cuts = Callable[[Subject, int, int], AsyncIterator[Loss]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.vm.power_cuts")
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--durability", choices=["process", "power"], nargs="+", default=["process", "power"])
    parser.add_argument("--boot", action="store_true", help="kill the guest and boot it, rather than copy its disk")
    parser.add_argument("--seed", type=int, default=1, help="of the moments of the cuts")
    arguments = parser.parse_args()
    how = _boots if arguments.boot else _copies
    if reason := missing():
        parser.error(reason)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        pack(TREE, folder / "code.tar")
        guest = Guest(folder, build(), folder / "code.tar")
        try:
            guest.boot()
            for durability in arguments.durability:
                asyncio.run(_cuts(guest, durability, arguments.cuts, arguments.seed, how))
        finally:
            guest.stop()
    return 0


async def _boots(subject: Subject, cuts: int, seed: int) -> AsyncIterator[Loss]:
    """Cut the power and boot the guest again, each time with new load."""
    for seconds in moments(cuts, seed):
        yield await subject.cut(seconds)


async def _copies(subject: Subject, cuts: int, seed: int) -> AsyncIterator[Loss]:
    """Copy the disk of a guest that runs on, with load all the time, and start an agent here on each copy."""
    for disk, answered in await take(subject, moments(cuts, seed), subject.guest.folder):
        yield await check(disk, answered)


async def _cuts(guest: Guest, durability: str, cuts: int, seed: int, how: Cuts) -> None:
    subject = await asyncio.to_thread(Subject, guest, durability)
    total, began, number = Loss(), time.monotonic(), 0
    async for loss in how(subject, cuts, seed):
        number += 1
        total.add(loss)
        print(f"cut {number} ({time.monotonic() - began:.0f} s since the first began): {asdict(loss)}", flush=True)
    print(f'durability = "{durability}", {number} cuts: {asdict(total)}', flush=True)
    await asyncio.to_thread(subject.remove)


if __name__ == "__main__":
    sys.exit(main())
