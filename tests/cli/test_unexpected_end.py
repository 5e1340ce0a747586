"""An agent with an unexpected failure ends with a traceback and code 1, never with 0."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import RunningAgent

BROKEN = """
from jobworker import __main__, config

def fail(path):
    raise RuntimeError("not foreseen")

config.load = fail
__main__.run()
"""


@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_a_traceback_and_1(shared: RunningAgent, arguments: list[str]) -> None:
    """Also of the check that a restart waits for: what would fail must not take the place of what runs."""
    words = [sys.executable, "-c", BROKEN, "--home", str(shared.home.path), *arguments]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "RuntimeError: not foreseen" in ended.stderr


def test_a_check_before_there_are_certificates(tmp_path: Path) -> None:
    """A module that a first start needs is broken: the check does not report that all is well."""
    (tmp_path / "cryptography.py").write_text("raise RuntimeError('not foreseen')")
    ended = subprocess.run(
        [sys.executable, "-m", "jobworker", "--home", str(tmp_path / "home"), "--check"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        check=False,
    )
    assert (ended.returncode, "RuntimeError: not foreseen" in ended.stderr) == (1, True), ended
