"""Drive a keeper as whoever runs this: launch, stop and sweep, then print what was seen as JSON."""

import asyncio
import json
import os
import select
import shutil
import signal
import sys
from pathlib import Path

from jobworker.host.journal import Closed, Ended, Journal, JournalEntry, Started, StartFailed
from jobworker.host.keeper_link import KeeperLink
from jobworker.host.process_tree import CgroupTree, NamespaceTree, Tree
from jobworker.host.sweep import SweepTree
from jobworker.linux.proc import MARKER
from jobworker.logs.reader import Chunk, LogReader
from jobworker.paths import Home

SCRIPT = """
(setsid sh -c 'trap "" TERM HUP; echo $$; exec sleep 600' &)
exec sleep 600
"""


def wait_for_end(pidfd: int) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll(10_000)
    os.close(pidfd)


async def drive(home: Home) -> dict[str, object]:
    home.create()
    run = home.create_run_folder()
    records: list[JournalEntry] = []
    news, lost = asyncio.Event(), asyncio.Event()
    journal: Journal | None = None

    def grew() -> None:
        nonlocal journal
        journal = journal or Journal(home.journal)
        while more := journal.read():
            records.extend(more)
        news.set()

    async def until(kind: type[JournalEntry], job: str) -> JournalEntry:
        while True:
            for record in records:
                if isinstance(record, kind) and record.id == job:
                    return record
            news.clear()
            await news.wait()

    link = KeeperLink(home, run, grew, lost.set)
    await link.open()
    env = {"PATH": "/usr/bin:/bin"}
    await link.ask("launch", id="a1", argv=["sh", "-c", "id -u; exit 3"], env=env | {MARKER: "a1"}, cwd="/")
    await until(Closed, "a1")
    ended = await until(Ended, "a1")
    reader = LogReader(home.logs / "a1")
    chunk = reader.read(0)

    await link.ask("launch", id="a2", argv=["sh", "-c", SCRIPT], env=env | {MARKER: "a2"}, cwd="/")
    started = await until(Started, "a2")
    assert isinstance(started, Started)
    assert isinstance(ended, Ended)
    tree: Tree
    tree = CgroupTree(Path(link.hello["cgroup"], "a2")) if link.hello["cgroup"] else SweepTree("a2", started.pid)
    members = await tree.members()
    while not any(process.name == "sleep" and process.pid != started.pid for process in members):
        members = await tree.members()  # until the grandchild has gone its own way
    pids = [[process.pid, process.start] for process in members]
    answer = await link.ask("signal", id="a2", target="all", signal=int(signal.SIGKILL), pids=pids)
    await tree.wait_empty()
    killed = await until(Ended, "a2")
    await until(Closed, "a2")
    assert isinstance(killed, Ended)

    script = "(env -i setsid sh -c 'sleep 600 &'); exit 4"
    how = {"argv": ["sh", "-c", script], "env": env | {MARKER: "a3"}, "cwd": "/", "namespace": True}
    await link.ask("launch", id="a3", **how)
    inside = await until(Started, "a3")
    exact = await until(Ended, "a3")
    assert isinstance(inside, Started)
    assert isinstance(exact, Ended)
    space = NamespaceTree(inside.init, inside.init_start, inside.pid, inside.start)
    left = len(await space.members())
    init = [inside.init, inside.init_start]
    await link.ask("signal", id="a3", target="all", signal=int(signal.SIGKILL), pids=[], init=init)
    await space.wait_init()
    await until(Closed, "a3")
    changed = ["sh", "-c", "umask; nice; ulimit -n; exit 6"]
    how = {"umask": 0o27, "nice": 5, "rlimits": {"nofile": [40, 40]}}
    await link.ask("launch", id="a4", argv=changed, env=env | {MARKER: "a4"}, cwd="/", **how)
    await until(Closed, "a4")
    of_its_own = LogReader(home.logs / "a4").read(0)
    someone = {"uid": 1, "gid": 1, "groups": []}
    await link.ask("launch", id="a5", argv=["true"], env=env | {MARKER: "a5"}, cwd="/", user=someone)
    failed = await until(StartFailed, "a5")
    assert isinstance(failed, StartFailed)
    keeper = os.pidfd_open(link.hello["pid"])
    await link.ask("quit")
    await lost.wait()
    wait_for_end(keeper)
    return {
        "uid": os.geteuid(),
        "code": ended.code,
        "output": chunk.data.decode() if isinstance(chunk, Chunk) else None,
        "members": len(pids),
        "delivered": answer["delivered"],
        "signal": killed.signal,
        "namespace": [link.hello["namespace"], exact.code, exact.left, left, len(await space.members())],
        "users": [link.hello["users"], failed.step, failed.errno],
        "changed": of_its_own.data.decode().split() if isinstance(of_its_own, Chunk) else None,
        "remaining": len(await tree.members()),
        "run": os.path.exists(run),  # the keeper leaves nothing there once it has quit
    }


async def main() -> None:
    home = Home(Path(sys.argv[1]))
    try:
        async with asyncio.timeout(10):
            print(json.dumps(await drive(home)))
    finally:
        shutil.rmtree(home.run_folder(), ignore_errors=True)


if __name__ == "__main__":
    asyncio.run(main())
