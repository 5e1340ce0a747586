"""`jw ps` and `jw status --field`: which jobs, which columns."""

import json
import os
import pty
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.cli.conftest import COMMAND
from tests.conftest import DEADLINE

if TYPE_CHECKING:
    from tests.cli.conftest import Jw


@pytest.fixture
def listed(jw: "Jw") -> dict[str, str]:
    """Three jobs: one that runs, one that has ended, one that was created; their ids by name."""
    if not any(job["name"] == "list-runs" for job in jw.call("job.list", limit=1000)["jobs"]):
        jw.out("run", "-d", "-l", "list=yes", "-l", "app=web", "--name", "list-runs", "sleep", "600")
        assert jw("run", "-l", "list=yes", "--name", "list-ended", "sh", "-c", "exit 3").returncode == 3
        jw.out("create", "-l", "list=yes", "--name", "list-made", "true")
    return {name: jw.job(name)["id"] for name in ("list-runs", "list-ended", "list-made")}


CHOSEN = {
    "": ["list-made", "list-runs"],
    "-a": ["list-made", "list-ended", "list-runs"],
    "-a -f state=exited": ["list-ended"],
    "--state exited": ["list-ended"],
    "--state exited --state created": ["list-made", "list-ended"],
    "-a --name *-runs": ["list-runs"],
    "-a -f name=list-ended": ["list-ended"],
    "-l app": ["list-runs"],
    "-l app=web": ["list-runs"],
    "-l app=db": [],
    "-a --owner unix:local": ["list-made", "list-ended", "list-runs"],
    "-a --owner token:nobody": [],
    "-n 2": ["list-made", "list-ended"],
}


def test_which_jobs(jw: "Jw", listed: dict[str, str]) -> None:
    for words, names in CHOSEN.items():
        found = jw.out("ps", "-q", "-l", "list=yes", *words.split()).split()
        assert found == [listed[name] for name in names], words


def test_which_columns(jw: "Jw", listed: dict[str, str]) -> None:
    ended = ("ps", "-a", "-l", "list=yes", "--state", "exited", "-o")
    job = listed["list-ended"]
    assert jw.out(*ended, "name") == "list-ended"
    head, row = jw.out(*ended, "id,exit.code,exit.signal,labels").splitlines()
    assert head.split() == ["ID", "EXIT.CODE", "EXIT.SIGNAL", "LABELS"]
    assert row.split() == [job, "3", "-", "list=yes"]
    head, row = jw.out(*ended, "wide").splitlines()
    assert "OWNER" in head
    assert "unix:local" in row
    assert [each["id"] for each in json.loads(jw.out(*ended, "json"))["jobs"]] == [job]
    assert jw.out("status", job, "--field", "exit.code", "--field", "name") == "3\nlist-ended"
    assert json.loads(jw.out("status", job, "--field", "exit.code", "--json")) == {"id": job, "exit.code": 3}
    assert jw.out("status", job, "--field", "command") == "sh -c 'exit 3'"  # as a column of ps
    for words in ((*ended, "nonsense"), ("status", job, "--field", "nonsense")):
        refused = jw(*words)
        assert (refused.returncode, "'nonsense' is no field of a job" in refused.stderr) == (2, True)


def test_a_narrow_terminal_and_watch(jw: "Jw", listed: dict[str, str]) -> None:
    """40 columns hold what matters; --watch draws anew until Ctrl-C."""
    master, slave = pty.openpty()
    subprocess.run(["stty", "cols", "40"], stdin=slave, check=True)
    process = subprocess.Popen([*COMMAND, "ps", "-l", "list=yes", "--watch"], stdout=slave, stderr=slave)
    os.close(slave)
    shown = b""
    try:
        while data := os.read(master, 65536):
            shown += data
            if shown.count(b"\x1b[2J") == 2 and shown.endswith(b"\n"):
                process.terminate()
    except OSError:  # `jw` has ended
        pass
    os.close(master)
    process.wait(DEADLINE)
    assert shown.count(b"ID            STATE    COMMAND") >= 2
    assert all(
        len(line) <= 40 for line in shown.decode().replace("\x1b[H\x1b[2J", "").splitlines() if "\x1b" not in line
    )
