"""Homes with a keeper, connected, cold or without cgroups, and what tests wait with."""

import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.keeper_host import Host, start_keeper_under
from tests.support.waiting import DEADLINE, T, ends, grown


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    """A home whose keeper is connected."""
    host = Host(tmp_path / "home")
    try:
        await host.connect()
        yield host
    finally:
        await host.close()


@pytest.fixture
async def cold_host(tmp_path: Path) -> AsyncIterator[Host]:
    """A home without a keeper, for tests that start it their own way."""
    host = Host(tmp_path / "home")
    try:
        yield host
    finally:
        await host.close()


@pytest.fixture
async def second_host(tmp_path: Path) -> AsyncIterator[Host]:
    """Another home, with its own keeper."""
    host = Host(tmp_path / "second")
    try:
        await host.connect()
        yield host
    finally:
        await host.close()


def start_blind_keeper(host: Host) -> None:
    """Start the keeper in a mount namespace without cgroup2."""
    hide = 'umount -a -t cgroup2 && exec "$@"'
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-r", "-m"]
    start_keeper_under(host, [*unshare, "sh", "-c", hide, "sh"])


@pytest.fixture
async def sweeping_host(tmp_path: Path) -> AsyncIterator[Host]:
    """A home whose keeper has no cgroups to give, so that trees are found by a sweep."""
    probe = Host(tmp_path / "home")
    try:
        if "cgroup2" in Path("/proc/self/mountinfo").read_text():
            start_blind_keeper(probe)
        await probe.connect()
        assert not probe.group, "the keeper was to see no cgroup2"
        yield probe
    finally:
        await probe.close()


@pytest.fixture(params=["native", "sweep"])
def each_host(request: pytest.FixtureRequest) -> Host:
    """A host with the strongest method available here, then one that has to sweep."""
    name = {"native": "host", "sweep": "sweeping_host"}[request.param]
    found: Host = request.getfixturevalue(name)
    return found


@pytest.fixture
def until_grown() -> Callable[[Path, Path, Callable[[], Any]], Awaitable[Any]]:
    return grown


@pytest.fixture
def ended_in_time() -> Callable[[int], bool]:
    return ends


@pytest.fixture
def eventually() -> Callable[[Callable[[], T | None]], T]:
    """Ask until there is an answer, for facts of /proc that no event announces."""

    def ask(done: Callable[[], T | None]) -> T:
        end = time.monotonic() + DEADLINE
        while (result := done()) is None:
            assert time.monotonic() < end, "it did not happen in time"
            os.sched_yield()
        return result

    return ask


@pytest.fixture
def spawned() -> Iterator[Callable[..., int]]:
    """Start processes of the test's own, and end them with it."""
    pids: list[int] = []

    def start(*argv: str, env: dict[str, str] | None = None, setsid: bool = False) -> int:
        environ = {"PATH": "/usr/bin:/bin"} | (env or {})
        pids.append(os.posix_spawnp(argv[0], argv, environ, setsid=setsid))
        return pids[-1]

    yield start
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            continue
