"""A file is read at once or not at all: its owner must not hold up the process that reads it."""

import os
from pathlib import Path

import pytest

from jobworker.linux.lookup import local_devices, read_at_once


def test_a_file_of_this_host(tmp_path: Path) -> None:
    if tmp_path.stat().st_dev not in local_devices():
        pytest.skip("the temporary folder is not on a local file system")
    (tmp_path / "script").write_bytes(b"#!/no/such/interpreter\n")
    assert read_at_once(str(tmp_path / "script"), 9) == b"#!/no/suc"


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "of the kernel", "missing", "relative"])
def test_what_could_take_time(tmp_path: Path, kind: str) -> None:
    """A FIFO without a writer would wait for ever."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    places = {"device": "/dev/zero", "of the kernel": "/proc/version", "relative": "setup.py"}
    place = places.get(kind, str(tmp_path / kind))
    if os.path.exists(place):
        os.stat(place)  # now the lookup is in the kernel's cache
    with pytest.raises(OSError, match=r"Resource temporarily unavailable|No such file"):
        read_at_once(place, 9)
