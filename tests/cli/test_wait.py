"""`jw wait`: for the end of one job or several, for a start, for a line; and for no longer than the user wants."""

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Jw

GATED = "read line; echo begun; read line; echo it is ready now; read line; exit {code}"  # steps by `jw write`


def gated(jw: "Jw", name: str, code: int = 0) -> str:
    """Start a job that takes its next step with each line of its input."""
    return jw.out(
        "run", "-d", "-i", "-l", f"test={name.partition('-')[0]}", "--name", name, "sh", "-c", GATED.format(code=code)
    )


def test_several_jobs(jw: "Jw") -> None:
    """All are waited for, and the first code that is not 0 is the code, in the order of the command line."""
    for name, code in (("all-one", 0), ("all-two", 4), ("all-three", 5)):
        gated(jw, name, code)
    waiting = jw.start("wait", "--json", "all-one", "all-two", "all-three")
    for name in ("all-three", "all-two", "all-one"):
        for _ in range(3):
            jw.out("write", name, "on")
    assert waiting.end() == 4
    ended = [json.loads(line) for line in waiting.said["stdout"].splitlines()]
    assert [(job["name"], job["exit"]["code"]) for job in ended] == [("all-one", 0), ("all-two", 4), ("all-three", 5)]
    assert jw("wait", "-q", "all-three", "all-two").returncode == 5
    assert jw("wait", "all-one", "no-such-job").returncode == 125  # 3 would be the code of a job


def test_the_first_of_several(jw: "Jw") -> None:
    """With --any, that one's code is the code, and the others run on; a label names the jobs."""
    gated(jw, "any-one", 3)
    second = gated(jw, "any-two", 6)
    waiting = jw.start("wait", "--any", "-q", "-l", "test=any")
    for _ in range(3):
        jw.out("write", "any-two", "on")
    assert waiting.end() == 6
    assert waiting.said["stdout"].decode() == f"{second}\n"
    assert jw.job("any-one")["state"] == "running"
    jw.kill("any-one")


def test_a_line(jw: "Jw") -> None:
    """It is printed when it is there, whole; a log that ends without it is a failure."""
    gated(jw, "line-one", 0)
    waiting = jw.start("wait", "--for", "log:^it .* (ready|up)", "line-one")
    jw.out("write", "line-one", "on")
    jw.out("write", "line-one", "on")
    assert waiting.end() == 0
    assert waiting.said["stdout"] == b"it is ready now\n"
    assert jw.job("line-one")["state"] == "running"
    jw.out("write", "line-one", "--eof")
    never = jw("wait", "--for", "log:never", "line-one")
    assert (never.returncode, "no line of its output is like 'never'" in never.stderr) == (125, True)


def test_a_start(jw: "Jw") -> None:
    """A job that was created is awaited; one that could not start is a failure, with the code of that."""
    jw.out("create", "--name", "start-one", "sleep", "600")
    waiting = jw.start("wait", "--for", "running", "start-one")
    jw.out("start", "start-one")
    assert waiting.end() == 0
    jw.kill("start-one")
    assert jw("wait", "--for", "running", "start-one").returncode == 0  # it has run
    jw.out("create", "--name", "start-two", "/no/such/program")
    failing = jw.start("wait", "--for", "running", "start-two")
    assert jw("start", "start-two").returncode != 0
    assert failing.end() == 127


def test_a_time_limit(jw: "Jw") -> None:
    """It is one for all jobs; they run on."""
    for name in ("limit-one", "limit-two"):
        gated(jw, name)
    for words in (["limit-one"], ["--for", "log:x", "limit-one"], ["--any", "limit-one", "limit-two"]):
        done = jw("wait", "--timeout", "0.2s", *words)
        assert (done.returncode, "0.2" in done.stderr) == (125, True), done
    for name in ("limit-one", "limit-two"):
        assert jw.job(name)["state"] == "running"
        jw.kill(name)


def test_what_is_wrong(jw: "Jw") -> None:
    gated(jw, "wrong-one")
    for words, wrong in (
        (["x", "--for", "ever"], """--for 'ever'; expected "exited", "running" or "log:REGEX\""""),
        (["x", "--timeout", "soon"], "'soon'; expected seconds"),
        ([], "no job is named"),
        (["wrong-one", "--for", "log:("], "expected a regular expression"),
    ):
        done = jw("wait", *words)
        assert (done.returncode, wrong in done.stderr) == (2, True), done
    jw.kill("wrong-one")
