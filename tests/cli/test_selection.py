"""Jobs chosen by their labels, and `jw prune`: one job is taken at its word, several need a yes."""

import json
import os
import pty
import subprocess
from typing import TYPE_CHECKING

from tests.cli.conftest import COMMAND
from tests.conftest import DEADLINE

if TYPE_CHECKING:
    from tests.cli.conftest import Jw


def answered(answer: str, *arguments: str) -> "tuple[int, str]":
    """Run `jw` on a terminal where a user types an answer; return its exit code and what the terminal shows."""
    master, slave = pty.openpty()
    process = subprocess.Popen([*COMMAND, *arguments], stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    shown = b""
    try:
        while data := os.read(master, 65536):
            shown += data
            if answer and b"[y/N] " in shown:
                os.write(master, f"{answer}\n".encode())
                answer = ""
    except OSError:  # `jw` has closed its side
        pass
    os.close(master)
    return process.wait(DEADLINE), shown.decode()


def test_the_jobs_with_a_label(jw: "Jw") -> None:
    """Each verb takes them, if --yes or the user agrees to several; jobs in other states are passed over."""
    jobs = {jw.out("create", "-l", "app=many", "-l", f"number={number}", "sleep", "600") for number in range(2)}
    other = jw.out("create", "-l", "app=other", "sleep", "600")
    refused = jw("start", "-l", "app=many")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "2 jobs have the label app=many" in refused.stderr
    assert "expected --yes to start them all" in refused.stderr
    code, shown = answered("n", "start", "-l", "app=many")
    assert (code, "nothing was done" in shown) == (130, True)
    assert {jw.call("job.status", id=job)["state"] for job in jobs} == {"created"}
    code, shown = answered("y", "start", "-l", "app=many")
    assert (code, shown.count("  running")) == (0, 2)
    for verb, state in (("pause", "paused"), ("resume", "running"), ("stop", "exited")):
        assert set(jw.out(verb, "-q", "-y", "--label", "app=many").split()) == jobs
        assert {jw.call("job.status", id=job)["state"] for job in jobs} == {state}
    again = jw("stop", "-l", "app=many")
    assert (again.returncode, again.stdout) == (0, "")
    assert again.stderr == "jw: no job that is queued or running or paused or stopping has the label app=many\n"
    assert jw.call("job.status", id=other)["state"] == "created"
    assert jw.out("rm", "-q", "--selector", "number=1") in jobs  # a single one: no question
    assert jw.out("update", "-q", "--selector", "app=other", "-l", "app=new") == other
    assert jw.call("job.status", id=other)["labels"] == {"app": "new"}
    for words, wrong in (
        (("stop",), "no job is named"),
        (("stop", "x", "-l", "a=b"), "expected one of them"),
        (("stop", "-l", "app"), "'app'; expected K=V"),
    ):
        refused = jw(*words)
        assert (refused.returncode, wrong in refused.stderr) == (2, True), refused.stderr


def test_prune(jw: "Jw") -> None:
    """It removes what has ended, of those that the options choose, and leaves what runs."""
    for name in ("old", "new"):
        assert jw.out("run", "-l", "for=prune", "--name", f"prune-{name}", "echo", name) == name
    assert jw.out("run", "-d", "-l", "for=prune", "--name", "prune-runs", "sleep", "600")
    old, new = (jw.job(f"prune-{name}")["id"] for name in ("old", "new"))
    chosen = ("prune", "-l", "for=prune")
    refused = jw(*chosen)
    assert (refused.returncode, "2 jobs" in refused.stderr, "--yes" in refused.stderr) == (2, True, True)
    assert jw.out(*chosen, "--dry-run", "--quiet").split() == [new, old]
    assert jw.out(*chosen, "--older-than", "1h", "--dry-run") == "no job"
    wrong = jw(*chosen, "--older-than", "soon")
    assert (wrong.returncode, "'soon'; expected seconds" in wrong.stderr) == (2, True)
    assert json.loads(jw.out(*chosen, "--keep", "1", "--yes", "--json"))["removed"] == [old]
    assert jw("logs", "prune-old").returncode == 3
    code, shown = answered("y", *chosen)
    assert (code, "1 job removed" in shown) == (0, True)
    assert jw.job("prune-runs")["state"] == "running"
    jw.kill("prune-runs")
