"""The logs of agent and keeper stay bounded while processes write to them."""

import os
from pathlib import Path

from jobworker.log_files import shorten


def test_a_log_is_shortened(tmp_path: Path) -> None:
    """Its end moves to the file beside it; a process that has it open goes on at the new end, without a hole."""
    path = tmp_path / "agent.log"
    writer = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(writer, b"old " * 100 + b"new " * 25)
    shorten(path, 100)
    os.write(writer, b"later")
    os.close(writer)
    assert path.read_bytes() == b"later"
    assert (tmp_path / "agent.log.1").read_bytes() == b"new " * 25
    shorten(path, 100)
    assert path.read_bytes() == b"later"


def test_there_is_no_log(tmp_path: Path) -> None:
    """An agent that is not the local one has none."""
    shorten(tmp_path / "agent.log")


def test_the_past_cannot_be_kept(tmp_path: Path) -> None:
    """As on a full disk: the log is shortened all the same."""
    path = tmp_path / "agent.log"
    path.write_bytes(b"x" * 200)
    (tmp_path / "agent.log.1").mkdir()
    try:
        shorten(path, 100)
    except OSError:
        pass
    assert path.stat().st_size == 0
