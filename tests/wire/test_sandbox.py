"""`sandbox` of a spec: what a job, its children and the command of its stop cannot do, on hosts that can confine."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.support.wire import Dial, Wire

    from jobworker.testing import RunningAgent

PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin") or ""
pytestmark = pytest.mark.skipif(not PYTHON, reason="there is no Python here for everyone")
TRY = """
import ctypes, os, signal, socket, subprocess, sys
folder, other = sys.argv[1], int(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
def c(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
def attempt(what, do):
    try:
        do()
        print(what, "done", sep=": ")
    except OSError as error:
        print(what, os.strerror(error.errno), sep=": ")
attempt("inet", lambda: socket.socket(socket.AF_INET).close())
attempt("inet6", lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close())
attempt("unix", lambda: socket.socket(socket.AF_UNIX).close())
attempt("netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close())
attempt("io_uring", lambda: c(libc.syscall(425, 0, None)))
attempt("pair", lambda: [each.close() for each in socket.socketpair()])
attempt("write inside", lambda: open(f"{folder}/in/file", "w").close())
attempt("write outside", lambda: open(f"{folder}/out/file", "w").close())
attempt("truncate outside", lambda: os.truncate(f"{folder}/out/kept", 0))
attempt("remove outside", lambda: os.unlink(f"{folder}/out/kept"))
attempt("rename", lambda: os.rename(f"{folder}/in/file", f"{folder}/out/moved"))
attempt("folder outside", lambda: os.mkdir(f"{folder}/out/folder"))
attempt("link", lambda: os.symlink("/", f"{folder}/out/link"))
attempt("through a link", lambda: open(f"{folder}/in/link/file", "w").close())
attempt("read outside", lambda: open(f"{folder}/out/kept").read())
attempt("null", lambda: open("/dev/null", "w").close())
attempt("stdout by name", lambda: open("/dev/stdout", "w").close())
attempt("thread", lambda: __import__("threading").Thread(target=lambda: None).start())
attempt("program", lambda: subprocess.run(["true"], check=True))
attempt("mem of another", lambda: os.close(os.open(f"/proc/{other}/mem", os.O_RDONLY)))
attempt("user namespace", lambda: c(libc.unshare(1 << 28)))
"""
REFUSED = {
    "network": {"inet", "inet6", "unix", "netlink", "io_uring"},
    "userns": {"user namespace"},
    "write": {
        "write outside",
        "truncate outside",
        "remove outside",
        "rename",
        "folder outside",
        "link",
        "through a link",
    },
}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that all users can change."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for each in (place, place / "in", place / "out"):
            each.mkdir(exist_ok=True)
            each.chmod(0o777)
        (place / "out/kept").write_text("kept")
        (place / "out/kept").chmod(0o666)
        (place / "in/link").symlink_to(place / "out")
        yield place


@pytest.fixture
async def parts(wire: "Wire") -> list[str]:
    return list((await wire.ask("agent.info"))["capabilities"]["sandbox"])


async def answers(wire: "Wire", folder: Path, **spec: Any) -> dict[str, str]:
    other = await wire.run(argv=["sleep", "600"], user=spec.get("user"))
    argv = [PYTHON, "-c", TRY, str(folder), str(other["pid"])]
    run = await wire.ask("job.run", spec={"argv": argv, "cwd": "/", **spec})
    log = await wire.follow(run["subscription"])
    await wire.ask("job.stop", id=other["id"])
    found = {}
    for line in log.stdout.decode().splitlines():
        attempt, _, answer = line.partition(": ")
        found[attempt] = answer if answer == "done" else "refused"
    assert "user namespace" in found, log.text
    return found


def sandboxes(folder: Path) -> dict[str, dict[str, Any]]:
    return {"network": {"network": False}, "userns": {"userns": False}, "write": {"write": [str(folder / "in")]}}


@pytest.mark.parametrize("user", [None, "nobody"])
@pytest.mark.parametrize("pid_namespace", [False, True], ids=["plain", "namespace"])
@pytest.mark.parametrize("part", [*REFUSED, "all"])
async def test_each_part(
    wire: "Wire", parts: list[str], folder: Path, part: str, user: str | None, pid_namespace: bool
) -> None:
    """It refuses what it is for, and nothing else that a program usually does."""
    wanted = set(REFUSED) if part == "all" else {part}
    if not wanted <= set(parts):
        pytest.skip(f"this host has {parts}")
    if user and os.geteuid() != 0:
        pytest.skip("only root can become another user")
    if pid_namespace and not (await wire.ask("agent.info"))["capabilities"]["namespace"]:
        pytest.skip("no pid namespaces here")
    sandbox = {key: value for each in wanted for key, value in sandboxes(folder)[each].items()}
    more = {"user": user} if user else {}
    found = await answers(wire, folder, sandbox=sandbox, pid_namespace=pid_namespace, **more)
    refused = {attempt for attempt, answer in found.items() if answer == "refused"}
    for each, attempts in REFUSED.items():
        if each in wanted:
            assert attempts <= refused, found
        else:
            assert not (attempts - {"io_uring"}) & refused, found  # which a host may refuse anyway
    for attempt in ("pair", "write inside", "null", "stdout by name", "program"):
        assert found[attempt] == "done", (attempt, found)
    assert refused >= {"mem of another"}, found  # of its own user, and not in its sandbox


async def test_the_command_of_a_stop_is_confined_too(wire: "Wire", parts: list[str], folder: Path) -> None:
    """It is the same caller's program."""
    if "write" not in parts:
        pytest.skip(f"this host has {parts}")
    script = f"touch {folder}/out/escaped; touch {folder}/in/reached; kill $JOBWORKER_STOP_PID"
    stop = {"strategy": "command", "options": {"argv": ["sh", "-c", script], "timeout": "20s"}}
    job = await wire.run(argv=["sleep", "600"], sandbox={"write": [str(folder / "in")]}, stop=stop)
    assert (await wire.ask("job.stop", id=job["id"]))["exit"]["signal"] == "SIGTERM"
    assert (os.path.exists(folder / "in/reached"), os.path.exists(folder / "out/escaped")) == (True, False)


async def test_a_default_and_its_replacement(
    start_agent: "Callable[..., RunningAgent]", dial: "Dial", parts: list[str]
) -> None:
    """`jobs.sandbox` holds for a spec without one; a spec with one has that alone."""
    if "network" not in parts:
        pytest.skip(f"this host has {parts}")
    agent = start_agent(config="[jobs.sandbox]\nnetwork = false\n")
    make = [PYTHON, "-c", "import socket; socket.socket(); print('made')"]
    async with dial(agent) as wire:
        for spec, made in (({}, False), ({"sandbox": {}}, True), ({"sandbox": {"userns": False}}, True)):
            run = await wire.ask("job.run", spec={"argv": make, **spec})
            assert (b"made" in (await wire.follow(run["subscription"])).stdout) is made, spec


async def test_what_cannot_be_confined(wire: "Wire", parts: list[str], folder: Path) -> None:
    """A path that is not absolute is refused; one that does not exist fails the start, with its name."""
    error = await wire.refused("job.create", spec={"argv": ["true"], "sandbox": {"write": ["in"]}})
    assert (error["code"], error["data"]["field"]) == (40001, "sandbox")
    if "write" in parts:
        error = await wire.refused("job.run", spec={"argv": ["true"], "sandbox": {"write": [f"{folder}/none"]}})
        assert (error["code"], error["data"]["step"], f"{folder}/none" in error["message"]) == (42202, "setup", True)
