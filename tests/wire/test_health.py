"""`agent.health` and `audit.list`: what an admin can ask of an agent on another host."""

import asyncio
import resource
from typing import TYPE_CHECKING

from tests.support.waiting import DEADLINE

from jobworker.linux.inotify import new_inotify

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.wire import Wire

    from jobworker.testing import RunningAgent


async def test_health(shared: "RunningAgent", wire: "Wire", tmp_path: "Path") -> None:
    """Each figure is that of the kernel, or of what was just done."""
    import os

    before = await wire.ask("agent.health")
    disk = os.statvfs(shared.home.path)
    assert before["disk"]["limit"] <= disk.f_blocks * disk.f_frsize
    free = before["disk"]["limit"] - before["disk"]["used"]
    assert abs(free - disk.f_bavail * disk.f_frsize) < before["disk"]["limit"] / 10, "other tests write meanwhile"
    assert before["state"] == str(shared.home.path)
    files = len(os.listdir(f"/proc/{shared.pid}/fd"))
    assert abs(before["descriptors"]["used"] - files) < 20
    assert before["descriptors"]["limit"] == resource.prlimit(shared.pid, resource.RLIMIT_NOFILE)[0]
    assert before["keeper_current"] is True
    job = await wire.create(shell="head -c 5000 /dev/zero")
    await wire.ask("job.start", id=job)
    await wire.ask("job.wait", id=job)
    watches = [new_inotify() for _ in range(5)]
    after = await wire.ask("agent.health")
    async with asyncio.timeout(DEADLINE):  # the log of the job is closed some time after its end
        while after["jobs"]["used"] == before["jobs"]["used"]:
            after = await wire.ask("agent.health")
    for fd in watches:
        os.close(fd)
    assert after["inotify"]["used"] >= 5
    assert after["jobs"]["used"] == before["jobs"]["used"] + 1
    assert after["logs"]["used"] - before["logs"]["used"] >= 5000
    assert after["audit"]["used"] > before["audit"]["used"]


async def test_audit(shared: "RunningAgent", wire: "Wire") -> None:
    """The newest entries that are asked for; lines that are no entries are passed over."""
    job = await wire.create(shell="true")
    await wire.ask("job.delete", id=job)
    with shared.home.audit.open("ab") as log:
        log.write(b'rubbish\n[1]\n{"time": 5}\n')
    await wire.ask("token.create", name="audited", roles=["reader"])
    await wire.ask("token.revoke", name="audited")
    found = (await wire.ask("audit.list", job=job))["entries"]
    assert [entry["method"] for entry in found] == ["job.create", "job.delete"]
    found = (await wire.ask("audit.list", limit=2, principal="token:local"))["entries"]
    assert [(entry["decision"], entry["method"], entry["target"]) for entry in found] == [
        ("begun", "token.revoke", "audited"),
        ("allowed", "token.revoke", "audited"),
    ]
    assert (await wire.ask("audit.list", denied=True, job=job))["entries"] == []
    assert (await wire.refused("audit.list", limit=1001))["code"] == -32602
