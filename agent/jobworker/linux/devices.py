"""Find the disk that holds a folder: the kernel limits I/O by disk, not by partition or file system."""

import errno
import os
from typing import Any


def resolve(limits: dict[str, Any], folder: str) -> dict[str, Any]:
    """Return limits in which the disk that holds `folder` replaces the device ""; raise OSError."""
    ways = limits.get("io")
    if not ways:
        return limits
    resolved = {
        way: {disk_of(device) if device else disk_under(folder): rate for device, rate in rates.items()}
        for way, rates in ways.items()
    }
    return {**limits, "io": resolved}


def disk_under(folder: str) -> str:
    """Return `MAJ:MIN` of the disk that holds a folder; raise OSError if there is no one disk."""
    device = os.stat(folder).st_dev
    name = f"{os.major(device)}:{os.minor(device)}"
    if os.major(device) == 0:  # no real device: btrfs and overlay have numbers of their own
        name = _source_of(name) or ""
    if not name:
        raise OSError(errno.ENODEV, f"limit io: the folder {folder} is not on one disk; expected a device as MAJ:MIN")
    return disk_of(name)


def disk_of(device: str) -> str:
    """Return `MAJ:MIN` of the disk of a device, which may be a partition; raise OSError for an unknown device."""
    folder = os.path.realpath(f"/sys/dev/block/{device}")
    if not os.path.isdir(folder):
        raise OSError(errno.ENODEV, f"limit io: there is no block device {device}; lsblk shows MAJ:MIN of those here")
    if os.path.exists(f"{folder}/partition"):  # the folder of a partition is in that of its disk
        folder = os.path.dirname(folder)
    with open(f"{folder}/dev") as file:
        return file.read().strip()


def _source_of(name: str) -> str | None:
    """Return `MAJ:MIN` of the device from which a file system with this number was mounted."""
    with open("/proc/self/mountinfo") as file:
        for line in file:
            fields, _, rest = line.partition(" - ")
            source = rest.split()[1]
            if fields.split()[2] == name and source.startswith("/dev/"):
                device = os.stat(source).st_rdev
                return f"{os.major(device)}:{os.minor(device)}"
    return None
