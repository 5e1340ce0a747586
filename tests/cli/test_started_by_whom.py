"""The agent that `jw` starts keeps nothing of the process that happened to call `jw` first."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import COMMAND

from jobworker.client.local import agent_pid
from jobworker.paths import Home

PLANTED = "import pathlib\npathlib.Path({mark!r}).touch()\nraise SystemExit('planted code was executed')\n"


pytestmark = pytest.mark.usefixtures("lone_jw")


@pytest.mark.parametrize("module", ["uvloop", "jobworker", "msgspec", "tomllib"])
def test_no_module_of_the_folder_is_imported(home: Home, tmp_path: Path, module: str) -> None:
    """Neither at the start nor at a restart, which executes the agent again."""
    folder, mark = tmp_path / "planted", tmp_path / "executed"
    folder.mkdir()
    (folder / f"{module}.py").write_text(PLANTED.format(mark=str(mark)))
    program = Path(sys.executable).with_name("jw")
    for words in (["ps"], ["agent", "restart"], ["run", "true"]):
        called = subprocess.run([program, *words], cwd=folder, capture_output=True, text=True, check=False)
        assert called.returncode == 0, called.stderr
    assert agent_pid(home)
    assert not mark.exists()


def test_folder_and_descriptors_are_left(home: Home, tmp_path: Path) -> None:
    """A lock that the caller holds is free when the caller has released it, and its disk can be unmounted."""
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    subprocess.run([*COMMAND, "ps"], cwd=tmp_path, pass_fds=(lock,), check=True)
    os.close(lock)
    again = os.open(tmp_path / "lock", os.O_RDWR)
    fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(again)
    assert os.readlink(f"/proc/{agent_pid(home)}/cwd") == "/"
