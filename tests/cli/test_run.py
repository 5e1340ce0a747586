"""`jw run`: the job's bytes and the job's code, and nothing of ours among them."""

import base64
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.conftest import DEADLINE

if TYPE_CHECKING:
    from tests.cli.conftest import Jw

COMMAND = [sys.executable, "-m", "jobworker_cli"]
ALL_BYTES = bytes(range(256)) * 3


def test_the_exit_code_is_the_jobs(jw: "Jw") -> None:
    for code in (0, 255):
        done = jw("run", "--", "sh", "-c", f"exit {code}")
        assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_options_stop_at_the_first_word(jw: "Jw") -> None:
    """The command's own options are its own, with and without `--`."""
    assert jw("run", "echo", "-d", "--name", "x", "--", "-e").stdout == "-d --name x -- -e\n"
    assert jw("run", "--name", "one-word", "--", "echo", "--json").stdout == "--json\n"


def test_echo_of_15000_words_of_99_letters(jw: "Jw") -> None:
    """What the kernel takes for `jw`, it takes for the job."""
    done = jw("run", "--rm", "--", "echo", *["w" * 99] * 15_000)
    assert (done.returncode, done.stdout, done.stderr) == (0, " ".join(["w" * 99] * 15_000) + "\n", "")


@pytest.mark.parametrize("letter", ["\1", "\n", '"', "\u20ac", "\udce9"])
def test_arguments_for_which_json_has_more_bytes(jw: "Jw", letter: str) -> None:
    words = [letter * 40_000] * (1_900_000 // len(os.fsencode(letter * 40_000)))
    # Removed, as `ps` and job.list would show its spec to all tests after this one.
    done = jw("run", "--rm", "--", "sh", "-c", 'printf %s "$@" | md5sum', "sh", *words)
    assert done.stdout.split()[:1] == [hashlib.md5(os.fsencode("".join(words))).hexdigest()], done.stderr[:300]


def test_a_request_that_is_too_large(jw: "Jw", tmp_path: Path) -> None:
    """One error with size and limit, not a connection that is lost again and again."""
    (tmp_path / "variables").write_text("".join(f"V{n}={'w' * 99_000}\n" for n in range(55)))
    done = jw("run", "--env-file", str(tmp_path / "variables"), "--", "true")
    assert done.returncode == 125
    assert re.search(r"the request has 5\d{6} bytes; expected at most 4194304", done.stderr), done.stderr
    assert done.stderr.count("error:") == 1
    assert "connection lost" not in done.stderr


def test_a_script_of_more_than_128_kib(jw: "Jw") -> None:
    """The error of the kernel names no size: of each argument, and of all."""
    done = jw("run", "--shell", *["w" * 99] * 3_000)
    assert done.returncode == 126
    assert "arguments and environment have 300011 bytes, the longest of them 300000" in done.stderr
    assert "expected at most 131072 for each" in done.stderr


def test_a_run_in_a_folder_that_was_removed(jw: "Jw", tmp_path: Path) -> None:
    """The error names the folder; with an absolute folder for the job it does not matter."""
    folder = tmp_path / "removed"

    def run(*options: str) -> "subprocess.CompletedProcess[str]":
        folder.mkdir()
        command = [sys.executable, "-P", "-m", "jobworker_cli", "run", *options, "--", "pwd"]
        script = f"cd {folder} && rmdir {folder} && exec {shlex.join(command)}"
        return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)

    done = run("-w", "/")
    assert (done.returncode, done.stdout, done.stderr) == (0, "/\n", "")
    for options in ([], ["-w", "inside"]):
        done = run(*options)
        assert f"the current folder {folder} was removed; expected --cwd with an absolute path" in done.stderr
        assert done.returncode == 2


def test_streams_are_kept_apart_and_every_byte_is_the_same(jw: "Jw", tmp_path: Path) -> None:
    """All 256 values arrive untouched, on the stream on which they were written."""
    (tmp_path / "bytes").write_bytes(ALL_BYTES)
    done = subprocess.run(
        [sys.executable, "-m", "jobworker_cli", "run", "--shell", "cat bytes; tac bytes >&2"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert done.stdout == ALL_BYTES
    assert sorted(done.stderr) == sorted(ALL_BYTES)
    assert done.stderr != ALL_BYTES


def test_what_the_process_is(jw: "Jw") -> None:
    """Umask, niceness and limits are those of the options; a limit is one number, or soft and hard."""
    asked = ["--umask", "027", "--nice", "3", "--rlimit", "nofile=50:60", "--rlimit", "core=0", "--shell"]
    done = jw("run", *asked, "umask; nice; ulimit -Sn; ulimit -Hn; ulimit -c")
    assert (done.returncode, done.stdout.split()) == (0, ["0027", "3", "50", "60", "0"]), done.stderr
    done = jw("run", "--rlimit", "core=unlimited", "--name", "unlimited", "true")
    assert jw.job("unlimited")["spec"]["rlimits"] == {"core": "unlimited"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_as_another_user(jw: "Jw") -> None:
    """`-u USER` and `-u USER:GROUP`; a folder that the user may not enter is named."""
    assert jw("run", "-u", "daemon", "-w", "/", "--", "sh", "-c", "id -u; id -g").stdout.split() == ["1", "1"]
    assert jw("run", "-u", "1:nogroup", "-w", "/", "--", "sh", "-c", "id -u; id -g").stdout.split() == ["1", "65534"]
    done = jw("run", "-u", "daemon", "-w", "/root", "true")
    assert done.returncode == 125
    assert "cannot change to the folder '/root' as daemon: Permission denied" in done.stderr


ENDS: list[tuple[list[str], int, str]] = [
    (["--timeout", "0.2", "sleep", "60"], 124, "timed out after 0.2 s"),
    (["-w", "/nonexistent", "true"], 125, "cannot change to the folder"),
    (["--timeout", "soon", "true"], 125, "timeout"),
    (["--stop-strategy", "nonsense", "true"], 125, "no stop strategy"),
    (["-m", "64Mibs", "true"], 125, 'expected bytes or a text like "64MiB"'),
    (["-u", "no-such-user", "true"], 125, "expected a user of this host"),
    (["-u", "root:no-such-group", "true"], 125, "expected a group of this host"),
    (["--umask", "9", "true"], 125, "expected octal digits"),
    (["--nice", "20", "true"], 125, "-20 to 19"),
    (["--rlimit", "moon=1", "true"], 125, "rlimits.moon"),
    (["--rlimit", "nofile=x", "true"], 125, "rlimits.nofile"),
    (["--rlimit", "nofile", "true"], 2, "expected K=V"),
    (["--stdin-close-on-disconnect", "true"], 2, "use it with -i"),
    (["-t", "true"], 2, "-tt"),
    (["--idle-timeout", "0", "true"], 125, "idle"),
    (["/etc/passwd"], 126, "Permission denied"),
    (["/"], 126, "cannot execute"),
    (["no-such-program"], 127, "No such file or directory"),
    (["sh", "-c", "kill -9 $$"], 137, "killed by SIGKILL, which jobworker did not send"),
    (["sh", "-c", "kill -40 $$"], 168, "killed by SIGRT"),
    (["--nonsense", "true"], 2, "hint: jw run --help"),
    (["-e", "=value", "true"], 2, "expected NAME=VALUE"),
    (["-q", "true"], 2, "use it with --detach"),
    ([], 2, "CMD... is missing"),
]


def test_other_ends_have_their_codes(jw: "Jw") -> None:
    """All at once: each is a `jw` of its own."""
    calls = [(case, jw.start("run", *case[0])) for case in ENDS]
    for (arguments, code, words), call in calls:
        assert call.end() == code, (arguments, call.said)
        assert words.encode() in call.said["stderr"], arguments
        assert not call.said["stdout"]
        assert b"Traceback" not in call.said["stderr"]


def test_a_job_that_did_not_start_is_named(jw: "Jw") -> None:
    """The error has the job's id, to find out why."""
    done = jw("run", "--name", "stillborn", "no-such-program")
    job = jw.job("stillborn")["id"]
    assert f"(job {job})" in done.stderr
    assert f"hint: jw status {job}\n" in done.stderr


def test_the_options_reach_the_spec(jw: "Jw", tmp_path: Path) -> None:
    options = ["-e", "A=1=2", "-e", "B=", "-l", "team=ops", "--name", "optional", "--timeout", "10m", "--grace", "2"]
    stop = ["--stop-strategy", "kill", "--stop-signal", "INT", "--no-pid-namespace"]
    done = jw("run", *options, *stop, "-w", ".", "sh", "-c", "echo $A/$B; pwd", cwd=str(tmp_path))
    assert done.stdout == f"1=2/\n{tmp_path}\n"
    spec = jw.job("optional")["spec"]
    assert spec == {
        "argv": ["sh", "-c", "echo $A/$B; pwd"],
        "name": "optional",
        "env": {"A": "1=2", "B": ""},
        "cwd": f"{tmp_path}/.",
        "timeout": "10m",
        "stop": {"strategy": "kill", "signal": "INT", "grace": 2.0},
        "labels": {"team": "ops"},
        "pid_namespace": False,
    }


def test_a_local_job_runs_in_the_folder_of_jw(jw: "Jw", tmp_path: Path) -> None:
    assert jw("run", "pwd", cwd=str(tmp_path)).stdout == f"{tmp_path}\n"


def test_detached_prints_the_id_alone(jw: "Jw") -> None:
    done = jw("run", "-d", "--name", "detached", "sleep", "60")
    assert done.returncode == 0
    assert not done.stderr
    assert done.stdout == jw.job("detached")["id"] + "\n"
    assert json.loads(jw("run", "-d", "--json", "true").stdout)["state"] in ("running", "exited")
    jw.kill("detached")


def test_the_same_key_is_the_same_job(jw: "Jw") -> None:
    first = jw("run", "--key", "k1", "sh", "-c", "echo $JOBWORKER_JOB_ID; exit 4")
    again = jw("run", "--key", "k1", "sh", "-c", "echo $JOBWORKER_JOB_ID; exit 4")
    assert (again.returncode, again.stdout) == (4, first.stdout)
    assert jw("run", "-d", "--key", "k1", "sh", "-c", "echo $JOBWORKER_JOB_ID; exit 4").stdout == first.stdout
    other = jw("run", "--key", "k1", "false")
    assert other.returncode == 125
    assert "another spec" in other.stderr


def test_json_is_one_line_for_each_thing(jw: "Jw") -> None:
    done = jw("run", "--json", "sh", "-c", "printf 'a\\377'; exit 2")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 2
    assert set(lines[0]) == {"job"}
    assert "".join(line["encoding"] for line in lines[1:-1]) in ("base64", "utf8base64")
    assert lines[-1]["exit"]["code"] == 2
    assert lines[-1]["offset"] == 2


def test_a_reader_that_leaves_does_not_end_the_job(jw: "Jw") -> None:
    """The job is left running, and jw prints that."""
    running = subprocess.Popen(
        [sys.executable, "-m", "jobworker_cli", "run", "--name", "endless", "yes"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout
    assert os.read(running.stdout.fileno(), 2) == b"y\n"
    running.stdout.close()
    assert running.stderr
    said = running.stderr.read()
    running.stderr.close()
    assert running.wait() == 130
    job = jw.job("endless")["id"]
    assert said == f"jw: job {job} is left running\nhint: jw logs -f {job}\n"
    jw.kill("endless")


def test_words_variables_and_folders_that_are_not_utf_8(jw: "Jw", tmp_path: Path) -> None:
    """Their bytes get to the job; people see them as a shell takes them, programs as base64."""
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    script = 'printf "%s|" "$@" "$V"; pwd'
    words: list[str | bytes] = [*COMMAND, "run", "--name", "bytes", "--env", b"V=\xfe=1"]
    words += ["sh", "-c", script, "sh", b"a\xff'", "\u20ac\n"]
    done = subprocess.run(words, cwd=folder, capture_output=True, timeout=DEADLINE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"a\xff'|\xe2\x82\xac\n|\xfe=1|" + folder + b"\n"
    spec = json.loads(jw.out("status", "--json", "bytes"))["spec"]
    assert spec["argv"][3:] == ["sh", {"base64": base64.b64encode(b"a\xff'").decode()}, "\u20ac\n"]
    assert spec["env"] == {"V": {"base64": base64.b64encode(b"\xfe=1").decode()}}
    assert spec["cwd"] == {"base64": base64.b64encode(folder).decode()}
    word = r"$'a\xff\''"
    status = jw.out("status", "bytes")
    assert word in status
    assert f"$'{tmp_path}/caf\\xe9'" in status
    assert word in jw.out("explain", "bytes")
    assert word in jw.out("ps", "--all")
    assert subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True).stdout == b"a\xff'"


def test_a_script_that_is_not_utf_8(jw: "Jw") -> None:
    done = subprocess.run(
        [*COMMAND, "run", "--name", "script", "--shell", b"printf '\xe9'"],
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\xe9", b"")
    assert r"$'printf \'\xe9\''" in jw.out("status", "script")


def test_programs_and_folders_that_are_missing_and_not_utf_8(jw: "Jw", tmp_path: Path) -> None:
    """The errors of the kernel get back, with the name."""
    missing = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    program = jw("run", missing)
    assert program.returncode == 127
    assert rf"cannot execute $'{tmp_path}/\xff'" in program.stderr
    folder = jw("run", "--cwd", missing, "true")
    assert folder.returncode == 125
    assert rf"cannot change to the folder $'{tmp_path}/\xff'" in folder.stderr


def test_a_name_of_a_variable_that_is_not_utf_8_is_refused(jw: "Jw") -> None:
    done = jw("run", "--env", os.fsdecode(b"\xff=1"), "true")
    assert done.returncode == 2
    assert "UTF-8" in done.stderr


def test_what_run_needs_not_it_does_not_import(jw: "Jw") -> None:
    """The start of jw is short because of what it leaves alone."""
    script = (
        "import os, sys\n"
        "leave = os._exit\n"
        "def told(code):\n"
        "    print(sorted({name.split('.')[0] for name in sys.modules}), flush=True)\n"
        "    leave(code)\n"
        "os._exit = told\n"
        "sys.argv = ['jw', '-c', 'local', 'run', 'true']\n"
        "from jobworker_cli.app import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "'json'" in done.stdout
    for name in ("rich", "cryptography", "jsonrpcserver", "pluggy", "uvloop", "asyncio", "websockets", "msgspec"):
        assert f"'{name}'" not in done.stdout


def test_a_sandbox(jw: "Jw", tmp_path: Path) -> None:
    """The options are the fields of the spec; each alone leaves the others as they are."""
    for options, expected in (
        (["--no-network"], {"network": False, "userns": True, "write": ["/"]}),
        (["--no-userns"], {"network": True, "userns": False, "write": ["/"]}),
        (["--write", "/a", "--write", "/b"], {"network": True, "userns": True, "write": ["/a", "/b"]}),
    ):
        made = json.loads(jw("create", "--json", *options, "true").stdout)
        assert made["spec"]["sandbox"] == expected, options
    if "write" in jw.call("agent.info")["capabilities"]["sandbox"]:
        done = jw("run", "--write", "/dev/shm", "--shell", f"touch {tmp_path}/file")
        assert done.returncode == 1
        assert not (tmp_path / "file").exists()
