"""Block devices by number."""

import os
from pathlib import Path

import pytest

from jobworker.linux import cgroupfs, devices


def test_the_disk_under_a_folder(tmp_path: Path) -> None:
    """It has the number of the disk, also for a partition; an unknown device is refused."""
    disks = {cgroupfs.read(f"/sys/block/{name}/dev") for name in os.listdir("/sys/block")}
    if os.major(tmp_path.stat().st_dev):
        assert devices.disk_under(str(tmp_path)) in disks
    with pytest.raises(OSError, match="there is no block device 4095:1"):
        devices.resolve({"io": {"read": {"4095:1": 1}}}, "/")
    with pytest.raises(OSError, match="expected a device as MAJ:MIN"):
        devices.disk_under("/proc")


def test_the_disk_under_a_folder_or_why_not(tmp_path: Path) -> None:
    """A whole disk, or an error that names the folder."""
    try:
        device = devices.disk_under(str(tmp_path))
    except OSError as error:
        assert str(tmp_path) in str(error)  # noqa: PT017
    else:
        assert devices.disk_of(device) == device
    with pytest.raises(OSError, match="/proc is not on one disk"):
        devices.disk_under("/proc")
