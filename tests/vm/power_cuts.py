"""Figures: what power cuts at random moments take of what the agent had answered.

    python -m tests.vm.power_cuts --cuts 20 --durability power process

Qemu is killed with SIGKILL: what the guest had flushed (fsync) is on its disk, what was in its page cache is gone.
What it had written and not flushed stays in this host's page cache, unless it was still under way in qemu: so a
missing fsync shows, a missing flush of the disk's own cache does not.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from tests.vm.code import pack
from tests.vm.guest import Guest
from tests.vm.power import Loss, Subject, moments
from tests.vm.recipe import TREE, build, missing


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.vm.power_cuts")
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--durability", choices=["process", "power"], nargs="+", default=["process", "power"])
    parser.add_argument("--seed", type=int, default=1, help="of the moments of the cuts")
    arguments = parser.parse_args()
    if reason := missing():
        parser.error(reason)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        pack(TREE, folder / "code.tar")
        guest = Guest(folder, build(), folder / "code.tar")
        try:
            guest.boot()
            for durability in arguments.durability:
                asyncio.run(_cuts(guest, durability, arguments.cuts, arguments.seed))
        finally:
            guest.stop()
    return 0


async def _cuts(guest: Guest, durability: str, cuts: int, seed: int) -> None:
    subject = await asyncio.to_thread(Subject, guest, durability)
    total = Loss()
    for number, seconds in enumerate(moments(cuts, seed), 1):
        began = time.monotonic()
        loss = await subject.cut(seconds)
        total.add(loss)
        took = time.monotonic() - began
        print(f"cut {number} after {seconds:.1f} s ({took:.0f} s in all): {asdict(loss)}", flush=True)
    print(f'durability = "{durability}", {cuts} cuts: {asdict(total)}', flush=True)
    await asyncio.to_thread(subject.remove)


if __name__ == "__main__":
    sys.exit(main())
