"""An agent that appends a line to the file JOBWORKER_TRACE whenever a job reaches a stage: for `timeline.py` only."""

import functools
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

from jobworker import __main__
from jobworker.host.keeper_link import KeeperLink
from jobworker.jobs.reconciler import Reconciler
from jobworker.jobs.table import JobTable
from jobworker.server import jsonrpc, message_loop
from jobworker.server.connection import Connection


@functools.cache
def trace() -> int:
    """Open the file when it is needed first: at its start an agent closes what it did not open."""
    return os.open(os.environ["JOBWORKER_TRACE"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def reached(stage: str) -> None:
    os.write(trace(), f"{stage}\t{time.time_ns()}\n".encode())


def traced(call: Callable[..., Awaitable[Any]], before: str, after: str = "") -> Callable[..., Awaitable[Any]]:
    @functools.wraps(call)
    async def wrapped(*arguments: Any, **named: Any) -> Any:
        if call.__name__ == "ask" and arguments[1] != "launch":
            return await call(*arguments, **named)
        reached(before)
        answer = await call(*arguments, **named)
        if after:
            reached(after)
        return answer

    return wrapped


def patch(owner: Any, name: str, new: object) -> None:
    setattr(owner, name, new)


def read(text: str, original: Callable[[str], Any] = jsonrpc.read) -> Any:
    reached("read by the session")
    return original(text)


def apply_all(self: Reconciler, *arguments: Any, original: Callable[..., None] = Reconciler._apply_all) -> None:
    reached("the agent reads the journal")
    original(self, *arguments)


patch(message_loop, "read", read)
patch(JobTable, "add", traced(JobTable.add, "record made", "committed"))
patch(KeeperLink, "ask", traced(KeeperLink.ask, "keeper asked", "keeper has answered"))
patch(Reconciler, "_apply_all", apply_all)
patch(Connection, "send_answer", traced(Connection.send_answer, "answer sent"))

if __name__ == "__main__":
    __main__.run()
