"""Real agents in containers that lack something: each works as it should, or its start is refused in one line."""

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.container import JW, Container, lacking

pytestmark = pytest.mark.skipif(bool(lacking()), reason=lacking() or "containers can be made")

Boxes = Callable[..., Container]
NO_SHM = 'umount "$root/dev/shm"\nrmdir "$root/dev/shm"\n'
NO_TMP = 'umount "$root/tmp"\n'  # what is left is the root's, which can only be read
NO_USERS = 'mount -t tmpfs etc "$root/etc"\n'
STATE_READ_ONLY = 'mount -o remount,bind,ro "$root/mnt/state"\n'
STATE_ON_TMPFS = """
umount "$root/mnt/state"
mount -t tmpfs -o mode=700 state "$root/mnt/state"
cp "$base/state/config.toml" "$root/mnt/state"
"""
STATE_ON_OVERLAY = """
mkdir -m 700 "$base/upper" "$base/work" "$base/lower"
mount -t overlay -o "lowerdir=$base/lower,upperdir=$base/upper,workdir=$base/work" overlay "$root/mnt/state"
cp "$base/state/config.toml" "$root/mnt/state"
"""
CGROUP_READ_ONLY = """
type=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/mounts)
[ -z "$type" ] || mount -o bind,ro "$type" "$root/sys/fs/cgroup"
"""
# Has pidfd_open (434) fail with EPERM, then executes its arguments.
NO_PIDFD = """
import ctypes, os, struct, sys
program = [(0x20, 0, 0, 0), (0x15, 0, 1, 434), (6, 0, 0, 0x50001), (6, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
filter = struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code))
libc = ctypes.CDLL(None)
libc.prctl(38, 1, 0, 0, 0)
assert libc.prctl(22, 2, filter, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""
BAD_LOCALE = {"TZ": "Nowhere/Bad", "LANG": "xx_YY.ISO-8859-9", "LC_ALL": "tr_TR.ISO-8859-9"}
CLOSED = "exec <&- >&- 2>&-"
ANYBODY = 12345  # a uid that no passwd has
# The first four have several oddities each, and are quick together; the others have one each.
WORKS: dict[str, dict[str, Any]] = {
    "nothing but a volume, as engines make them": {
        "mounts": NO_SHM + NO_TMP + 'chmod 755 "$root/mnt/state"\n',
        "home": "/mnt/state/jobworker",
        "command": [*JW, "agent", "run", "--config", "/mnt/state/config.toml"],
    },
    "anybody without users, shm, tmp and umask": {
        "uid": ANYBODY,
        "mounts": NO_SHM + NO_TMP + NO_USERS,
        "before": "umask 0",
        "env": BAD_LOCALE,
    },
    "closed streams and 256 files": {"before": f"ulimit -n 256\n{CLOSED}"},
    "overlay and an init": {"mounts": STATE_ON_OVERLAY, "init": True},
    "a plain root": {},
    "anybody": {"uid": ANYBODY},
    "no shm": {"uid": ANYBODY, "mounts": NO_SHM},
    "shm noexec": {"uid": ANYBODY, "mounts": 'mount -o remount,noexec,nosuid,nodev "$root/dev/shm"'},
    "shm read-only": {"uid": ANYBODY, "mounts": 'mount -o remount,ro "$root/dev/shm"'},
    "tmp read-only": {"mounts": NO_TMP},
    "run on tmpfs": {"mounts": 'mount -t tmpfs run "$root/run"'},
    "run read-only": {"mounts": 'mount -t tmpfs -o ro run "$root/run"'},
    "hidepid": {"uid": ANYBODY, "mounts": 'mount -o remount,hidepid=2 "$root/proc"'},
    "umask 077": {"uid": ANYBODY, "before": "umask 077"},
    "umask 777": {"before": "umask 777"},
    "128 files": {"uid": ANYBODY, "before": "ulimit -n 128"},
    "state on tmpfs": {"mounts": STATE_ON_TMPFS},
    "cgroups of its own": {"mounts": 'mount -t cgroup2 cgroup "$root/sys/fs/cgroup"'},
    "cgroups read-only": {"mounts": CGROUP_READ_ONLY},
    "an init": {"uid": ANYBODY, "init": True},
}
QUICK = 4
# How, and what the line must name: what is missing, and what to do.
REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no home": ({"uid": ANYBODY, "home": ""}, ["HOME is not set", "JOBWORKER_HOME"]),
    "a home that cannot be made": ({"uid": ANYBODY, "home": "", "env": {"HOME": "/"}}, ["/.local", "JOBWORKER_HOME"]),
    "root without a volume": ({"home": ""}, ["/var/lib/jobworker", "Read-only", "a volume"]),
    "a volume of root": ({"uid": ANYBODY, "mounts": 'chown 0 "$root/mnt/state"'}, ["/mnt/state", "JOBWORKER_HOME"]),
    "a volume to be read": ({"mounts": STATE_READ_ONLY}, ["/mnt/state/logs", "Read-only", "JOBWORKER_HOME"]),
    "64 files": ({"before": "ulimit -n 64"}, ["RLIMIT_NOFILE is 64", "128", "--ulimit"]),
    "8 processes": ({"uid": 23456, "before": "prlimit --nproc=8:8 --pid $$"}, ["RLIMIT_NPROC is 8", "--pids-limit"]),
    "an old seccomp profile": (
        {"command": [sys.executable, "-c", NO_PIDFD, *JW, "agent", "run"]},
        ["pidfd_open: Op"],
    ),
    "no proc": ({"before": "umount /proc"}, ["/proc is not mounted", "mount -t proc"]),
}


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Boxes]:
    """Make containers, and end them."""
    made: list[Container] = []

    def make(**how: Any) -> Container:
        container = Container(tmp_path, **how)
        made.append(container)
        container.start()
        return container

    yield make
    for container in made:
        container.clean()


@pytest.mark.parametrize(
    "place", [pytest.param(place, marks=[pytest.mark.slow] * (at >= QUICK)) for at, place in enumerate(WORKS)]
)
def test_an_odd_place_that_will_do(box: Boxes, place: str) -> None:
    """Run a job, and see its output and its code; stop a tree after a restart of the agent; end in order."""
    container = box(**WORKS[place])
    container.listening()
    done = container.jw("run", "sh", "-c", "echo out; echo err >&2; umask; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n0022\n", "err\n")
    started = container.jw("run", "-d", "sh", "-c", "echo begun; setsid sleep 4242 & sleep 4242")
    assert started.returncode == 0, started.stderr
    job = started.stdout.strip()
    assert container.jw("agent", "restart").returncode == 0
    assert container.jw("logs", job).stdout == "begun\n"
    assert len(container.commands("sleep 4242")) == 2
    stopped = container.jw("stop", job)
    assert (stopped.returncode, stopped.stdout) == (0, f"{job}  stopped SIGTERM\n"), stopped.stderr
    assert container.commands("sleep 4242") == []
    assert container.end() == 0
    assert "Traceback" not in container.output


@pytest.mark.parametrize("place", REFUSED)
def test_a_start_that_is_refused(box: Boxes, place: str) -> None:
    """One line has what is missing, a second what to do, and the exit code is not 0."""
    how, expected = REFUSED[place]
    container = box(**how)
    assert container.ended() != 0
    lines = container.output.splitlines()
    assert len(lines) == 2, container.output
    assert "error: " in lines[0]
    assert lines[1].startswith("hint: ")
    for word in expected:
        assert word in container.output


def test_a_refusal_with_closed_streams(box: Boxes) -> None:
    """With closed standard streams it still ends with an exit code; libuv would abort."""
    assert box(before=CLOSED, mounts=STATE_READ_ONLY).ended() == 1


def test_client_with_closed_streams(box: Boxes) -> None:
    """`jw` with closed streams starts the local agent and returns the job's code."""
    container = box(command=["sleep", "600"])
    container.entered()
    done = container.exec("sh", "-c", f'exec "$@" {CLOSED.removeprefix("exec ")}', "sh", *JW, "run", "false")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    assert container.jw("agent", "stop", "--jobs").returncode == 0


def test_second_container_on_the_same_state(box: Boxes, tmp_path: Path) -> None:
    """It is refused while the first runs, which goes on, and `jw agent stop` there names the reason."""
    first = box()
    first.listening()
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "state").symlink_to(first.state)
    address = (first.state / "agent.json").read_bytes()
    second = Container(tmp_path / "second")
    second.start()
    assert second.ended() != 0
    assert "another agent" in second.output
    onlooker = Container(tmp_path / "second", command=["sleep", "600"])
    onlooker.start()
    (first.state / "agent.json").write_bytes(address)
    try:
        onlooker.entered()
        stopped = onlooker.jw("agent", "stop")
        assert stopped.returncode != 0
        assert "another container" in stopped.stderr
    finally:
        onlooker.clean()
    assert first.jw("run", "true").returncode == 0
    assert first.end(signal.SIGINT) == 0
