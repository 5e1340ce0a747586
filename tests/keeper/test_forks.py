"""What the keeper has forked holds the pipes of all jobs until it executes its program: it is no job's process."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobworker.host.sweep import Neighbours, sweep

JOB = "00forkedjob0"
PROGRAM = "import sys; kept = open(sys.argv[1], 'r+b', 0); print(flush=True); sys.stdin.read()"


@pytest.fixture
def orphan(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[int]:
    """The pid of a child of ours that holds the job's pipe, with a command line as requested."""
    pipe = tmp_path / f"{JOB}.out"
    os.mkfifo(pipe)
    keeper = tmp_path / "keeper"
    keeper.mkdir()
    (keeper / "__main__.py").write_text(PROGRAM)
    programs = {"fork": ["-I", "-S", str(keeper / "__main__.py")], "orphan": ["-c", PROGRAM]}
    with subprocess.Popen(
        [sys.executable, *programs[request.param], str(pipe)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child.pid
        child.kill()


@pytest.mark.parametrize(("orphan", "found"), [("fork", False), ("orphan", True)], indirect=["orphan"])
def test_by_its_pipes(orphan: int, *, found: bool) -> None:
    """An orphan is found by the job's pipes; a fork of the keeper is spared by every stop."""
    members = sweep(JOB, 0, 0, Neighbours(keeper=os.getpid()))
    assert ([process.pid for process in members] == [orphan]) == found
