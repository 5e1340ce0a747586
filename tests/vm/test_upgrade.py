"""An upgrade of the installed service with jobs running, from the last version to this one: nobody notices."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.vm.agents import UNIT, Agent
from tests.vm.code import pack
from tests.vm.guest import Guest
from tests.vm.recipe import TREE, VENV

pytestmark = [pytest.mark.vm, pytest.mark.slow]
FALLBACK = "HEAD~100"  # is the last version as long as no commit has a tag
COUNTER = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"
CHECKSUM = f"{VENV}/bin/python -c 'from jobworker.formats.code import checksum; print(checksum())'"


def last_version() -> str:
    """Return the commit of the version before this one; JOBWORKER_VM_LAST names another."""
    if named := os.environ.get("JOBWORKER_VM_LAST"):
        return named
    found = subprocess.run(
        ["git", "-C", str(TREE), "describe", "--tags", "--abbrev=0", "HEAD^"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return found.stdout.strip() or FALLBACK


def install(guest: Guest, tree: Path) -> int:
    """Put the wheel of a tree in place of the one that is there, as pip does; return the checksum of its keeper."""
    pack(tree, guest.folder / "code.tar")
    guest.run(f"rm -rf {VENV}/lib/python3*/site-packages/jobworker*")
    guest.unpack()
    return int(guest.run(CHECKSUM).stdout)


@pytest.fixture
def last(guest: Guest) -> Iterator[Agent]:
    """The service of the last version; afterwards this version is installed and no service."""
    agent = Agent(guest, "/var/lib/jobworker", unit=UNIT)
    agent.remove()
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        subprocess.run(["git", "clone", "--quiet", "--shared", "--no-checkout", str(TREE), str(tree)], check=True)
        commit = subprocess.run(["git", "-C", str(tree), "checkout", "--quiet", last_version()], check=False)
        if commit.returncode:
            pytest.skip(f"this clone has no commit {last_version()}: name the last version in JOBWORKER_VM_LAST")
        before = install(guest, tree)
    try:
        agent.install_service()
        yield agent
    finally:
        agent.remove()
        after = install(guest, TREE)
    assert before != after, "the keepers of the two versions are the same: none was upgraded"


@pytest.mark.parametrize("how", ["systemctl restart jobworker", "jw agent restart"])
def test_jobs_outlive_an_upgrade(last: Agent, how: str) -> None:
    """Their processes, limits, output and exits; the keeper, which is the same process, runs the new code."""
    guest = last.guest
    counter, limited = last.start(COUNTER), last.start("exec sleep 1000", "-m 64MiB --pids 8")
    gated = last.start("until [ -e /var/tmp/gate ]; do sleep 0.1; done; exit 7")
    ended = last.start("echo kept; exit 3")
    last.jw(f"wait {ended}", check=False)
    running = (counter, limited, gated)
    pids = [last.status(job)["pid"] for job in running]
    keeper = last.info()["keeper"]["pid"]
    old = last.info()["pid"]

    install(guest, TREE)
    assert last.jw("ps -q").stdout.split()  # the agent of the last version goes on, also with the new `jw`
    guest.run(f"export JOBWORKER_HOME={last.home}; {how}", timeout=300)
    last.wait_ready()

    assert last.jw("run -w / -- echo new").stdout == "new\n"
    info = last.info()
    assert (info["pid"] == old) == (how == "jw agent restart")
    assert info["keeper"]["pid"] == keeper
    assert f"the keeper (pid {keeper}) was upgraded" in guest.run(f"journalctl -u {UNIT}").stdout
    for job, pid in zip(running, pids, strict=True):
        assert (last.status(job)["state"], last.status(job)["pid"]) == ("running", pid)
    assert last.value(limited, "memory.max") == str(64 << 20)
    guest.run("touch /var/tmp/gate")
    last.jw(f"wait {gated}", check=False)
    assert [last.status(job)["exit"]["code"] for job in (gated, ended)] == [7, 3]
    assert last.jw(f"logs {ended}").stdout == "kept\n"
    last.jw(f"stop {counter} {limited}")
    numbers = [int(line) for line in last.jw(f"logs {counter}").stdout.split()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 10
    assert last.stop_artists()["proof"] == "complete"
    guest.run("rm /var/tmp/gate")
