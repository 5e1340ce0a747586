"""A process is killed as it enters its N-th call of a kind, for every N until a start and a stop go through."""

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path

from tests.torture.outcome import Outcome
from tests.torture.victim import LIMIT, Victim

from jobworker.client import Client
from jobworker.client.local import wait_gone
from jobworker.errors import JobworkerError, RpcError
from jobworker.host.process_tree import readable
from jobworker.model import Job, JobSpec, Reason, State, StopSpec

STRACE = shutil.which("strace")
# Calls after which somebody else sees a difference; whatever else there is lies between two of these.
LAUNCH = ["pwrite64", "sendmsg", "vfork", "clone", "clone3", "mkdir", "mknodat", "pipe2", "epoll_ctl", "read"]
CALLS = {
    "keeper": [*LAUNCH, "write", "sendto", "waitid", "wait4"],
    "pump": ["splice", "pwrite64", "sendto", "mkdir", "openat", "flock", "close"],
    "agent": ["write", "pwrite64", "sendto", "sendmsg", "rename"],
}


async def killed_at_every_call(path: Path, process: str) -> Outcome:
    """Kill the process at the N-th call of each kind, for every N."""
    outcome = Outcome(f"the {process}, killed as it enters its N-th {', '.join(CALLS[process])}")
    async with Victim(path) as victim:
        async with victim.agent.client() as client:
            bystander = await client.start((await client.create(JobSpec(argv=["sleep", "100000"], timeout=None))).id)
        for call in CALLS[process]:
            number = 1
            while await _one(victim, process, call, number, outcome):
                number += 1
        async with victim.agent.client() as client:
            now = await client.status(bystander.id)
        outcome.stray += (now.state, now.pid) != (State.RUNNING, bystander.pid)
    return outcome


async def _one(victim: Victim, process: str, call: str, number: int, outcome: Outcome) -> bool:
    """Start, end and stop jobs once while the process dies; return whether it did."""
    await victim.served()
    await victim.until("pump")
    ran, hit = victim.path / f"ran-{call}-{number}", victim.path / f"hit-{call}-{number}"
    short = JobSpec(shell=f"echo ran >> {ran}; echo out; exit 7", timeout=None)
    stubborn = JobSpec(
        shell=f"trap 'echo hit >> {hit}' TERM; echo up; while :; do sleep 1000 & wait; done", timeout=None
    )
    async with victim.agent.client() as client:
        jobs = [await client.create(short), await client.create(stubborn)]
        pid = await victim.until(process)
        async with _killing(pid, call, number):
            await _while_alive(pid if process == "agent" else victim.agent.pid, _live(client, jobs))
    dead = await asyncio.to_thread(wait_gone, pid, 0.2)  # nobody kills it any more; one struck last is ending
    outcome.kills += dead
    if process == "agent" and dead:
        assert victim.agent.process is not None
        victim.agent.process.wait()
        await victim.start()
    await victim.served()
    async with victim.agent.client() as client:
        await _finish(client, jobs)
        await _judge(victim, client, jobs, ran, outcome)
    return dead


async def _while_alive(pid: int, work: Coroutine[None, None, None]) -> None:
    """Do the work, or as much of it as can be done before the process has ended."""
    pidfd = os.pidfd_open(pid)
    tasks = {asyncio.create_task(work), asyncio.create_task(readable(pidfd))}
    await asyncio.wait(tasks, timeout=LIMIT, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    for failure in await asyncio.gather(*tasks, return_exceptions=True):
        assert failure is None or isinstance(failure, JobworkerError | asyncio.CancelledError), failure
    os.close(pidfd)


async def _live(client: Client, jobs: list[Job]) -> None:
    await client.start(jobs[0].id)
    await client.wait(jobs[0].id, LIMIT)
    await client.start(jobs[1].id)
    async for _ in await client.subscribe(jobs[1].id):
        break
    await client.stop(jobs[1].id, StopSpec(grace="100ms"))


async def _finish(client: Client, jobs: list[Job]) -> None:
    """Do what is left to be done, as a caller would who got no answer."""
    for job in jobs:
        if (await client.status(job.id)).state == State.CREATED:
            await client.start(job.id)
    await client.wait(jobs[0].id, LIMIT)
    async for _ in await client.subscribe(jobs[1].id):
        break  # its trap is set: before that SIGTERM would end it, and rightly so
    with contextlib.suppress(RpcError):  # it has ended already
        await client.stop(jobs[1].id, StopSpec(grace="100ms"))


async def _judge(victim: Victim, client: Client, jobs: list[Job], ran: Path, outcome: Outcome) -> None:
    short = await victim.judge_exit(client, jobs[0], (7, None), outcome)
    times = ran.read_text().count("ran") if ran.exists() else 0
    outcome.twice += times > 1
    said = (await victim.log(client, jobs[0]))["stdout"]
    short = await client.status(short.id)
    outcome.marked += short.log.truncated
    outcome.silent += times == 1 and said != b"out\n" and not short.log.truncated
    stopped = await victim.judge_exit(client, jobs[1], (None, "SIGKILL"), outcome)
    assert stopped.exit is not None
    outcome.stray += stopped.exit.reason not in (Reason.STOPPED, Reason.LOST)
    outcome.stray += stopped.pid is not None and not _ended(stopped.pid)


@contextlib.asynccontextmanager
async def _killing(pid: int, call: str, number: int) -> AsyncIterator[None]:
    """Have strace kill the process as one of its threads enters its N-th call from now on."""
    assert STRACE is not None, "strace is needed: apt-get install strace"
    threads = os.listdir(f"/proc/{pid}/task")
    attach = [word for thread in threads for word in ("-p", thread)]
    inject = f"inject={call}:signal=SIGKILL:when={number}"
    command = [STRACE, *attach, "-e", f"trace={call}", "-e", inject, "-o", "/dev/null"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as strace:  # noqa: ASYNC220  # it does not wait
        assert strace.stderr is not None
        for _ in threads:
            said = await asyncio.to_thread(strace.stderr.readline)
            assert b"attached" in said, said
        try:
            yield
        finally:
            strace.kill()  # the kernel lets go of what it held; told to end, it can wait for a dead thread for ever
            strace.stderr.close()


def _ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True
