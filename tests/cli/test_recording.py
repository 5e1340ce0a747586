"""`jw logs --cast` and `jw replay`: the log of a terminal as its recording."""

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Jw

SCRIPT = r"stty -echo; printf '\033[?1049hone\033[6n\303'; read x; printf '\244two'; read x; "
SCRIPT += "stty size; sleep 0.3; echo end"


@pytest.fixture
def job(jw: "Jw") -> str:
    """Return a job that has ended: its terminal changed its size between the two parts of a character."""
    if jw("status", "recorded").returncode == 0:  # a test before has run it
        return "recorded"
    job = jw.out("run", "-dt", "--name", "recorded", "--", "sh", "-c", SCRIPT)
    while "one" not in jw.out("screen", job):
        pass
    jw.out("rpc", "job.resize", f"id={job}", "rows=30", "cols=100")
    for _ in range(2):
        jw.out("write", job, "")
    jw("wait", job)
    return "recorded"


def test_cast(jw: "Jw", job: str) -> None:
    """A header, and events in the order of their times; the output together is that of the job."""
    header, *events = map(json.loads, jw.out("logs", "--cast", job).splitlines())
    assert {name: header[name] for name in ("version", "width", "height")} == {
        "version": 2,
        "width": 80,
        "height": 24,
    }
    assert [data for _, kind, data in events if kind == "r"] == ["100x30"]
    output = "".join(data for _, kind, data in events if kind == "o")
    assert output == "\x1b[?1049hone\x1b[6nätwo30 100\r\nend\r\n"
    assert events[0][1:] == ["o", "\x1b[?1049hone\x1b[6n"]
    times = [time for time, _, _ in events]
    assert times == sorted(times)
    assert times[-1] - times[0] > 0.25


@pytest.mark.parametrize("options", [["-f"], ["--tail", "3"], ["--json"], ["other"]], ids=str)
def test_what_a_cast_is_not(jw: "Jw", job: str, options: list[str]) -> None:
    assert jw("logs", "--cast", job, *options).returncode == 2


def test_replay(window: Any, job: str) -> None:
    """It plays without the queries, and the terminal is as before, also its screen."""
    played = window("replay", job, "--speed", "9", "--idle", "0.1", rows=10, cols=40)
    played.wait_for("24 rows of 80 columns, this one has 10 of 40")
    played.wait_for("\x1b\\[\\?1049hone.*two30 100\r\nend\r\n.*\x1b\\[\\?1049l")
    assert played.end() == 0


def test_ctrl_c(window: Any, jw: "Jw") -> None:
    """Also in a long pause; the terminal is set back, and what was typed is neither shown nor left behind."""
    job = jw.out("run", "-dt", "--", "sh", "-c", r"printf '\033[?25lnow'; sleep 100; echo never")
    jw.out("rpc", "stdin.write", f"id={job}", "data=x")
    while "nowx" not in jw.out("screen", job):
        pass
    jw.out("kill", job)
    played = window("replay", "-s", "0.001", job)
    played.wait_for("now")
    played.type("typed\x03")
    assert played.end() == 130
    assert b"\x1b[?25h" in played.shown
    assert b"typed" not in played.shown


def test_what_cannot_be_played(window: Any, jw: "Jw", job: str) -> None:
    """No terminal here, a job without one, a speed that is none."""
    done = jw("replay", job)
    assert (done.returncode, "--cast" in done.stderr) == (2, True)
    assert jw("replay", "--speed", "-1", job).returncode == 2
    without = jw.out("run", "-d", "--", "true")
    shown = window("replay", without)
    shown.wait_for("has no terminal")
    assert shown.end() == 5
    assert jw("logs", "--cast", without).returncode == 5
