"""The verbs on jobs and the ways to look at them."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Jw


def test_a_job_from_its_creation_to_its_removal(jw: "Jw") -> None:
    """create, ps, start, status, stop, rm: each prints the state at that time."""
    job = jw.out("create", "--name", "life", "-l", "a=b", "sleep", "60")
    assert re.fullmatch(r"[0-9a-z]{12}", job)
    assert re.search(rf"^{job}  life +created ", jw.out("ps"), re.MULTILINE)
    assert jw.out("start", "life") == f"{job}  running"
    assert re.search(rf"^{job}  life +running ", jw.out("ps"), re.MULTILINE)
    assert job in jw.out("ps", "-q").split()
    again = jw("start", "life")
    assert again.returncode == 5
    assert again.stderr == f"jw: error: job {job} is running; expected created\nhint: jw status {job}\n"
    assert jw("rm", "life").returncode == 5
    assert jw.out("stop", "life") == f"{job}  stopped SIGTERM"
    assert job not in jw.out("ps")
    assert re.search(rf"^{job}  life +stopped SIGTERM ", jw.out("ps", "-a"), re.MULTILINE)
    assert jw("stop", "life").returncode == 5
    said = jw.out("status", "life")
    for line in (rf"id: +{job}", r"state: +exited", r"by: +local", r"command: +sleep 60", r"labels: +a=b"):
        assert re.search(f"^{line}$", said, re.MULTILINE), said
    assert re.search(r"^step: .* signal SIGTERM to all alive 1 delivered 1$", said, re.MULTILINE)
    assert jw.out("rm", "life") == job
    assert jw("status", "life").returncode == 3


def test_several_jobs_at_once(jw: "Jw") -> None:
    """Each failure is reported, the others are done, the first one's code is the code."""
    jobs = [jw.out("run", "-d", "sleep", "60") for _ in range(2)]
    done = jw("kill", "-q", jobs[0], "no-such-job", jobs[1])
    assert done.returncode == 3
    assert sorted(done.stdout.split()) == sorted(jobs)
    assert done.stderr == "jw: error: there is no job 'no-such-job'\nhint: jw ps -a\n"
    assert sorted(jw("rm", *jobs).stdout.split()) == sorted(jobs)


def test_rm_force_ends_the_job(jw: "Jw") -> None:
    job = jw.out("run", "-d", "sleep", "60")
    assert jw.out("rm", "-f", job) == job
    assert jw("status", job).returncode == 3


def test_stop_options(jw: "Jw") -> None:
    jw.out("run", "-d", "--name", "stopped", "sleep", "60")
    assert jw.out("stop", "--signal", "INT", "--grace", "5s", "stopped").endswith("stopped SIGINT")
    jw.out("run", "-d", "--name", "struck", "sleep", "60")
    assert jw.out("stop", "--strategy", "kill", "struck").endswith("stopped SIGKILL")
    refused = jw("kill", "-s", "HUP", "struck")
    assert (refused.returncode, "expected running" in refused.stderr) == (5, True)
    job = jw.out("run", "-d", "--name", "signalled", "sleep", "60")
    assert jw.out("kill", "-s", "HUP", "signalled") == job
    assert jw("wait", "signalled").returncode == 128 + 1


def test_wait_exits_as_the_job_does(jw: "Jw") -> None:
    job = jw.out("run", "-d", "--name", "awaited", "sh", "-c", "sleep 0.3; exit 17")
    done = jw("wait", "awaited")
    assert (done.returncode, done.stdout, done.stderr) == (17, "", "")
    assert jw("wait", "-q", job).stdout == f"{job}\n"
    jw("run", "--timeout", "0.1", "--name", "late", "sleep", "60")
    assert jw("wait", "late").returncode == 124
    assert jw("wait", "no-such-job").returncode == 125
    assert jw("wait").returncode == 2


def test_logs(jw: "Jw") -> None:
    """From byte 0 or any other, both streams or one, with times, as JSON."""
    script = "echo one; sleep 0.05; echo two >&2; sleep 0.05; echo three"
    jw.out("run", "-d", "--name", "logged", "sh", "-c", script)
    jw("wait", "logged")
    done = jw("logs", "logged")
    assert (done.returncode, done.stdout, done.stderr) == (0, "one\nthree\n", "two\n")
    assert jw("logs", "--stdout", "logged").stderr == ""
    assert jw("logs", "--stderr", "logged").stdout == ""
    assert jw.out("logs", "--offset", "8", "logged") == "three"
    assert re.fullmatch(r"(\d{4}-\d\d-\d\dT[\d:.]+Z (one|three)\n){2}", jw("logs", "-t", "logged").stdout)
    lines = [json.loads(line) for line in jw.out("logs", "--json", "logged").splitlines()]
    assert [(line["offset"], line["stream"]) for line in lines[:-1]] == [(0, "stdout"), (4, "stderr"), (8, "stdout")]
    assert lines[-1]["exit"]["code"] == 0
    beyond = jw("logs", "--offset", "99", "logged")
    assert (beyond.returncode, beyond.stdout) == (1, "")
    assert "expected 0 to 14" in beyond.stderr


def test_logs_follow_until_the_end(jw: "Jw") -> None:
    """-f shows what comes as it comes and ends with the job; without it, logs do not wait."""
    job = jw.out("run", "-d", "sh", "-c", "echo begun; read line <jw-never 2>/dev/null || sleep 60")
    following = jw.start("logs", "-f", job)
    following.wait_for(b"begun\n")
    assert jw.out("logs", job) == "begun"
    assert following.process.poll() is None
    jw.out("kill", job)
    assert following.end() == 0


def test_logs_end_quietly_with_their_reader(jw: "Jw") -> None:
    jw.out("run", "-d", "--name", "long", "seq", "200000")
    jw("wait", "long")
    done = subprocess.run(
        ["sh", "-c", '"$0" -m jobworker_cli logs long | head -n 2', sys.executable],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("1\n2\n", "")


def test_a_job_is_an_id_a_prefix_or_the_newest_of_a_name(jw: "Jw") -> None:
    older, newer = (jw.out("create", "--name", "twin", "true") for _ in range(2))
    assert jw.out("status", "-q", "twin") == newer
    assert jw.out("status", "-q", older) == older
    prefix = next(newer[:n] for n in range(1, 13) if not older.startswith(newer[:n]))
    assert jw.out("status", "-q", prefix) == newer
    ambiguous = jw("status", newer[:2])
    assert ambiguous.returncode == 1
    for text in (f"'{newer[:2]}' is ambiguous", newer, older, "expected a whole id", "hint: jw ps -a"):
        assert text in ambiguous.stderr
    assert jw("wait", newer[:2]).returncode == 125
    jw.out("create", "--name", newer[:11], "true")
    assert "is ambiguous" in jw("rm", newer[:11]).stderr


@pytest.mark.parametrize(
    ("command", "shape"),
    [
        (["ps", "-a", "--json"], {"jobs", "next"}),
        (["token", "list", "--json"], {"tokens"}),
        (["version", "--json"], {"version"}),
        (["rpc", "auth.whoami"], {"name", "provider", "roles", "issuer", "expires_at", "grants", "methods"}),
        (["rpc", "job.list", "limit=1", 'states=["exited"]'], {"jobs", "next"}),
    ],
)
def test_json_is_the_result_on_one_line(jw: "Jw", command: list[str], shape: set[str]) -> None:
    line = jw.out(*command)
    assert "\n" not in line
    assert set(json.loads(line)) == shape


def test_json_of_the_verbs_is_the_job(jw: "Jw") -> None:
    job = json.loads(jw.out("create", "--json", "sleep", "60"))["id"]
    assert json.loads(jw.out("start", "--json", job))["state"] == "running"
    assert json.loads(jw.out("kill", "--json", job))["exit"]["signal"] == "SIGKILL"
    assert json.loads(jw("wait", "--json", job).stdout)["id"] == job
    assert json.loads(jw.out("rm", "--json", job)) == {"id": job, "deleted": True}


def test_update(jw: "Jw") -> None:
    """A limit is moved, labels are replaced; nothing to change is a usage error."""
    job = jw.out("run", "-d", "--name", "moved", "--timeout", "1h", "sleep", "60")
    assert jw("update", "moved").returncode == 2
    assert jw.out("update", "-q", "-l", "a=b", "--timeout", "none", "moved") == job
    assert (jw.job("moved")["spec"]["timeout"], jw.job("moved")["labels"]) == (None, {"a": "b"})
    jw("update", "--idle-timeout", "0.1", "moved")
    assert jw("wait", "moved").returncode == 124


def test_explain(jw: "Jw") -> None:
    """What happened, in order; control sequences of the job are shown, not obeyed."""
    jw("run", "--name", "explained", "sh", "-c", "printf 'a\\033[2Jb\\n' >&2; exit 3")
    done = jw("explain", "explained")
    assert done.returncode == 0
    assert "exited with code 3" in done.stdout.splitlines()[0]
    what = [line.split()[1].rstrip(":") for line in done.stdout.splitlines()[1:]]
    assert what == ["created", "started", "exited", "last"]
    assert "\x1b" not in done.stdout
    assert "2Jb" in done.stdout
    assert json.loads(jw("explain", "--json", "explained").stdout)["id"] == jw.job("explained")["id"]


def test_events(jw: "Jw") -> None:
    """One line for each event from a revision on, in words and as JSON, until Ctrl-C."""
    jw.out("run", "--name", "told", "--", "true")
    running = jw.start("events", "--from", "0")
    running.wait_for(rb"\(told\) created by unix:local\n.*\(told\) started\n.*\(told\) exited: exited with code 0\n")
    running.interrupt()
    assert running.end() == 130
    as_json = jw.start("events", "--from", "0", "--json")
    as_json.wait_for(rb'\{"revision":\d+,"time":"[^"]+","event":"created","by":"unix:local"')
    as_json.interrupt()
    assert jw("events", "--from", "-1").returncode == 1


def test_a_hint_is_the_next_command(jw: "Jw") -> None:
    jw("run", "--name", "hinted", "--", "true")
    for line, hint in (
        ("kill -s NOPE hinted", "jw kill --help"),
        ("run --memory 64x -- true", "jw run --help"),
        ("write hinted x", "jw run -i -- CMD"),
        ("screen hinted", "jw run -t -- CMD"),
        ("rpc no.such", "jw agent status"),
    ):
        done = jw(*line.split())
        assert done.returncode, line
        assert done.stderr.endswith(f"hint: {hint}\n"), done.stderr


def test_events_since(jw: "Jw") -> None:
    """They begin at a time, as people write it, or a duration ago."""
    jw.out("run", "--name", "before", "--", "true")
    now = datetime.now(UTC).isoformat()
    jw.out("run", "--name", "after", "--", "true")
    later = jw.start("events", "--since", now)
    later.wait_for(rb"\(after\) exited")
    assert b"(before)" not in later.said["stdout"]
    jw.start("events", "--since", "1h ago").wait_for(rb"\(before\) exited")
    for words in (("--since", "soon"), ("--since", "1h", "--from", "0")):
        assert jw("events", *words).returncode == 2


def test_a_param_that_an_agent_does_not_know(jw: "Jw") -> None:
    """It may be an older one: both versions are the next thing to look at."""
    done = jw("rpc", "job.list", '{"not_yet": 1}')
    assert "not_yet: unknown to this agent, which may be older than this jw" in done.stderr
    assert "hint: jw agent status" in done.stderr


def test_audit(jw: "Jw") -> None:
    """Caller, action and job of each entry, as text and as JSON, with filters."""
    jw.out("run", "--name", "audited", "--", "true")
    job = jw.job("audited")["id"]
    jw("start", "audited")
    lines = jw.out("audit", "--job", job).splitlines()
    assert re.fullmatch(rf"\S+Z allowed unix:local from unix:\d+ job.run {job}", lines[0])
    assert re.fullmatch(rf"\S+Z allowed unix:local from \S+ job.start {job} 40901: .*", lines[1])
    assert json.loads(jw.out("audit", "--json", "-n", "1", "--job", job))["method"] == "job.start"
    assert jw.out("audit", "--denied", "--job", job) == ""
