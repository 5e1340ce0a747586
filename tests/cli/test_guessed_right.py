"""Options and words as people know them from docker, kubectl and systemctl do what these do."""

import json
import re
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobworker.errors import InvalidSpec
from jobworker.units import seconds, size
from jobworker_cli.moments import moment

if TYPE_CHECKING:
    from tests.cli.conftest import Jw

HELP = """\
Usage: jw explain [OPTIONS] JOB

  Explain why a job is in its state: what happened, in order, and what caused
  it.

Arguments:
  JOB  An id, a unique prefix of one, or a name.  [required]

Options:
  -q, --quiet  Print ids only.
  --json       Print the RPC result as one line of JSON.
  -h, --help   Show this message and exit.
"""


def test_a_job_that_is_removed(jw: "Jw") -> None:
    """--rm keeps the output and the exit code, and nothing else; also of a job that did not start."""
    done = jw("run", "--rm", "--name", "removed", "--", "sh", "-c", "echo out; exit 3")
    assert (done.returncode, done.stdout) == (3, "out\n")
    done = jw("run", "--rm", "--name", "removed", "--", "no-such-program")
    assert (done.returncode, "(job " in done.stderr, "jw status" in done.stderr) == (127, False, False)
    assert "removed" not in jw.out("ps", "-a", "--filter", "name=removed")
    assert "--detach" in jw("run", "--rm", "-d", "true").stderr


def test_variables_from_here_and_from_files(jw: "Jw", tmp_path: Path) -> None:
    """As docker reads them: a name alone is taken from here, quotes are part of the value, # begins a comment."""
    file = tmp_path / "env"
    file.write_bytes(b"\xef\xbb\xbfA=1\r\n# no\n\n  FROM_HERE\nNOWHERE_AT_ALL\nB='x y'\nC=\xff\nD=\n")
    options = ["--env-file", str(file), "-e", "A=2", "-e", "ALSO_HERE"]
    line = ["run", "--rm", *options, "--", "sh", "-c", 'env | grep -av "^PATH" | od -c']
    done = jw(*line, FROM_HERE="f", ALSO_HERE="a=b")
    out = "".join(re.sub(r"^\d+|\s", "", row).replace("\\n", "\n") for row in done.stdout.splitlines())
    for variable in ("A=2\n", "FROM_HERE=f\n", "ALSO_HERE=a=b\n", "B='xy'\n", "C=377\n", "D=\n"):
        assert f"\n{variable}" in f"\n{out}", (variable, done)
    assert "NOWHERE" not in out
    assert f"{file}:5: NOWHERE_AT_ALL has no value here" in done.stderr
    for bad, words in (("/no/such", "No such file"), (str(tmp_path), "Is a directory")):
        assert words in jw("run", "--env-file", bad, "true").stderr
    file.write_text("A=1\nB C\n")
    done = jw("run", "--env-file", str(file), "true")
    assert (done.returncode, f"{file}:2: 'B C'; expected NAME=VALUE" in done.stderr) == (2, True), done


def test_jobs_of_a_state_a_name_a_label(jw: "Jw") -> None:
    ended = jw.out("run", "-d", "--name", "filtered", "--label", "app=f1", "true")
    left = jw.out("run", "-d", "--name", "filtered", "--label", "app=f2", "sleep", "600")
    jw("wait", ended)
    cases = {
        "state=exited": {ended},
        "status=running": {left},
        "state=paused": set(),
        "label=app=f1": set(),
        "label=app": {left},
    }
    for text, expected in cases.items():
        found = jw.out("ps", "-q", "-f", text, "-f", "name=filtered").split()
        assert set(found) == expected, text
    assert jw.out("ps", "-aq", "-f", "label=app=f1") == ended
    for text in ("colour=red", "state=flying", "name"):
        done = jw("ps", "-f", text)
        assert (done.returncode, "; expected one of " in done.stderr) == (2, True), done
    assert jw("kill", "-9", left).returncode == 0
    assert jw("wait", left).returncode == 137


def test_params_as_one_object(jw: "Jw") -> None:
    assert len(json.loads(jw.out("rpc", "job.list", '{"limit": 1}'))["jobs"]) <= 1
    assert json.loads(jw.out("rpc", "job.list", '{"limit": 5}', 'states=["paused"]'))["jobs"] == []
    for text, words in (("[1]", "expected an object"), ("{limit", "not JSON"), ("{" * 5000, "not JSON")):
        done = jw("rpc", "job.list", text)
        assert (done.returncode, words in done.stderr) == (2, True), done


def test_the_agent_as_with_systemctl(jw: "Jw", tmp_path: Path) -> None:
    """`agent status` exits with 3 if no agent runs, and starts none; `agent logs` prints its last lines."""
    assert re.fullmatch(r"agent \S+ \(pid \d+\) on wss://\S+ runs \d+ jobs?", jw.out("agent", "status"))
    assert json.loads(jw.out("agent", "status", "--json"))["running"] is True
    home = tmp_path / "none"
    done = jw("agent", "status", JOBWORKER_HOME=str(home))
    assert (done.returncode, done.stdout, home.exists()) == (3, f"no agent runs on {home}\n", False), done
    home.mkdir(mode=0o700)
    (home / "agent.log").write_text("one\ntwo\nthree\n")
    assert jw("agent", "logs", "-n", "2", JOBWORKER_HOME=str(home)).stdout == "two\nthree\n"
    following = jw.start("agent", "logs", "-f", JOBWORKER_HOME=str(home))
    following.wait_for(b"three\n")
    with (home / "agent.log").open("a") as log:
        log.write("four\n")
    following.wait_for(b"three\nfour\n")
    (home / "agent.log").unlink()
    assert "jw agent status" in jw("agent", "logs", JOBWORKER_HOME=str(home)).stderr


def test_empty_and_binary_words(jw: "Jw") -> None:
    for word in ("", " "):
        done = jw("stop", word)
        assert (done.returncode, "perhaps a variable is not set" in done.stderr) == (3, True), done
        assert jw("logs", word).returncode == 3
    for line in (["stop", "\udcff"], ["status", "a\udcff"], ["logs", "\udcff"]):
        done = jw(*line)
        assert (done.returncode, "it is not UTF-8" in done.stderr) == (3, True), done
    done = jw("")
    assert (done.returncode, "an empty word" in done.stderr) == (2, True), done
    assert jw("\udcff").returncode == 2


def test_a_method_that_the_agent_lacks(jw: "Jw") -> None:
    """As an older agent answers."""
    done = jw("rpc", "job.levitate")
    assert "the agent may be older or newer than this jw" in done.stderr
    assert re.search("^hint: jw agent status", done.stderr, re.MULTILINE), done


def test_help_of_a_command(jw: "Jw") -> None:
    for line in (["explain", "--help"], ["help", "why"], ["explain", "web", "-h"]):
        done = jw(*line, COLUMNS="80")
        assert (done.returncode, done.stdout, done.stderr) == (0, HELP, ""), done


SECONDS = {"90sec": 90, "5 minutes": 300, "1hr": 3600, "1h30m": 5400, "1 h 30 min": 5400, "2w": 1209600, "500ms": 0.5}
SIZES = {
    "64m": 64_000_000,
    "64M": 64_000_000,
    "64mb": 64_000_000,
    "64Mi": 64 << 20,
    "64mib": 64 << 20,
    "1.5g": 15 * 10**8,
}
NONE = ["90secx", "1month", "1h30", "30m1h", "10 m s", "1hs", "64mm", "64i", "64iB", "MB", "6 4", "", "٣"]


def test_durations_and_sizes_as_people_write_them() -> None:
    assert {text: seconds(text, "x") for text in SECONDS} == SECONDS
    assert {text: size(text, "x") for text in SIZES} == SIZES
    for text in NONE:
        for read in (seconds, size):
            with pytest.raises(InvalidSpec):
                read(text, "x")


def test_moments_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the zone of `jw`; what cannot be read goes to the agent, which names it."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        now = datetime.now().astimezone()
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        expected: dict[str, Any] = {
            "2026-11-28": "2026-11-28T00:00:00+05:30",
            "2026-11-28 9:30": "2026-11-28T09:30:00+05:30",
            "2026-11-28T14:30:01": "2026-11-28T14:30:01+05:30",
            "@1764500000": "2025-11-30T16:23:20+05:30",
            "1764500000": "2025-11-30T16:23:20+05:30",
            "yesterday": (midnight - timedelta(days=1)).isoformat(),
            "10m": "10m",
            "10m ago": "10m",
            "-1h": "1h",
            "2026-11-28T14:30:01Z": "2026-11-28T14:30:01Z",
            "2026-02-30": "2026-02-30",
            "soon": "soon",
        }
        assert {text: moment(text) for text in expected} == expected
        for minutes in (-5, 5):
            text = (now + timedelta(minutes=minutes)).strftime("%H:%M")
            then = datetime.fromisoformat(moment(text))
            assert timedelta(0) <= datetime.now().astimezone() - then < timedelta(days=1), text
    finally:
        monkeypatch.undo()
        time.tzset()
