"""A `jw` of the starter does what one does that is started on its own, so that tests may run either."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from tests.cli.conftest import COMMAND
from tests.support.jw_starter import Starter
from tests.support.waiting import DEADLINE

SCRIPT = "pwd; printf %s $1 | od -An -tx1 >&2; kill -9 $$"


@pytest.mark.usefixtures("jw")
@pytest.mark.parametrize(
    "words",
    [
        ["version"],
        ["no-such-command"],
        ["logs", "no-such-job"],
        ["run", "--", "sh", "-c", SCRIPT, "sh", os.fsdecode(b"\xff")],
    ],
)
def test_like_one_that_is_started_on_its_own(starter: Starter, tmp_path: Path, words: list[str]) -> None:
    """The same exit code and output, in the same folder and environment."""
    assert starter.fits(os.environ)
    forked = starter.run(words, os.environ, str(tmp_path), DEADLINE)
    alone = subprocess.run(
        [*COMMAND, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
        timeout=DEADLINE,
    )
    assert (forked.returncode, forked.stdout) == (alone.returncode, alone.stdout)
    ours, theirs = (re.sub(r"job \w+", "job ID", done.stderr) for done in (forked, alone))
    assert ours == theirs


@pytest.mark.usefixtures("jw")
def test_a_call_that_takes_too_long(starter: Starter) -> None:
    """Its process is killed, as subprocess.run does; the next call is made as ever."""
    for _ in range(2):
        with pytest.raises(subprocess.TimeoutExpired):
            starter.run(["events"], os.environ, None, 0.5)
    assert starter.run(["version"], os.environ, None, DEADLINE).returncode == 0


def test_another_environment_of_the_interpreter(starter: Starter) -> None:
    assert not starter.fits({**os.environ, "PYTHONPATH": "/elsewhere"})
