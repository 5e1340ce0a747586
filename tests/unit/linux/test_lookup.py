"""A file is read at once or not at all: its owner must not hold up the process that reads it."""

import os
import stat
from pathlib import Path

import pytest

from jobworker.linux.lookup import local_devices, look_at_once


def test_a_file_of_this_host(tmp_path: Path) -> None:
    if tmp_path.stat().st_dev not in local_devices():
        pytest.skip("the temporary folder is not on a local file system")
    (tmp_path / "script").write_bytes(b"#!/no/such/interpreter\n")
    assert look_at_once(str(tmp_path / "script"), 9)[1:] == (False, b"#!/no/suc")


def test_what_is_no_file(tmp_path: Path) -> None:
    """Its kind is known without a read: a FIFO without a writer would wait for ever."""
    if tmp_path.stat().st_dev not in local_devices():
        pytest.skip("the temporary folder is not on a local file system")
    os.mkfifo(tmp_path / "fifo")
    for path, kind in ((tmp_path / "fifo", stat.S_ISFIFO), (tmp_path, stat.S_ISDIR)):
        path.stat()  # now the lookup is in the kernel's cache
        mode, _, first = look_at_once(str(path), 9)
        assert kind(mode)
        assert first == b""


@pytest.mark.parametrize("kind", ["device", "of the kernel", "missing", "relative"])
def test_what_could_take_time(tmp_path: Path, kind: str) -> None:
    places = {"device": "/dev/zero", "of the kernel": "/proc/version", "relative": "setup.py"}
    place = places.get(kind, str(tmp_path / kind))
    if os.path.exists(place):
        os.stat(place)  # now the lookup is in the kernel's cache
    with pytest.raises(OSError, match=r"Resource temporarily unavailable|No such file"):
        look_at_once(place, 9)
