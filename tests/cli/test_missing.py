"""What a reader or a job did not get is not passed over in silence."""

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
FAST = ["--log-max", "1MiB", "--", "sh", "-c", "head -c 64000000 /dev/zero"]
WORDS = "is not sent to the job"


def test_a_job_faster_than_the_reader_of_its_bounded_log(jw: "Jw") -> None:
    """`jw run … | wc -c` ends with 123 if bytes are missing, and so does `jw logs`; both print how many."""
    process = subprocess.Popen(
        [*COMMAND, "run", "--name", "too-fast", *FAST], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    first = process.stdout.read(1)  # the job runs; nothing more is read until it has ended
    assert jw("wait", "too-fast").returncode == 0
    out = first + process.stdout.read()
    err = process.stderr.read().decode()
    process.stdout.close()
    process.stderr.close()
    assert process.wait(DEADLINE) == 123, err
    assert len(out) < 64_000_000
    assert "bytes of the output of job" in err
    for options in ([], ["-f"], ["--exit-code", "-f"], ["--json"]):
        done = jw("logs", *options, "too-fast")
        assert (done.returncode, "are missing" in done.stderr) == (123, True), (options, done.stderr)
    assert jw("logs", "-n", "0", "too-fast").returncode == 0, "what was not asked for is not missing"


def test_a_part_of_a_log_that_may_be_missing(jw: "Jw") -> None:
    """From a time, the last lines, a search: each reaches into what was dropped, or does not."""
    shell = "seq 1 300000; echo oops >&2"
    job = jw.out("run", "-d", "--log-max", "64KiB", "--", "sh", "-c", shell)
    assert jw("wait", job).returncode == 0
    for options in (["--since", "1h"], ["-n", "200000"], ["--stdout", "-n", "200000"], ["--since", "1h", "--stderr"]):
        done = jw("logs", *options, job)
        assert (done.returncode, done.stderr.count("are missing")) == (123, 1), (options, done.stderr)
    for options in (["--grep", "299999"], ["--grep", "^299999"], ["--grep", "no such line"]):
        done = jw("logs", *options, job)
        assert (done.returncode, done.stderr.count("were not searched")) == (123, 1), (options, done.stderr)
    for options in (["-n", "5"], ["--stdout", "-n", "5"], ["--since", "2100-01-01"], ["--grep", "29999", "-n", "9"]):
        done = jw("logs", *options, job)
        assert (done.returncode, "missing" in done.stderr, "searched" in done.stderr) == (0, False, False), done


def test_a_job_that_failed_and_lacks_bytes_keeps_its_code(jw: "Jw") -> None:
    command = ["--log-max", "64KiB", "--log-keep", "oldest", "--", "sh", "-c", "head -c 999999 /dev/zero; exit 3"]
    done = jw("run", "--name", "fails-and-lacks", *command)
    assert (done.returncode, "are missing" in done.stderr) == (3, True)
    assert jw("logs", "fails-and-lacks").returncode == 123


def test_status_and_explain_have_what_is_missing(jw: "Jw") -> None:
    assert jw("run", "-d", "--name", "dropped", *FAST).returncode == 0
    assert jw("wait", "dropped").returncode == 0
    log = json.loads(jw.out("status", "--json", "dropped"))["log"]
    first = log["first_offset"]
    assert first > 60_000_000
    assert f"64000000 bytes, of which the first {first} are no longer kept" in jw.out("status", "dropped")
    assert f"the first {first} of 64000000 bytes are no longer kept" in jw.out("explain", "dropped")


@pytest.mark.usefixtures("jw")
@pytest.mark.parametrize("arguments", [["run", "cat"], ["run", "-d", "cat"]])
def test_echo_into_jw_run_cat(arguments: list[str], tmp_path: Path) -> None:
    """The input is not sent to the job: a warning reports that, and only if there is any."""
    (tmp_path / "file").write_text("hi\n")
    (tmp_path / "empty").touch()
    command = [*COMMAND, *arguments]
    piped = subprocess.run(command, input=b"hi\n", capture_output=True, timeout=DEADLINE, check=False)
    assert (piped.returncode, piped.stderr.decode().count(WORDS)) == (0, 1), piped
    with (tmp_path / "file").open() as file:
        filed = subprocess.run(command, stdin=file, capture_output=True, timeout=DEADLINE, check=False)
    assert (filed.returncode, filed.stderr.decode().count(WORDS)) == (0, 1), filed
    with (tmp_path / "empty").open() as file:
        assert not subprocess.run(command, stdin=file, capture_output=True, timeout=DEADLINE, check=False).stderr
    with open(os.devnull) as file:
        assert not subprocess.run(command, stdin=file, capture_output=True, timeout=DEADLINE, check=False).stderr
    nothing = subprocess.run(command, input=b"", capture_output=True, timeout=DEADLINE, check=False)
    assert nothing.stderr == b""


@pytest.mark.usefixtures("jw")
def test_input_that_comes_while_the_job_runs() -> None:
    process = subprocess.Popen([*COMMAND, "run", "sh", "-c", "echo up; sleep 1"], stdin=-1, stdout=-1, stderr=-1)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.stdin.write(b"hi\n")
    process.stdin.flush()
    _, err = process.communicate(timeout=DEADLINE)
    assert err.decode().count(WORDS) == 1
