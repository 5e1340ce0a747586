"""One job in a folder: it is claimed once, its end and its output are in the folder, and nothing is left of it."""

import errno
import hashlib
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support.keeper_copy import copy_keeper
from tests.support.runner_host import JOB, Run, RunnerHost, descendants_of, memory_group
from tests.support.waiting import alive, ends

from jobworker.formats import job_folder
from jobworker.host.journal import Ended, Started, StartFailed

BYTES = 5_000_000
SYSTEM_PYTHON = "/usr/bin/python3"  # that another user can execute as well
# Prints BYTES that a seed determines, in pieces of all sizes, on both streams.
PRINTER = """
import os, random, sys
numbers = random.Random(7)
left = half = int(sys.argv[1])
while left:
    if left < half // 2:
        half = 0
        open(sys.argv[2]).read()
    data = numbers.randbytes(min(left, numbers.choice((1, 100, 4096, 70000))))
    left -= len(data)
    os.write(1, data)
    os.write(2, data[:1])
"""


def printed() -> bytes:
    """Return the digest of what PRINTER writes to its stdout."""
    numbers, left, digest = random.Random(7), BYTES, hashlib.sha256()
    while left:
        data = numbers.randbytes(min(left, numbers.choice((1, 100, 4096, 70000))))
        left -= len(data)
        digest.update(data)
    return digest.digest()


@pytest.mark.parametrize(
    ("script", "code", "end"),
    [
        ("echo hi; echo no >&2", 0, (0, None)),
        ("exit 41", 41, (41, None)),
        ("kill -9 $$", 137, (None, 9)),
        ("kill -TERM $$", 143, (None, 15)),
        ("exit 137", 137, (137, None)),
    ],
)
def test_the_end_of_a_job_is_in_its_folder(
    node: RunnerHost, script: str, code: int, end: tuple[int | None, int | None]
) -> None:
    """The journal has it, and the runner ends as the job did: the engine's own record is right as well."""
    run = node.run(script)
    assert run.wait() == code
    events = [event["event"] for event in run.events()]
    assert events[:3] == ["opened", "launching", "started"]
    assert sorted(events[3:]) == ["closed", "ended", "gone"]
    ended = run.event("ended")
    assert (ended["code"], ended["signal"]) == end
    assert "by" not in ended
    assert (run.event("gone")["killed"], run.event("gone")["by"]) == (0, "")
    assert [record.id for record in run.records(Started)] == [JOB]
    claim = job_folder.read_claim(str(run.folder))
    assert claim is not None
    assert (claim["tag"], claim["node"], claim["pid"]) == ("jw-12345678-" + JOB, os.uname().nodename, run.process.pid)
    if script.startswith("echo"):
        assert (run.output(), run.output(1)) == (b"hi\n", b"no\n")


def test_a_job_is_run_once(node: RunnerHost) -> None:
    """A second runner, as after a requeue, changes nothing in the folder, while the job runs and afterwards."""
    run = node.run("echo $$; read line < $1", str(node.path / "fifo"))
    os.mkfifo(node.path / "fifo")
    run.prints(b"\n")
    for _ in range(2):
        before = {
            path: path.read_bytes() for path in run.folder.rglob("*") if path.name in ("claim", "journal", "out")
        }
        assert run.start().wait() == job_folder.CLAIMED
        assert before == {path: path.read_bytes() for path in before}
        if run.process.poll() is None:
            (node.path / "fifo").write_text("on\n")
            run.wait()
    assert run.output().count(b"\n") == 1


def test_a_folder_without_a_launch_is_left_alone(node: RunnerHost) -> None:
    run = node.run("true")
    run.wait()
    for name in ("claim", "launch.json"):
        (run.folder / name).unlink()
    assert run.start().wait() == job_folder.UNUSABLE
    assert not (run.folder / "claim").exists()


@pytest.mark.parametrize(
    ("message", "step", "number", "code"),
    [
        ({"argv": ["/no/such/program"]}, "exec", errno.ENOENT, 127),
        ({"argv": ["/etc/passwd"]}, "exec", errno.EACCES, 126),
        ({"cwd": "/no/such/folder"}, "cwd", errno.ENOENT, 127),
        ({"rlimits": {"nofile": [5, 4]}}, "setup", errno.EINVAL, 126),
    ],
)
def test_a_launch_that_fails_has_step_and_errno(
    node: RunnerHost, message: dict[str, Any], step: str, number: int, code: int
) -> None:
    run = node.run("true", message=message)
    assert run.wait() == code
    failed = run.records(StartFailed)[0]
    assert (failed.step, failed.errno) == (step, number)
    assert run.event("gone")["killed"] == 0


def test_the_job_has_what_the_engine_gives_it(node: RunnerHost) -> None:
    """The environment of the runner beneath that of the spec, and its cgroups; what is open is the job's alone."""
    environment = {"CUDA_VISIBLE_DEVICES": "3", "SLURM_JOB_ID": "17", "PATH": "/nowhere"}
    script = "echo $CUDA_VISIBLE_DEVICES $SLURM_JOB_ID $PATH; env; cat /proc/self/cgroup; ls /proc/self/fd | wc -l"
    run = node.run(script, environment=environment, message={"limits": {"memory": 1 << 30, "pids": 9}})
    assert run.wait() == 0
    lines = run.output().decode().splitlines()
    assert lines[0] == "3 17 /usr/bin:/bin"
    names = {line.partition("=")[0] for line in lines if "=" in line and not line[0].isdigit()}
    assert names - {"PWD", "SHLVL", "_", "OLDPWD"} == environment.keys(), "what Python adds is not the engine's"
    lines = [line for line in lines if "=" not in line or line[0].isdigit()]
    assert lines[1:-1] == Path("/proc/self/cgroup").read_text().splitlines()
    assert lines[-1] == "4"  # three, and that of the list
    assert b"the engine limits pids, not this runner" in (run.folder / "runner.log").read_bytes()


def test_commands_are_carried_out_once_and_in_order(node: RunnerHost) -> None:
    """At a ring, and without one; a wrong command is answered, and does no harm."""
    script = "trap 'echo usr1' USR1; trap 'echo term; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    run = node.run(script)
    run.prints(b"ready")
    assert run.ask(1, op="signal", signal=0, target="main") == {"delivered": 1}
    assert run.ask(2, op="signal", signal=int(signal.SIGUSR1), target="main") == {"delivered": 1}
    run.prints(b"usr1")
    faults: list[dict[str, Any]] = [{"op": "dance"}, {"op": "signal"}, {"op": "signal", "signal": 999}, {}]
    for number, wrong in enumerate(faults, 3):
        assert run.ask(number, **wrong)["errno"] in (errno.ENOSYS, errno.EINVAL)
    (run.folder / job_folder.CONTROL / "7.json").write_text("[")
    assert run.until(lambda: job_folder.read_answer(str(run.folder), 7))["errno"] == errno.EINVAL
    assert run.ask(8, ring=False, op="signal", signal=int(signal.SIGTERM), target="main") == {"delivered": 1}
    assert run.wait() == 5
    assert run.output() == b"ready\nusr1\nterm\n"
    assert run.records(Ended)[0].signalled


def test_a_signal_for_all_reaches_every_descendant(node: RunnerHost) -> None:
    """In another session, and without its parent; also one that stands still."""
    run = node.run("(setsid sh -c 'sleep 1000 & sleep 1000' &); setsid sleep 1000 & echo ready; wait; wait")
    run.prints(b"ready")
    run.until(lambda: True if job_folder.read_heartbeat(str(run.folder)) else None)
    below = run.until(lambda: found if len(found := _below(run)) == 5 else None)
    assert run.ask(1, op="freeze") == {"delivered": 5}
    assert [_state(pid) for pid in below] == ["T"] * 5
    assert run.ask(2, op="thaw") == {"delivered": 5}
    assert run.ask(3, op="freeze") == {"delivered": 5}
    assert run.ask(4, op="signal", signal=int(signal.SIGKILL), target="all") == {"delivered": 5}
    assert run.wait() == 137
    assert not any(map(alive, below))
    assert run.records(Ended)[0].signalled


def _below(run: Run) -> list[int]:
    return [pid for pid in descendants_of(run.process.pid) if not _is_pump(pid)]


def _is_pump(pid: int) -> bool:
    return b"/pump/__main__.py" in Path(f"/proc/{pid}/cmdline").read_bytes()


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_the_engines_term_stops_the_job(node: RunnerHost) -> None:
    """It gets the signal of its spec, once; the record names the engine."""
    run = node.run("trap 'echo int; exit 42' INT; echo ready; while :; do sleep 0.05; done", stop={"signal": 2})
    run.prints(b"ready")
    run.process.terminate()
    run.process.terminate()
    assert run.wait() == 42
    assert run.output() == b"ready\nint\n"
    assert run.event("ended")["by"] == "the engine's TERM"
    assert not run.records(Ended)[0].signalled


def test_a_job_that_ignores_the_engines_term_is_killed_before_the_engine_does(node: RunnerHost) -> None:
    """With all that it has started, and its record is there by the time of the engine's own SIGKILL."""
    other = "(setsid sh -c 'trap \"\" TERM; while :; do sleep 1000; done' &)"
    script = f"trap '' TERM; {other}; echo ready; while :; do sleep 1; done"
    run = node.run(script)
    run.prints(b"ready")
    below = run.until(lambda: found if len(found := _below(run)) >= 3 else None)
    began = time.monotonic()
    run.process.terminate()
    assert run.wait() == 137
    assert time.monotonic() - began >= 2.0
    assert not any(map(alive, below))
    ended, gone = run.event("ended"), run.event("gone")
    assert (ended["signal"], ended["by"], gone["by"]) == (9, "the engine's TERM", "the engine's TERM")
    assert gone["killed"] >= 3
    assert ended["at"] - run.event("started")["at"] > 0


def test_nothing_outlives_the_job(node: RunnerHost) -> None:
    """A double fork in a session of its own, without the job's pipes, is stopped, and killed after the grace."""
    other = "setsid sh -c 'trap \"\" TERM; echo $$ > $0; while :; do sleep 1000; done' $1 > /dev/null 2>&1"
    script = f"({other} &); until [ -s $1 ]; do sleep 0.01; done; exit 3"
    run = node.run(script, str(node.path / "pid"), stop={"signal": 15, "grace": 0.2})
    assert run.wait() == 3
    assert run.event("ended")["left"]
    gone = run.event("gone")
    assert (gone["by"], gone["proof"], gone["killed"] > 0) == ("leftovers", "complete", True)
    assert not alive(int((node.path / "pid").read_text()))


def test_what_may_be_left_is_waited_for(node: RunnerHost) -> None:
    """With `leftovers: leave`, the runner goes on until the last process has ended by itself."""
    os.mkfifo(node.path / "fifo")
    run = node.run(
        "(setsid sh -c 'read line < $0; echo late' $1 &); exit 3", str(node.path / "fifo"), leftovers="leave"
    )
    assert run.event("ended")["code"] == 3
    assert run.process.poll() is None
    (node.path / "fifo").write_text("on\n")
    assert run.wait() == 3
    assert run.output() == b"late\n"
    assert run.event("gone")["killed"] == 0


@pytest.mark.parametrize("fault", ["none", "kill", "copy"])
def test_the_log_has_every_byte(node: RunnerHost, python: str, fault: str) -> None:
    """Also if the pump is killed, and on a file system that refuses splice."""
    changes = {"pump/file_system.py": ("return os.splice(reader, file, 1) == 1", "return False")}
    one_job = copy_keeper(node.path, changes if fault == "copy" else {}).with_name("one_job.py")
    os.mkfifo(node.path / "fifo")
    message = {
        "argv": [python, "-I", "-S", "-c", PRINTER, str(BYTES), str(node.path / "fifo")],
        "env": {},
        "cwd": "/",
    }
    run = node.launch(message, one_job=str(one_job))
    if fault == "kill":
        run.until(lambda: True if len(run.output()) > BYTES // 10 else None)
        pump = next(pid for pid in descendants_of(run.process.pid) if _is_pump(pid))
        os.kill(pump, signal.SIGKILL)
    (node.path / "fifo").write_text("on")
    assert run.wait() == 0
    assert hashlib.sha256(run.output()).digest() == printed()
    assert run.event("closed")["size"] == len(run.output()) + len(run.output(1))


def test_a_killed_runner_leaves_no_end_and_no_heartbeat(node: RunnerHost) -> None:
    """Its job goes on, as the engine does not end it here; the log is written to its end all the same."""
    os.mkfifo(node.path / "fifo")
    run = node.run("echo begun; read line < $1; echo late; kill -9 $$", str(node.path / "fifo"))
    run.prints(b"begun")
    first = run.until(lambda: job_folder.read_heartbeat(str(run.folder)))["n"]
    run.until(lambda: True if (job_folder.read_heartbeat(str(run.folder)) or {})["n"] > first else None)
    main, pump = run.main(), next(pid for pid in descendants_of(run.process.pid) if _is_pump(pid))
    run.process.kill()
    run.wait()
    beat = job_folder.read_heartbeat(str(run.folder))
    (node.path / "fifo").write_text("on\n")
    assert ends(main)
    assert ends(pump)
    assert run.output() == b"begun\nlate\n"
    assert job_folder.read_heartbeat(str(run.folder)) == beat
    assert not run.records(Ended)


def test_a_full_folder_makes_the_job_wait(small_disk: Path, node: RunnerHost) -> None:
    """Nothing is lost: when there is room again, the rest of the output and the end are written."""
    filler = small_disk / "filler"
    folder = small_disk / "job"
    script = "echo begun; read line < $1; head -c 200000 /dev/zero; echo done; exit 4"
    os.mkfifo(node.path / "fifo")
    run = node.run(script, str(node.path / "fifo"), folder=folder)
    run.prints(b"begun")
    with pytest.raises(OSError, match="No space"):
        filler.write_bytes(bytes(1 << 20))
    (node.path / "fifo").write_text("on\n")
    beats = {job_folder.read_heartbeat(str(folder))["n"]}  # type: ignore[index]
    run.until(lambda: beats.add(job_folder.read_heartbeat(str(folder))["n"]) or (True if len(beats) > 2 else None))  # type: ignore[index, func-returns-value]
    assert run.process.poll() is None
    filler.unlink()
    assert run.wait() == 4
    assert run.output() == b"begun\n" + bytes(200000) + b"done\n"


@pytest.mark.parametrize("then", ["room", "term"])
def test_a_folder_that_is_full_before_the_start_delays_it(small_disk: Path, node: RunnerHost, then: str) -> None:
    """Until there is room; a runner that the engine ends meanwhile has started nothing."""
    filler, folder = small_disk / "filler", small_disk / "job"
    with pytest.raises(OSError, match="No space"):
        filler.write_bytes(bytes(2 << 20))
    os.truncate(filler, filler.stat().st_size - 8192)  # room for launch and claim, not for the journal
    run = node.run("echo ran", folder=folder)
    run.until(lambda: job_folder.read_claim(str(folder)))
    run.until(lambda: True if (folder / "heartbeat").exists() else None)
    assert "started" not in [event["event"] for event in run.events()]
    if then == "room":
        filler.unlink()
        assert run.wait() == 0
        assert run.output() == b"ran\n"
    else:
        run.process.terminate()
        assert run.wait() == 126
        assert not run.records(Started)


@pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists(SYSTEM_PYTHON), reason="takes root, and its Python")
def test_root_becomes_the_user_of_the_folder(node: RunnerHost) -> None:
    """Whatever user the launch names: that file is the user's own."""
    for folder in (node.path, *node.path.parents):
        folder.chmod(folder.stat().st_mode | 0o055)
    one_job = str(copy_keeper(node.path, {}).with_name("one_job.py"))
    root, nobody = ({"user": {"uid": uid, "gid": 0, "groups": [0]}} for uid in (0, 65534))
    run = node.run("true", owner=(65534, 65534), message=root, one_job=one_job, python=SYSTEM_PYTHON)
    assert run.wait() == 126
    assert run.records(StartFailed)[0].step == "user"
    run = node.run("id -u; id -G", owner=(65534, 65534), message=nobody, one_job=one_job, python=SYSTEM_PYTHON)
    assert run.wait() == 0
    assert run.output() == b"65534\n65534\n"
    assert (run.folder / "journal").stat().st_uid == 65534


def test_no_folder_is_left_on_the_node(node: RunnerHost) -> None:
    """Sockets and FIFOs are in memory while the job runs, and gone with it."""
    prefix = f"jobworker-{os.geteuid()}-"
    run = node.run("readlink /proc/self/fd/1")
    assert run.wait() == 0
    fifo = run.output().decode().strip()
    assert fifo.startswith(f"/dev/shm/{prefix}")
    assert not os.path.exists(os.path.dirname(os.path.dirname(fifo)))


def test_what_a_killed_runner_has_left_on_the_node_is_removed(node: RunnerHost) -> None:
    """By the next one; not while a job still uses it, and not what has just been made."""
    os.mkfifo(node.path / "fifo")
    first = node.run("readlink /proc/self/fd/1; read line < $1; exec > /dev/null 2>&1", str(node.path / "fifo"))
    first.prints(b"\n")
    pump = next(pid for pid in descendants_of(first.process.pid) if _is_pump(pid))
    folder = Path(first.output().decode().strip()).parents[1]
    first.process.kill()
    first.wait()
    os.utime(folder, (1, 1))
    assert node.run("true").wait() == 0
    assert folder.exists()
    (node.path / "fifo").write_text("on\n")
    assert ends(pump)
    made = folder.with_name(f"jobworker-{os.geteuid()}-{'f' * 12}")
    made.mkdir(0o700)
    os.utime(folder, (1, 1))
    assert node.run("true").wait() == 0
    assert (folder.exists(), made.exists()) == (False, True)
    made.rmdir()


@pytest.mark.parametrize("engine", ["kernel", "runner"])
def test_a_job_without_memory_is_out_of_memory(node: RunnerHost, python: str, engine: str) -> None:
    """Whether the engine has the kernel kill it at the limit, or the runner does because no engine enforces one."""
    eater = "data = bytearray(b'x') * (200 << 20); print('ate', flush=True); import time; time.sleep(1000)"
    message = {"argv": [python, "-c", eater], "env": {}, "cwd": "/", "limits": {"memory": 64 << 20}}
    if engine == "runner":
        run = node.launch(message)
    else:
        with memory_group(node.path.name, 64 << 20) as group:
            run = node.launch(message | {"limits": {}}, group=group)
            run.wait()
    assert run.wait() == 137
    assert run.records(Ended)[0].oom
    assert run.event("gone")["by"] == ""


def test_a_term_that_comes_early_ends_the_job_with_a_record(node: RunnerHost) -> None:
    """Before the runner has begun to listen it is kept, and a launch that hangs is ended."""
    os.mkfifo(node.path / "fifo")
    for script in ("sleep 1000", "true"):
        message = {"rlimits": {"core": [0, 0]}} if script == "true" else {}  # launched by a fork
        run = node.run(script, message=message)
        run.until(lambda run=run: job_folder.read_claim(str(run.folder)))  # type: ignore[misc]
        run.process.terminate()
        run.wait()
        events = [event["event"] for event in run.events()]
        assert "gone" in events
        assert {"ended", "start_failed"} & {*events}
