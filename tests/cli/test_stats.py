"""`jw stats`, `jw top`, and the limits of `jw run` and `jw update`."""

import json
import re
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Jw

HOLD = [sys.executable, "-I", "-S", "-c", "import time; x = bytearray(60 << 20); time.sleep(1000)"]


def test_stats(jw: "Jw") -> None:
    """Named jobs, or all that run; a table, or a line of JSON for each."""
    jobs = [jw.out("run", "-d", "--name", f"stats{n}", "sleep", "1000") for n in range(2)]
    ended = jw.out("run", "-d", "--name", "stats-over", "true")
    jw("wait", ended)
    head, *rows = jw.out("stats", "stats0", "stats1", "stats-over").splitlines()
    assert head.split() == [
        "ID",
        "NAME",
        "STATE",
        "CPU%",
        "CPU",
        "MEMORY",
        "PEAK",
        "LIMIT",
        "TASKS",
        "READ",
        "WRITTEN",
    ]
    assert [row.split()[0] for row in rows] == [*jobs, ended]
    assert re.search(rf"^{jobs[0]}  stats0 +running +- +\d+\.\d\ds +[\d.]+[KM]iB ", rows[0])
    assert " exited " in rows[2]
    shown = jw.out("stats")
    assert all(job in shown for job in jobs)
    assert ended not in shown
    told = [json.loads(line) for line in jw.out("stats", "--json", *jobs).splitlines()]
    assert [(one["id"], one["state"]) for one in told] == [(job, "running") for job in jobs]
    missing = jw("stats", "no-such-job")
    assert (missing.returncode, "no-such-job" in missing.stderr) == (3, True)
    jw("rm", "-f", *jobs)


def test_stats_again_and_again(jw: "Jw") -> None:
    """A table each second with shares of CPU time, until the named jobs have ended."""
    busy = "import time\nwhile time.process_time() < 1000: pass"
    job = jw.out("run", "-d", sys.executable, "-c", busy)
    watch = jw.start("stats", "--watch", job)
    share = watch.wait_for(rb"running +(\d+\.\d) +")  # no share in the first
    assert 0 < float(share[1]) < 1000
    lines = jw.start("stats", "--watch", "--json", job)
    lines.wait_for(rb'"state":"running".*\n.*"state":"running"')
    jw("kill", job)
    assert (watch.end(), lines.end()) == (0, 0)
    assert json.loads(lines.said["stdout"].splitlines()[-1])["state"] == "exited"


def test_stats_of_all_until_left(jw: "Jw") -> None:
    """Jobs come and go; Ctrl-C is the end."""
    watch = jw.start("stats", "--watch", "--json")
    job = jw.out("run", "-d", "sleep", "1000")
    watch.wait_for(job.encode())
    jw("rm", "-f", job)
    other = jw.out("run", "-d", "sleep", "1000")
    watch.wait_for(other.encode())
    watch.interrupt()
    assert watch.end() == 130
    assert watch.said["stderr"] == b""
    jw("rm", "-f", other)


def test_top(jw: "Jw") -> None:
    job = jw.out("run", "-d", "--shell", "sleep 1000 & exec sleep 1001")
    while len(rows := jw.out("top", job).splitlines()) < 3:
        pass  # the shell has not got there
    assert rows[0].split() == ["PID", "NAME", "CPU%", "CPU", "MEMORY", "THREADS", "COMMAND"]
    shell = "/bin/sh -c sleep 1000 & exec sleep 1001"
    assert {row.split(None, 6)[6] for row in rows[1:]} <= {"sleep 1000", "sleep 1001", shell}
    (told,) = jw.out("top", "--json", job).splitlines()
    assert {one["name"] for one in json.loads(told)["processes"]} <= {"sleep", "sh"}
    watch = jw.start("top", "--watch", job)
    watch.wait_for(rb"(?s)PID.*PID")
    jw("kill", job)
    assert watch.end() == 0


def limits(jw: "Jw", job: str) -> object:
    return jw.call("job.status", id=job)["spec"].get("limits")


def test_update(jw: "Jw") -> None:
    """What is given is changed, `none` takes a limit away; the rest stays."""
    if not {"memory", "pids", "cpus"} <= set(jw.call("agent.info")["capabilities"]["limits"]):
        pytest.skip("this host cannot limit memory, pids and cpus")
    job = jw.out("run", "-d", "-l", "a=b", "-m", "1GiB", "--pids", "50", "--cpus", "1", *HOLD)
    jw.out("update", "-m", "2G", "--cpus", "0.5", job)
    assert limits(jw, job) == {"memory": "2G", "pids": 50, "cpus": 0.5}
    assert jw.call("job.status", id=job)["labels"] == {"a": "b"}
    jw.out("update", "-m", "none", "--pids", "none", "--timeout", "1h", job)
    assert limits(jw, job) == {"cpus": 0.5}
    assert jw.call("job.status", id=job)["spec"]["timeout"] == "1h"
    jw.out("update", "-m", "1GiB", job)
    while jw.call("job.stats", id=job)["memory"] < 60 << 20:
        pass
    low = jw("update", "-m", "10M", job)
    assert low.returncode == 5
    assert "would kill processes of the job" in low.stderr
    assert limits(jw, job) == {"memory": "1GiB", "cpus": 0.5}
    assert re.search(r"(?m)^limits: +cpus 0.5, memory 1GiB$", jw.out("status", job))
    jw("kill", job)
    assert re.search(r"(?m)^used: +\d+\.\d\d s CPU, \S+MiB memory at most", jw.out("status", job))


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "nothing to change"),
        (["--force"], "nothing to change"),
        (["--cpus", "many"], "expected a number"),
        (["--pids", "1.5"], "expected a number"),
        (["--io-read", "1M", "--io-read", "8:0=1M"], "expected one SIZE, or MAJ:MIN=SIZE"),
    ],
    ids=str,
)
def test_update_with_nonsense(jw: "Jw", words: list[str], error: str) -> None:
    done = jw("update", *words, "any")
    assert (done.returncode, error in done.stderr) == (2, True)


def test_no_rate(jw: "Jw") -> None:
    job = jw.out("run", "-d", "sleep", "1000")
    assert jw.out("update", "--io-read", "none", "--io-write", "none", job) == f"{job}  running"
    jw("kill", job)


def test_rates(jw: "Jw") -> None:
    """They reach the agent, which holds them or has no controller for them."""
    words = ["--io-read", "10M", "--io-write", "4095:1=1MiB", "--io-write", "4095:2=5"]
    done = jw("run", *words, "true")
    assert done.returncode == 125
    assert "cannot limit that" in done.stderr or "no block device 4095:1" in done.stderr, done.stderr


def test_help_names_them(jw: "Jw") -> None:
    assert {"stats", "top"} <= set(jw.out("--help").split())
