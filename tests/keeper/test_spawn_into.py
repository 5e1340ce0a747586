"""A program that posix_spawn starts in a cgroup, where the C library can."""

import errno
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobworker.linux import cgroupfs
from jobworker.linux.proc import group_of
from jobworker.linux.spawn_into import GroupError, is_available, spawn_into

pytestmark = pytest.mark.skipif(not is_available(), reason="glibc older than 2.39")
ENV = {"PATH": os.defpath, "GREETING": "grüß"}
SHOW = """
echo "$GREETING $1"; cat /proc/self/cgroup | grep ^0:; for fd in 0 1 2; do readlink /proc/$$/fd/$fd; done
read _ _ _ _ _ session _ < /proc/$$/stat; test $session = $$ && echo leads
grep -E "^Sig(Blk|Ign)" /proc/$$/status
"""


@pytest.fixture
def group() -> Iterator[str]:
    hierarchy = cgroupfs.find_hierarchy()
    folder = Path(hierarchy.folder(group_of("self")) if hierarchy else "") / f"spawned-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup to make one in: {error}")
    yield str(folder)
    cgroupfs.remove(str(folder))


def start(group: str, *argv: str, out: str = "/dev/null", merge: bool = False) -> int:
    streams = [(0, "/dev/null", os.O_RDONLY), *((fd, out, os.O_RDWR) for fd in range(1, 2 if merge else 3))]
    return spawn_into(group, argv[0], argv, ENV, streams)


@pytest.mark.parametrize("merge", [False, True])
def test_it_is_born_there_as_a_job_is(group: str, tmp_path: Path, merge: bool) -> None:
    """In a session of its own, with its streams and all signals as they are by default."""
    out = tmp_path / "out"
    out.touch()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])  # SIGPIPE is ignored in Python anyway
    try:
        pid = start(group, "/bin/sh", "-c", SHOW, "sh", "wörld", out=str(out), merge=merge)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    greeting, where, *opened, leads, blocked, ignored = out.read_text().splitlines()
    assert greeting == "grüß wörld"
    assert where.endswith(f"/{Path(group).name}")
    assert opened == ["/dev/null", str(out), str(out)]
    assert leads == "leads"
    assert [line.split()[1] for line in (blocked, ignored)] == ["0" * 16] * 2


def test_a_program_that_is_not_there_is_named(group: str) -> None:
    with pytest.raises(FileNotFoundError, match="/no/such") as raised:
        start(group, "/no/such")
    assert not isinstance(raised.value, GroupError)


def test_a_group_that_is_gone_is_no_fault_of_the_program(group: str) -> None:
    os.rmdir(group)
    with pytest.raises(GroupError) as raised:
        start(group, "/bin/true")
    assert raised.value.errno == errno.ENOENT


@pytest.mark.parametrize("argv", [["/bin/true", "a\0b"], ["/bin/true\0"]])
def test_what_c_would_cut_off_is_refused(group: str, argv: list[str]) -> None:
    with pytest.raises(ValueError, match="null byte"):
        start(group, *argv)


@pytest.mark.parametrize("env", [{"A=B": "c"}, {"": "c"}, {"A": "b\0"}])
def test_a_variable_that_no_program_can_have_is_refused(group: str, env: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"null byte|variable name"):
        spawn_into(group, sys.executable, ["python"], env, [])
