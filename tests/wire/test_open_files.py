"""Connections of strangers and the limit of open files."""

import asyncio
import contextlib
import os
import signal
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from tests.conftest import FOR_OTHERS
from tests.hostile.raw import Raw
from websockets.exceptions import InvalidStatus

from jobworker.jobs.quotas import ADMIN_SHARE
from jobworker.keeper.state import DESCRIPTORS_PER_JOB, OWN_DESCRIPTORS
from jobworker.linux.inheritance import USUAL_FILES
from jobworker.server.acceptor import MIN_PENDING

if TYPE_CHECKING:
    from tests.support.wire import Dial, Wire

    from jobworker.testing import RunningAgent

SOFT, HARD = 256, 4096
ROOM = (128 - OWN_DESCRIPTORS) // DESCRIPTORS_PER_JOB  # jobs, with 128 open files
IDLE = 400  # connections: more than the soft limit allows


async def soft_limit(wire: "Wire") -> bytes:
    """Return the soft limit that a job has."""
    run = await wire.ask("job.run", spec={"shell": "ulimit -Sn"})
    return (await wire.follow(run["subscription"])).stdout


async def test_more_connections_than_the_soft_limit(start_agent: "Callable[..., RunningAgent]", dial: "Dial") -> None:
    """The agent takes all files that it may; a job has the usual soft limit."""
    agent = start_agent(under=["prlimit", f"--nofile={SOFT}:{HARD}"])
    streams = [await asyncio.open_connection("127.0.0.1", agent.port) for _ in range(IDLE)]
    try:
        async with dial(agent) as wire:
            assert await soft_limit(wire) == b"%d\n" % USUAL_FILES
            await wire.ask("agent.restart")
            assert await wire.closed() == 1012
        async with dial(agent) as wire:
            keeper = (await wire.ask("agent.info"))["keeper"]["pid"]
            os.kill(keeper, signal.SIGKILL)  # the restarted agent starts another
            assert await soft_limit(wire) == b"%d\n" % USUAL_FILES
            assert (await wire.ask("agent.info"))["keeper"]["pid"] != keeper
    finally:
        for _, writer in streams:
            writer.close()


async def test_one_address_does_not_hold_all_places(start_agent: "Callable[..., RunningAgent]", dial: "Dial") -> None:
    """Of the places for connections without a login, one address gets some; another address finds room."""
    agent = start_agent(config="[limits]\nunauthenticated = 4\nunauthenticated_per_address = 2\n")
    async with dial(agent, token=None), dial(agent, token=None):
        with pytest.raises(InvalidStatus) as refused:
            async with dial(agent, token=None):
                pass
        assert refused.value.response.status_code == 429
        (await Raw.upgraded(agent)).drop()  # from an address of its own


@pytest.mark.parametrize("tls", [False, True])
async def test_few_files_and_silent_connections(
    start_agent: "Callable[..., RunningAgent]", dial: "Dial", tls: bool
) -> None:
    """With 128 open files users' jobs start beside 200 connections that send nothing, before or after TLS."""
    agent = start_agent(under=["prlimit", "--nofile=128:128"], config=FOR_OTHERS)
    async with dial(agent) as wire:
        token = (await wire.ask("token.create", name="ann", roles=["writer"]))["token"]
        silent = []
        for _ in range(200):
            with contextlib.suppress(OSError, ssl.SSLError):  # it may be cut before its handshake is over
                silent.append(await Raw.open(agent, tls=tls, source=("127.0.0.1", 0)))
        for _ in range(3):
            async with dial(agent, token=token) as ann:
                run = await ann.ask("job.run", spec={"argv": ["echo", "hello"]})
                assert (await ann.follow(run["subscription"])).stdout == b"hello\n"
        for raw in silent:
            raw.drop()


async def test_the_oldest_silent_connection_is_cut(start_agent: "Callable[..., RunningAgent]") -> None:
    """Of the address with the most: one of another address can still log in."""
    agent = start_agent(under=["prlimit", "--nofile=128:128"])
    other = await Raw.open(agent, tls=False)
    silent = [await Raw.open(agent, tls=False, source=("127.0.0.1", 0)) for _ in range(MIN_PENDING + 3)]
    for raw in silent[:4]:
        with contextlib.suppress(ConnectionError):
            assert await raw.reader.read() == b""  # it was cut
    await other.writer.start_tls(ssl.create_default_context(cafile=agent.ca), server_hostname="127.0.0.1")
    assert await other.upgrade(agent, [("Authorization", f"Bearer {agent.token}")]) == 101
    for raw in [*silent, other]:
        raw.drop()


HELD = {"shell": "sleep 1000 &", "leftovers": "leave"}  # it ends at once, and its output stays open


async def test_jobs_whose_output_is_held(start_agent: "Callable[..., RunningAgent]", dial: "Dial") -> None:
    """One principal holds half of the jobs that the open files allow; others have room, and at last admins alone."""
    agent = start_agent(under=["prlimit", "--nofile=128:128"], config=FOR_OTHERS)
    async with dial(agent) as wire:
        tokens = [
            (await wire.ask("token.create", name=name, roles=["writer"]))["token"] for name in ("ann", "bob", "cy")
        ]
        started = []
        for token in tokens:
            async with dial(agent, token=token) as user:
                while True:
                    answer = await user.answer(await user.begin("job.run", spec=HELD))
                    if "error" in answer:
                        assert (answer["error"]["code"], "output still open" in answer["error"]["message"]) == (
                            42901,
                            True,
                        )
                        break
                    started.append(answer["result"]["job"]["owner"])
                    await user.ask("job.wait", id=answer["result"]["job"]["id"])
        counts, left = [], ROOM - max(1, ROOM // ADMIN_SHARE)
        for _ in tokens:
            counts.append(min(ROOM // 2, left))
            left -= counts[-1]
        assert [started.count(f"token:{name}") for name in ("ann", "bob", "cy")] == counts
        job = (await wire.ask("job.run", spec={"argv": ["true"]}))["job"]["id"]
        await wire.ask("job.wait", id=job)
