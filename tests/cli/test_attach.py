"""`jw attach`: any number may watch the terminal of a job, one writes, and who that is can change."""

from typing import TYPE_CHECKING, Any

from tests.support.window import shell

if TYPE_CHECKING:
    from tests.cli.conftest import Jw


def test_come_back(window: Any, jw: "Jw") -> None:
    """After detaching, attach shows what was there, and goes on; the exit code is the job's."""
    bash = shell(window, "--name", "come-back")
    bash.type("echo before\r")
    bash.wait_for("before\r\nready")
    bash.type("\x10\x11")
    assert bash.end() == 130
    back = window("attach", "come-back", rows=20, cols=60)
    back.wait_for("before\r\nready")
    back.type("until [ \"$(stty size)\" = '20 60' ]; do sleep 0.05; done; exit 9\r")
    assert back.end() == 9


def test_a_viewer(window: Any, jw: "Jw") -> None:
    """A second client watches, and neither types nor resizes; Ctrl-C leaves it, and the job runs on."""
    bash = shell(window, "--name", "watched", rows=33, cols=99)
    viewer = window("attach", "watched", rows=10, cols=40)
    viewer.wait_for("local writes to job .*: watching only")
    viewer.wait_for(r"ready\$ ")
    viewer.type("echo never\r")
    viewer.resize(11, 41)
    bash.type("stty size\r")
    bash.wait_for("33 99\r\n")
    viewer.wait_for("33 99\r\n")
    assert b"never" not in bash.shown
    viewer.type("\x03")
    viewer.wait_for("left job")
    assert viewer.end() == 0
    bash.type("exit 3\r")
    assert bash.end() == 3


def test_steal(window: Any, jw: "Jw") -> None:
    """The one that takes over writes; the other one is told, watches from then on, and can take over again."""
    bash = shell(window, "--name", "stolen")
    other = window("attach", "--steal", "stolen")
    other.wait_for(r"ready\$ ")
    bash.type("echo never\r")
    bash.wait_for("watching only")
    other.type("echo taken\r")
    other.wait_for("taken\r\nready")
    bash.wait_for("taken\r\nready")
    assert jw.job("stolen")["writer"]["by"] == "local"
    other.type("exit 5\r")
    assert other.end() == 5
    assert bash.end() == 5
    assert "never" not in jw.out("logs", "stolen")


def test_read_only(window: Any, jw: "Jw") -> None:
    """It does not claim, so another client may write."""
    script = "stty -echo; echo up; read x; echo got $x; exec sleep 600"
    job = jw.out("run", "-dt", "--name", "looked-at", "--", "sh", "-c", script)
    viewer = window("attach", "--read-only", job)
    viewer.wait_for("up.*\x1b\\[2;1H")
    viewer.type("never\r")
    assert jw.job("looked-at")["writer"] is None
    jw.out("write", job, "from jw write")
    viewer.wait_for("got from jw write\r\n")
    viewer.type("\x03")
    assert viewer.end() == 0
    jw.out("kill", job)


def test_queries_of_the_past(window: Any, jw: "Jw") -> None:
    """What a job has asked of its terminal is not asked of the terminal of one that comes later, or only watches."""
    script = "printf 'a\\033[6nb\\033[cc\\n'; read x; printf 'd\\033[6ne\\n'; read x"
    job = jw.out("run", "-dt", "--", "sh", "-c", script)
    viewer = window("attach", "-r", job)
    viewer.wait_for("abc")
    jw.out("write", job, "")
    viewer.wait_for("de\r\n")
    for rows in (30, 10):  # one has room for the screen, the other one gets the last lines
        late = window("attach", "-r", job, rows=rows)
        late.wait_for("abc")
        late.wait_for("de")
    writer = window("attach", job)
    writer.wait_for("abc")
    writer.wait_for("de")
    writer.type("\r")
    assert writer.end() == 0


def test_a_late_viewer_of_a_full_screen(window: Any, jw: "Jw") -> None:
    """It gets the screen as it is, also what was drawn long ago, and its own terminal is as before when it leaves."""
    script = r"printf '\033[?1049h\033[?25l\033[20;7Hearly\033[H'; seq 5; seq 3000 | tr '\n' '\r'; read x; "
    script += "printf now; read x"
    job = jw.out("run", "-dt", "--", "sh", "-c", script)
    while "3000" not in jw.out("screen", job):
        pass
    viewer = window("attach", "-r", job)
    viewer.wait_for("\x1b\\[\\?1049h.*3000.*\x1b\\[20H.* early.*\x1b\\[6;1H.*\x1b\\[\\?25l")
    jw.out("write", job, "")
    viewer.wait_for("now")
    viewer.type("\x03")
    viewer.wait_for("\x1b\\[\\?1049l\x1b\\[\\?25h")
    assert viewer.end() == 0
    jw.out("kill", job)


def test_what_cannot_be_attached_to(window: Any, jw: "Jw") -> None:
    """A job without a terminal, and no terminal here: an error, with what works."""
    job = jw.out("run", "-d", "--", "sleep", "600")
    here = window("attach", job)
    here.wait_for("has no terminal")
    assert here.end() == 125
    done = jw("attach", job)
    assert (done.returncode, "jw logs -f" in done.stderr) == (2, True)
    assert jw("attach", "-r", "--steal", job).returncode == 2
    jw.out("kill", job)
