"""Job folders with a runner each, and no agent."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.runner_host import RunnerHost


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunnerHost]:
    """A node on which runners are started; at the end none is left, and no process of their jobs."""
    host = RunnerHost(tmp_path)
    try:
        yield host
    finally:
        host.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "small", folder], check=False).returncode
    ):
        pytest.skip("mounting a tmpfs takes root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def python() -> str:
    return sys.executable
