"""jw logs: by lines, times and streams, of one job or several, once or until the end."""

import json
import os
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Jw

SPEAKS = "for n in 1 2 3; do echo out $n; sleep 0.03; echo err $n >&2; sleep 0.03; done"


@pytest.fixture
def spoken(jw: "Jw") -> str:
    """A job that has written three lines to each stream."""
    jw("run", "--name", "speaker", "--", "sh", "-c", SPEAKS)
    return str(jw.job("speaker")["id"])


def test_the_last_lines(jw: "Jw", spoken: str) -> None:
    done = jw("logs", "-n", "3", spoken)
    assert (done.stdout, done.stderr) == ("out 3\n", "err 2\nerr 3\n")
    assert jw("logs", "-n", "0", spoken).stdout == ""
    assert jw("logs", "-n", "2", "--stdout", spoken).stdout == "out 2\nout 3\n"


def test_one_stream(jw: "Jw", spoken: str) -> None:
    done = jw("logs", "--stderr", spoken)
    assert (done.stdout, done.stderr) == ("", "err 1\nerr 2\nerr 3\n")


def test_times(jw: "Jw", spoken: str) -> None:
    """Each line begins with the time of its own arrival; they can be asked for."""
    lines = jw.out("logs", "-t", "--stdout", spoken).splitlines()
    times = [line.split()[0] for line in lines]
    assert times == sorted(set(times))
    assert [line.split(" ", 1)[1] for line in lines] == ["out 1", "out 2", "out 3"]
    assert jw.out("logs", "--stdout", "--since", times[1], spoken) == "out 2\nout 3"
    assert jw.out("logs", "--stdout", "--until", times[1], spoken) == "out 1"
    assert jw.out("logs", "--stdout", "--since", "1h", spoken) == "out 1\nout 2\nout 3"


def test_several_jobs(jw: "Jw", spoken: str) -> None:
    """Each line begins with its job, also an incomplete last line; lines are not mixed."""
    jw.out("run", "--name", "b", "--", "printf", "one\ntwo")
    done = jw("logs", "speaker", "b")
    lines = done.stdout.splitlines()
    assert sorted(lines) == ["b       | one", "b       | two", *(f"speaker | out {n}" for n in (1, 2, 3))]
    assert done.stderr.splitlines() == [f"speaker | err {n}" for n in (1, 2, 3)]
    both = jw.out("logs", "-t", "--stdout", "speaker", "b").splitlines()
    assert all(re.match(r"(speaker|b      ) \| 2\d{3}-\S+Z (out \d|one|two)$", line) for line in both)
    ends = [json.loads(line) for line in jw.out("logs", "--json", "speaker", "b").splitlines()]
    assert {line["job"] for line in ends} == {spoken, jw.job("b")["id"]}


def test_follow_to_the_end_of_all(jw: "Jw") -> None:
    """It ends with the last job, and by choice with the code of the first that failed."""
    jw.out("run", "-d", "--name", "x", "--", "sh", "-c", "echo up; sleep 0.3; echo x; exit 0")
    jw.out("run", "-d", "--name", "y", "--", "sh", "-c", "echo up; sleep 0.5; echo y; exit 7")
    following = jw.start("logs", "-f", "--exit-code", "x", "y")
    following.wait_for(rb"y \| y\n")
    assert following.end() == 7
    assert jw("logs", "-f", "y").returncode == 0
    assert jw("logs", "-f", "--exit-code", "x").returncode == 0


@pytest.mark.parametrize(
    "options",
    [
        ("-n", "-1"),
        ("-n", "1", "--offset", "0"),
        ("--since", "1h", "--offset", "0"),
        ("-f", "--until", "1h"),
        ("--exit-code",),
    ],
    ids=" ".join,
)
def test_usage(jw: "Jw", options: tuple[str, ...]) -> None:
    done = jw("logs", *options, "speaker")
    assert done.returncode == 2
    assert done.stderr.startswith("jw: error: ")


def test_what_the_agent_refuses(jw: "Jw", spoken: str) -> None:
    done = jw("logs", "--since", "long ago", spoken)
    assert done.returncode == 1
    assert "expected a time with its zone" in done.stderr
    assert jw("logs", "no-such-job").returncode == 3


def test_lines_that_match(jw: "Jw", spoken: str) -> None:
    """Found by the agent, or in what it sends: the same lines; without any, the exit code is that of grep."""
    for more in ((), ("-n", "100"), ("--since", "1h"), ("-f",)):
        done = jw("logs", "--grep", "[13]$", *more, spoken)
        assert (done.stdout, done.stderr, done.returncode) == ("out 1\nout 3\n", "err 1\nerr 3\n", 0)
        assert jw("logs", "--grep", "ERR 2", "-i", "--stderr", *more, spoken).stderr == "err 2\n"
        none = jw("logs", "--grep", "err", "--stdout", *more, spoken)
        assert (none.stdout, none.returncode) == ("", 1)
    assert re.fullmatch(r"2\d{3}-\S+Z out 2\n", jw("logs", "-t", "--stdout", "--grep", "2", spoken).stdout)
    (line, _) = (json.loads(line) for line in jw.out("logs", "--json", "--grep", "out 2", spoken).splitlines())
    assert (line["offset"], line["data"]) == (12, "out 2\n")
    jw.out("run", "--name", "cut", "--", "sh", "-c", "printf '%020000d x %020000d\\n' 0 0; printf 'last x'")
    assert re.fullmatch("…0+ x 0+…\nlast x\n", jw("logs", "--grep", "x", "cut").stdout)
    both = jw("logs", "--grep", "x|t 2", "cut", "speaker").stdout.splitlines()
    assert {"cut     | last x", "speaker | out 2"} < {*both}
    assert len(both) == 3
    for wrong in (["--grep", ""], ["-i"], ["-f", "--grep", "("]):
        assert jw("logs", *wrong, spoken).returncode == 2
    refused = jw("logs", "--grep", "(", spoken)
    assert (refused.returncode, "RE2" in refused.stderr) == (1, True)


def test_lines_that_match_as_they_come(jw: "Jw", tmp_path: "Path") -> None:
    """A line is printed when it is whole, not before."""
    go = tmp_path / "go"
    os.mkfifo(go)
    jw.out(
        "run",
        "-d",
        "--name",
        "live",
        "--",
        "sh",
        "-c",
        f"echo no; printf 'fou'; echo no >&2; read x <{go}; echo nd; echo no",
    )
    following = jw.start("logs", "-f", "--grep", "^found$", "live")
    go.write_text("x\n")
    following.wait_for(rb"found\n")
    assert following.end() == 0
