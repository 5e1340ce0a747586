"""What a power cut would leave, many times in one boot: the guest stands still, its disk is copied, and it runs on.

A guest that SIGSTOP has stopped leaves what a killed one leaves: neither executes another instruction.
An agent on this host starts on the copy: the processes and the boot in its records are of another host, as after a
boot.
"""

import asyncio
import contextlib
import copy
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

from tests.vm.power import HOME, Answered, Loss, Subject, compare

from jobworker.client import Client
from jobworker.paths import Home
from jobworker.testing.agent import RunningAgent

REPAIRED = 3  # e2fsck ends with 0, or with these bits if it has replayed the journal or mended something


async def take(subject: Subject, moments: Iterable[float], folder: Path) -> list[tuple[Path, Answered]]:
    """Put load on the agent, copy the disk after each of so many seconds, and return the copies.

    With each comes what had been answered until then, since the load began.
    """
    taken = []
    async with subject.load() as answered:
        for number, seconds in enumerate(moments, 1):
            await asyncio.sleep(seconds)
            disk = folder / f"cut{number}.qcow2"
            before = copy.deepcopy(answered)  # and then the guest stops: nothing of this turn of the loop is later
            subject.guest.copy_disk(disk)
            taken.append((disk, before))
    return taken


async def check(disk: Path, answered: Answered) -> Loss:
    """Start an agent on a copy of a disk, compare what it has with what was answered, and remove the copy."""
    async with _agent_on(disk) as client:
        return await compare(client, answered)


@contextlib.asynccontextmanager
async def _agent_on(disk: Path) -> AsyncIterator[Client]:
    with _state_folder(disk) as folder:
        agent = RunningAgent(Home(folder))
        await asyncio.to_thread(agent.start)
        try:
            async with agent.client() as client:
                yield client
        finally:
            await agent.clean()


@contextlib.contextmanager
def _state_folder(disk: Path) -> Iterator[Path]:
    """Yield a copy of the agent's state folder, out of the file system as the next mount finds it."""
    with tempfile.TemporaryDirectory(dir=disk.parent, ignore_cleanup_errors=True) as work:
        raw = Path(work) / "disk.img"
        subprocess.run(["qemu-img", "convert", "-O", "raw", str(disk), str(raw)], check=True)
        disk.unlink()
        checked = subprocess.run(["e2fsck", "-f", "-y", str(raw)], capture_output=True, text=True, check=False)
        assert checked.returncode & ~REPAIRED == 0, checked.stdout + checked.stderr
        subprocess.run(["debugfs", "-R", f"rdump {HOME} {work}", str(raw)], capture_output=True, check=True)
        raw.unlink()
        folder = Path(work) / Path(HOME).name
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 0, 0, follow_symlinks=False)
        (folder / "config.toml").unlink(missing_ok=True)
        shutil.rmtree(folder / "run", ignore_errors=True)
        yield folder
