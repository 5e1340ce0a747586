"""`jw run -i` and `jw write`: the input of `jw` is that of the job, byte for byte, and ends with it."""

import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cli.conftest import COMMAND
from tests.conftest import DEADLINE

from jobworker.host.spool import BOUND

if TYPE_CHECKING:
    from tests.cli.conftest import Jw

LARGE = BOUND + 3_000_000


def run(*arguments: str, data: bytes | None = None, stdin: int | None = None) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [*COMMAND, *arguments], input=data, stdin=stdin, capture_output=True, timeout=DEADLINE, check=False
    )


def test_a_pipe_goes_through(jw: "Jw") -> None:
    """More than the spool holds, in and out at the same time, byte for byte."""
    data = os.urandom(LARGE)
    done = run("run", "-i", "--", "cat", data=data)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == data


def test_a_file_and_nothing(jw: "Jw", tmp_path: Path) -> None:
    """A regular file, which cannot be waited for, and an input that is at its end."""
    (tmp_path / "data").write_bytes(b"one\ntwo\n")
    with open(tmp_path / "data", "rb") as file:
        assert run("run", "-i", "--", "wc", "-l", stdin=file.fileno()).stdout == b"2\n"
    assert run("run", "-i", "--", "wc", "-c", stdin=subprocess.DEVNULL).stdout == b"0\n"


def test_a_job_that_reads_only_the_beginning(jw: "Jw") -> None:
    """`jw` ends with the job, though there is more to send."""
    with open("/dev/zero", "rb") as zeros:
        done = run("run", "-i", "--", "head", "-c", "3", stdin=zeros.fileno())
    assert (done.returncode, done.stdout, done.stderr) == (0, bytes(3), b"")


def test_jw_does_not_wait_for_its_input(jw: "Jw") -> None:
    """The job ends while the input of `jw` is open and silent."""
    reader, writer = os.pipe()
    try:
        done = run("run", "-i", "--", "sh", "-c", "exit 7", stdin=reader)
    finally:
        os.close(reader)
        os.close(writer)
    assert (done.returncode, done.stderr) == (7, b"")


def test_write_a_line_and_the_end(jw: "Jw") -> None:
    """TEXT is a line, `-n` has no end of line, stdin is written as it is, `--eof` ends the input."""
    job = jw("run", "-d", "-i", "--", "cat").stdout.strip()
    assert jw("write", job, "hello", "world").returncode == 0
    assert jw("write", job, "-n", "a").returncode == 0
    assert run("write", job, data=b"\0\xff\n").returncode == 0
    assert jw("write", job, "--eof").returncode == 0
    assert run("logs", "-f", job).stdout == b"hello world\na\0\xff\n"
    late = jw("write", job, "late")
    assert late.returncode == 1
    assert f"job {job} is exited" in late.stderr


def test_the_input_outlives_jw(jw: "Jw") -> None:
    """After kill -9 of `jw` the next one goes on; with the option the input ends."""
    for option, expected in ([], b"first\nsecond\n"), (["--stdin-close-on-disconnect"], b"first\n"):
        call = subprocess.Popen(
            [*COMMAND, "run", "-i", "--name", f"outlives{len(option)}", *option, "--", "cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert call.stdin is not None
        assert call.stdout is not None
        call.stdin.write(b"first\n")
        call.stdin.flush()
        assert call.stdout.readline() == b"first\n"
        call.send_signal(signal.SIGKILL)
        call.wait(DEADLINE)
        call.stdin.close()
        call.stdout.close()
        if not option:
            assert jw("write", f"outlives{len(option)}", "second", "--eof").returncode == 0
        assert run("logs", "-f", f"outlives{len(option)}").stdout == expected
