"""Launches that hang delay no other request, and are ended by the keeper itself after their deadline."""

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.keeper.test_upgrade import newer  # noqa: F401  # a fixture

from jobworker.host.journal import Closed, Ended, Started, StartFailed

if TYPE_CHECKING:
    from tests.support.keeper_host import Host

HUNG = 16
LAUNCH_SECONDS = 5.0  # after which the keeper ends a launch
SILENT = Path(__file__).parents[1] / "support" / "silent_fuse.py"
Hang = Callable[[str], dict[str, Any]]  # by job: what to launch so that it hangs
each_space = pytest.mark.parametrize("namespace", [False, True], ids=["plain", "namespace"])


@pytest.fixture
def leased(tmp_path: Path) -> Iterator[Hang]:
    """Programs that are not executed for as long as this process holds a lease on them."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # we are asked to give it back, and do not
    held = []

    def hang(job: str) -> dict[str, Any]:
        program = tmp_path / f"{job}.program"
        shutil.copy("/bin/true", program)
        held.append(os.open(program, os.O_RDWR))
        fcntl.fcntl(held[-1], fcntl.F_SETLEASE, fcntl.F_WRLCK)
        return {"argv": [str(program)]}

    yield hang
    for fd in held:
        os.close(fd)
    signal.signal(signal.SIGIO, before)


class Silent:
    """A file system whose server does not answer: no signal ends a lookup that the server has read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        command = [sys.executable, str(SILENT), str(folder)]
        self._server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._server.stdout is not None
        self.answer = self._server.stdout.readline().strip()

    def __call__(self, job: str) -> dict[str, Any]:
        return {"argv": ["true"], "cwd": f"{self._folder}/held"}

    def end(self) -> None:
        """End the server: what waits for it gets an error."""
        assert self._server.stdout is not None
        self._server.kill()
        self._server.wait()
        self._server.stdout.close()
        subprocess.run(["umount", "-l", str(self._folder)], check=False)


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[Silent]:
    (tmp_path / "silent").mkdir()
    silent = Silent(tmp_path / "silent")
    if silent.answer != "mounted":
        silent.end()
        pytest.skip(f"no FUSE here: {silent.answer}")
    yield silent
    silent.end()


def long_path(job: str) -> dict[str, Any]:
    """A PATH of 480,000 entries, through which the lookup takes seconds."""
    return {"argv": ["no-such-program"], "path": "/usr:" * 120_000}


@pytest.fixture(params=["leased", "silent", "long_path"])
def hang(request: pytest.FixtureRequest) -> Hang:
    if request.param == "long_path":
        return long_path
    chosen: Hang = request.getfixturevalue(request.param)
    return chosen


async def launch(host: "Host", job: str, spec: dict[str, Any], **more: Any) -> None:
    env = host.env(job, **({"PATH": spec["path"]} if "path" in spec else {}))
    await host.ask("launch", id=job, argv=spec["argv"], env=env, cwd=spec.get("cwd", "/"), **more)


async def test_others_are_not_delayed(host: "Host", hang: Hang) -> None:
    """Beside 16 launches that hang, a job is stopped and killed, another starts and ends, and no start is lost."""
    await host.shell("v1", "trap 'exit 7' TERM; echo ready; while :; do sleep 600 & wait; done")
    other = await host.shell("v2", "exec sleep 600")
    await host.lines("v1")
    began = time.monotonic()
    for number in range(HUNG):
        await launch(host, f"h{number}", hang(f"h{number}"))
    assert (await host.finish("v3", "echo on; exit 3")).code == 3
    assert (await host.ask("signal", id="v1", target="main", signal=signal.SIGTERM, pids=[]))["delivered"] == 1
    assert (await host.until(Ended, "v1")).code == 7
    await host.signal_all("v2", other.pid, signal.SIGKILL)
    assert (await host.until(Ended, "v2")).signal == signal.SIGKILL
    assert time.monotonic() - began < LAUNCH_SECONDS, "something has waited for a launch"
    for number in range(HUNG):
        failed = await host.until(StartFailed, f"h{number}")
        assert failed.errno in (errno.ETIMEDOUT, errno.ENOENT)  # the long PATH may have been searched in time
        assert failed.step in ("cwd", "exec")
    assert not [record for record in host.records if isinstance(record, Started) and record.id.startswith("h")]


@each_space
async def test_a_hung_launch_ends_by_itself(each_host: "Host", leased: Hang, namespace: bool) -> None:
    """Its journal has step and ETIMEDOUT, and nothing of it is left; the program was not executed."""
    host = each_host
    await launch(host, "h1", leased("h1"), namespace=namespace)
    failed = await host.until(StartFailed, "h1")
    assert (failed.step, failed.errno) == ("exec", errno.ETIMEDOUT)
    children = Path(f"/proc/{host.pid}/task/{host.pid}/children")
    assert children.read_text().split() == [str(host.link.hello["pump"])]
    assert os.listdir(host.run / "fifo") == []
    assert not host.group or not Path(host.group, "h1").exists()
    assert (await host.finish("a2", "exit 4")).code == 4


async def test_a_launch_stuck_in_the_kernel_is_reported(
    host: "Host", silent: Silent, eventually: Callable[..., bool]
) -> None:
    """If SIGKILL does not end the child, the launch has failed all the same; the child is reaped when it ends."""
    await launch(host, "h1", silent("h1"))
    failed = await host.until(StartFailed, "h1")
    assert (failed.step, failed.errno) == ("cwd", errno.ETIMEDOUT)
    assert "does not end" in host.home.keeper_log.read_text()
    assert not (await host.finish("a2", "exit 4")).left
    silent.end()
    children, pump = Path(f"/proc/{host.pid}/task/{host.pid}/children"), str(host.link.hello["pump"])
    eventually(lambda: children.read_text().split() == [pump] or None)
    eventually(lambda: not host.group or not Path(host.group, "h1").exists() or None)
    assert not host.of(Started, "h1")


@each_space
async def test_a_hung_launch_is_killed(each_host: "Host", leased: Hang, namespace: bool) -> None:
    """SIGKILL ends it at once, and no other signal; the journal has no start of it."""
    host = each_host
    await launch(host, "h1", leased("h1"), namespace=namespace)
    how: dict[str, Any] = {"id": "h1", "target": "all", "pids": []}
    assert (await host.ask("signal", signal=int(signal.SIGTERM), **how))["delivered"] == 0
    assert (await host.ask("signal", signal=int(signal.SIGKILL), **how))["delivered"] > 0
    failed = await host.until(StartFailed, "h1")
    assert failed.errno == errno.ECANCELED
    assert not host.of(Started, "h1")
    assert os.listdir(host.run / "fifo") == []


@each_space
async def test_a_late_start_is_a_start(each_host: "Host", tmp_path: Path, namespace: bool) -> None:
    """A launch that hangs for a while succeeds when it can, with the agent gone meanwhile."""
    host = each_host
    program = tmp_path / "program"
    shutil.copy("/bin/true", program)
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    with program.open("rb+") as file:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        await launch(host, "h1", {"argv": [str(program)]}, namespace=namespace)
        host.link.close()
    signal.signal(signal.SIGIO, before)
    await host.connect()
    assert (await host.until(Ended, "h1")).code == 0
    assert len(host.of(Started, "h1")) == 1
    await host.until(Closed, "h1")


@each_space
async def test_an_upgrade_with_launches_that_hang(
    each_host: "Host",
    leased: Hang,
    newer: Path,  # noqa: F811
    namespace: bool,
) -> None:
    """The next version follows the launches of this one: one succeeds, one is ended at its deadline."""
    host = each_host
    program = newer / "program"
    shutil.copy("/bin/true", program)
    pid = host.pid
    with program.open("rb+") as file:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        await launch(host, "h1", {"argv": [str(program)]}, namespace=namespace)
        await launch(host, "h2", leased("h2"), namespace=namespace)
        host.link.close()
        await host.connect()
        assert host.pid == pid
        assert not host.of(Started, "h1")
    assert (await host.until(Ended, "h1")).code == 0
    assert len(host.of(Started, "h1")) == 1
    failed = await host.until(StartFailed, "h2")
    assert (failed.step, failed.errno) == ("exec", errno.ETIMEDOUT)
    assert not host.of(Started, "h2")


async def test_quit_waits_for_a_launch(host: "Host", leased: Hang, ended_in_time: Callable[[int], bool]) -> None:
    """A keeper that is to quit first learns what becomes of a launch."""
    await launch(host, "h1", leased("h1"))
    await host.ask("quit")
    assert (await host.until(StartFailed, "h1")).errno == errno.ETIMEDOUT
    assert ended_in_time(host.pid)
