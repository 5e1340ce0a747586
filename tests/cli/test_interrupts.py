"""Ctrl-C in `jw run`: once, twice, three times; and the signals that end jw."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from typing import IO, TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Jw, Running
    from tests.conftest import RunningAgent

STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
CURTSEY = "trap 'echo bye; exit 9' TERM; echo ready; while :; do sleep 0.1; done"


def begun(jw: "Jw", name: str, script: str) -> "Running":
    running = jw.start("run", "--name", name, "--", "sh", "-c", script)
    running.wait_for(b"ready\n")
    return running


def test_once_stops_the_job(jw: "Jw") -> None:
    """The job gets SIGTERM, may clean up, and its last output still arrives."""
    running = begun(jw, "once", CURTSEY)
    running.interrupt()
    assert running.end() == 9
    assert running.said["stdout"] == b"ready\nbye\n"
    assert b"stopping the job; Ctrl-C again kills it" in running.said["stderr"]
    assert b"connection" not in running.said["stderr"]


def test_twice_kills_it(jw: "Jw") -> None:
    running = begun(jw, "twice", STUBBORN)
    running.interrupt()
    running.wait_for(b"stopping the job", "stderr")
    running.interrupt()
    assert running.end() == 128 + signal.SIGKILL
    assert b"killing the job" in running.said["stderr"]


def test_three_times_leaves_it_and_prints_how_to_come_back(jw: "Jw", shared: "RunningAgent") -> None:
    """jw can always be left, also while the agent does not answer."""
    running = begun(jw, "thrice", STUBBORN)
    os.kill(shared.pid, signal.SIGSTOP)
    try:
        for words in (b"stopping the job", b"killing the job", b"is left running"):
            running.interrupt()
            running.wait_for(words, "stderr")
        assert running.end() == 130
    finally:
        os.kill(shared.pid, signal.SIGCONT)
    back = re.search(rb"hint: jw (.*)\n", running.said["stderr"])
    assert back
    following = jw.start(*back[1].decode().split())
    following.wait_for(b"ready\n")
    assert following.end() == 0  # what was asked before jw left is carried out


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_ctrl_c_counts_while_the_pager_waits(jw: "Jw", kind: str) -> None:
    """A pager that waits for a key does not make the job unstoppable."""
    ours, theirs = socket.socketpair() if kind == "socket" else map(open_pipe, os.pipe(), ("rb", "wb"))
    name = f"unread-{kind}"
    command = [sys.executable, "-m", "jobworker_cli", "run", "--name", name, "yes"]
    with ours, theirs:
        process = subprocess.Popen(command, stdout=theirs.fileno(), stderr=subprocess.PIPE, start_new_session=True)
        assert process.stderr
        with process.stderr:
            assert os.read(ours.fileno(), 1) == b"y"
            assert os.get_blocking(theirs.fileno()), "as it is for others that share it"
            os.killpg(process.pid, signal.SIGINT)
            assert b"stopping the job" in process.stderr.readline()
            assert jw("wait", name).returncode == 128 + signal.SIGTERM
            process.kill()
            process.wait()


def open_pipe(descriptor: int, mode: str) -> IO[bytes]:
    return os.fdopen(descriptor, mode, buffering=0)


@pytest.mark.slow
def test_a_pager_that_waits_for_longer_than_the_agent_waits_for_a_pong(jw: "Jw") -> None:
    """The connection is kept: nothing is printed among the lines of the pager."""
    running = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "jobworker_cli",
            "run",
            "--name",
            "paged",
            "sh",
            "-c",
            "yes | head -c 9000000; exit 3",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert running.stdout
    assert running.stderr
    with running.stdout as out, running.stderr as err:
        assert out.read(1) == b"y"
        time.sleep(60)
        assert len(out.read()) == 9_000_000 - 1
        assert err.read() == b""
    assert running.wait() == 3


def test_a_stop_that_is_lost_with_the_agent_is_sent_to_the_next(lone_jw: "Jw") -> None:
    running = begun(lone_jw, "once", CURTSEY)
    agent = lone_jw.call("agent.info")["pid"]
    os.kill(agent, signal.SIGSTOP)
    running.interrupt()
    running.wait_for(b"stopping the job", "stderr")
    os.kill(agent, signal.SIGKILL)
    assert running.end() == 9
    assert running.said["stdout"] == b"ready\nbye\n"
    assert b"connected again" in running.said["stderr"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_end_of_jw_is_not_the_end_of_the_job(jw: "Jw", number: signal.Signals) -> None:
    name = f"outlives-{number.name}"
    running = begun(jw, name, STUBBORN)
    running.process.send_signal(number)
    assert running.end() == 130
    assert b"is left running" in running.said["stderr"]
    assert jw.job(name)["state"] == "running"
    jw.kill(name)


def test_ctrl_c_in_other_commands_is_the_end_of_jw_alone(jw: "Jw") -> None:
    """No job is stopped, and nothing is printed."""
    running = begun(jw, "looked-at", STUBBORN)
    following = jw.start("logs", "-f", "looked-at")
    following.wait_for(b"ready\n")
    following.interrupt()
    assert following.end() == 130
    assert not following.said["stderr"]
    jw.kill("looked-at")
    assert running.end() == 128 + signal.SIGKILL
