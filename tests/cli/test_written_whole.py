"""What `jw` writes arrives whole, in a pipe that does not block and one that is read late; or it ends non-zero."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.conftest import DEADLINE

if TYPE_CHECKING:
    from tests.cli.conftest import Jw

COMMAND = [sys.executable, "-m", "jobworker_cli"]
LENGTH = 1_988_895  # of the output of `seq 300000`
FULL = Path("/dev/full")


def read_late(*arguments: str) -> tuple[int, bytes, bytes]:
    """Return exit code, stdout and stderr of a `jw` whose stdout and stderr are pipes that never block."""
    pipes = [os.pipe(), os.pipe()]
    for _, writer in pipes:
        os.set_blocking(writer, False)
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)  # so that it is full, however fast it is read
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdin=subprocess.DEVNULL, stdout=pipes[0][1], stderr=pipes[1][1]
    )
    for _, writer in pipes:
        assert fcntl.fcntl(writer, fcntl.F_GETFL) & os.O_NONBLOCK
        os.close(writer)
    texts = []
    for reader, _ in pipes:
        with open(reader, "rb") as file:
            texts.append(file.read())
    return process.wait(DEADLINE), texts[0], texts[1]


@pytest.mark.usefixtures("jw")
def test_run_into_a_pipe_that_node_left_non_blocking() -> None:
    code, out, _ = read_late("run", "seq", "300000")
    assert (code, len(out)) == (0, LENGTH)


def test_every_other_command_into_such_a_pipe(jw: "Jw") -> None:
    word = "x" * 120_000
    job = jw.out("run", "-d", "--name", "long-line", "--", "echo", word)
    assert jw("wait", job).returncode == 0
    commands = (["logs", job], ["logs", job, "long-line"], ["status", job], ["rpc", "job.status", f"id={job}"])
    for command in commands:
        code, out, err = read_late(*command)
        assert (code, err) == (0, b""), command
        assert out.count(b"x") >= len(word), command  # in several lines, if each has a prefix
    code, out, _ = read_late("run", "--json", "seq", "30000")
    assert (code, json.loads(out.splitlines()[-1])["exit"]["code"]) == (0, 0)


def test_a_full_disk_under_the_output(jw: "Jw") -> None:
    """No command ends with 0 if its output is not there."""
    job = jw.out("run", "-d", "--", "sh", "-c", "echo hello; echo oops >&2")
    assert jw("wait", job).returncode == 0
    for command in (
        ["run", "echo", "hello"],
        ["run", "--json", "echo", "hello"],
        ["run", "-d", "echo", "hello"],
        ["logs", job],
        ["logs", "--json", job],
        ["ps", "-a"],
        ["status", job],
        ["status", "--json", job],
        ["events", "--from", "0"],
        ["--help"],
        ["ps", "--help"],
        ["version"],
    ):
        with FULL.open("wb") as full:
            done = subprocess.run(
                [*COMMAND, *command], stdout=full, stderr=subprocess.PIPE, timeout=DEADLINE, check=False
            )
        assert done.returncode in (1, 125), (command, done)
        assert b"stdout: No space left on device" in done.stderr, (command, done)


def test_a_full_disk_under_the_errors_of_a_job(jw: "Jw") -> None:
    with FULL.open("wb") as full:
        done = subprocess.run(
            [*COMMAND, "run", "sh", "-c", "echo oops >&2"], stderr=full, timeout=DEADLINE, check=False
        )
    assert done.returncode == 125
    assert jw("version").returncode == 0
