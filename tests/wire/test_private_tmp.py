"""`private_tmp`: /tmp, /var/tmp and IPC that only the job has, its children and the command of its stop included."""

import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.support.wire import Wire

FOLDERS = "/tmp /var/tmp /dev/shm"
FIND = f"""
ls -A {FOLDERS} | grep -c .; stat -c %a {FOLDERS}; for folder in {FOLDERS}; do touch $folder/mine && echo made; done
wc -l < /proc/sysvipc/shm; cat $OUTSIDE
"""
EMPTY = ["3", *["1777"] * 3, *["made"] * 3, "1"]  # three headings, and that of the segments of shared memory
IPC_CREAT, IPC_RMID = 0o1000, 0


@pytest.fixture
async def has_it(wire: "Wire") -> None:
    info = await wire.ask("agent.info")
    if not info["capabilities"]["private_tmp"]:
        pytest.skip(info["capabilities"]["missing"]["private_tmp"])


@pytest.fixture
def outside() -> Iterator[Path]:
    """A file in the /tmp of the host, which all users can read."""
    with tempfile.NamedTemporaryFile(dir="/tmp", prefix="jobworker-outside-") as file:
        os.chmod(file.name, 0o644)
        file.write(b"seen")
        file.flush()
        yield Path(file.name)


@pytest.fixture
def segment() -> Iterator[int]:
    """A segment of shared memory of the host, which all users can read."""
    libc = ctypes.CDLL(None)
    number = libc.shmget(0, 4096, IPC_CREAT | 0o666)
    assert number >= 0
    yield number
    libc.shmctl(number, IPC_RMID, None)


@pytest.mark.usefixtures("has_it", "segment")
@pytest.mark.parametrize("user", [None, "nobody"])
@pytest.mark.parametrize("pid_namespace", [False, True], ids=["plain", "namespace"])
async def test_it_is_the_jobs_alone(wire: "Wire", outside: Path, user: str | None, pid_namespace: bool) -> None:
    """Empty at its start, writable for its user; neither is seen from the other."""
    if user and os.geteuid() != 0:
        pytest.skip("only root can become another user")
    more: dict[str, Any] = {"user": user} if user else {}
    if pid_namespace and (await wire.ask("agent.info"))["capabilities"]["namespace"]:
        more["pid_namespace"] = True
    spec = {"shell": FIND, "cwd": "/", "env": {"OUTSIDE": str(outside)}, "private_tmp": True, **more}
    run = await wire.ask("job.run", spec=spec)
    assert (await wire.follow(run["subscription"])).stdout.decode().split() == EMPTY
    assert [folder for folder in FOLDERS.split() if Path(f"{folder}/mine").exists()] == []
    shell = "cat $OUTSIDE; [ $(wc -l < /proc/sysvipc/shm) -gt 1 ] && echo and memory"
    run = await wire.ask("job.run", spec={**spec, "private_tmp": False, "shell": shell})
    assert (await wire.follow(run["subscription"])).stdout == b"seenand memory\n"


@pytest.mark.usefixtures("has_it")
@pytest.mark.parametrize("pid_namespace", [False, True], ids=["plain", "namespace"])
async def test_the_command_of_a_stop_has_it_too(wire: "Wire", pid_namespace: bool) -> None:
    """It finds what the job has put there."""
    stop = {"strategy": "command", "options": {"argv": ["sh", "-c", "kill $(cat /tmp/pid)"], "timeout": "20s"}}
    shell = "echo $$ > /tmp/pid; echo ready; exec sleep 600"
    more = {"pid_namespace": True} if pid_namespace else {}
    run = await wire.ask("job.run", spec={"shell": shell, "private_tmp": True, "cwd": "/", "stop": stop, **more})
    await wire.until(run["subscription"], b"ready\n")
    assert (await wire.ask("job.stop", id=run["job"]["id"]))["exit"]["signal"] == "SIGTERM"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_without_privileges() -> None:
    """A plain user has it by a user namespace, in which it is itself, if the host allows one."""
    code = (
        "import os; from jobworker.linux.private_tmp import LIBC, enter_private_tmp; "
        "os.setgroups([]); os.setresgid(1, 1, 1); os.setresuid(1, 1, 1); "
        "LIBC.prctl(4, 1, 0, 0, 0); enter_private_tmp(); "  # dumpable, as after an execve
        "open('/tmp/mine', 'w').close(); print(os.getuid(), os.listdir('/tmp'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if "unshare(CLONE_NEWUSER)" in done.stderr:
        pytest.skip("no user namespaces here")
    assert done.stdout == "1 ['mine']\n", done.stderr
