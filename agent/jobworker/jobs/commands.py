"""Run a command inside a job, for a stop strategy that stops the job by a command. What it leaves is the job's."""

import asyncio
import errno
import os
import signal
from collections.abc import Mapping, Sequence

from jobworker.errors import JobworkerError
from jobworker.host.keeper_link import KeeperLink
from jobworker.host.process_tree import process_of, wait_exit
from jobworker.host.sweep import SweepTree
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.plan import LaunchPlan
from jobworker.linux.proc import MARKER


async def run(
    active: ActiveJob, plan: LaunchPlan, link: KeeperLink, argv: Sequence[str], env: Mapping[str, str], timeout: float
) -> None:
    """Run a command for at most `timeout` seconds, then kill its session and what descends from it.

    The keeper starts it as the job's user, in the job's groups and namespaces. Raises OSError if it cannot be
    executed.
    """
    if active.record.remote is not None:
        raise OSError(errno.EOPNOTSUPP, "its executor runs no command inside a job", argv[0])
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    command = {"argv": list(argv), "env": dict(env) | {MARKER: active.id}, "cwd": plan.cwd}
    tree = None
    try:
        try:
            answer = await link.ask(
                "command",
                id=active.id,
                group=active.record.process.group,
                init=active.init(),
                report=f"/proc/{os.getpid()}/fd/{writer}",
                **command,
                **plan.process_message(),
            )
            tree = SweepTree(f"command of {active.id}", answer["pid"], answer["start"])
            async with asyncio.timeout(timeout):
                await wait_exit(answer["pid"], answer["start"])
        except TimeoutError:
            pass
        except JobworkerError as error:
            raise OSError(errno.EAGAIN, f"the keeper did not start it: {error.message}", argv[0]) from error
        if code := _read(reader):
            raise OSError(int(code), os.strerror(int(code)), argv[0])
    finally:
        os.close(reader)
        os.close(writer)
        if tree is not None:
            await _kill(tree)


def _read(reader: int) -> bytes:
    """Return what the child has written: an errno, or nothing."""
    try:
        return os.read(reader, 64)
    except BlockingIOError:
        return b""


async def _kill(tree: SweepTree) -> None:
    for process in await tree.members():
        try:
            pidfd = os.pidfd_open(process.pid)
        except OSError:
            continue
        try:
            if process_of(process.pid) == process:  # looked at after pidfd_open: from now on the pid is its own
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except OSError:
            continue
        finally:
            os.close(pidfd)
