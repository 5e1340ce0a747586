"""Block devices by their number, MAJ:MIN."""

import errno
import os

DEVICES = "/sys/dev/block"


def device_under(folder: str) -> str:
    """Return the whole disk that holds a folder; raise OSError if it is on none, as on tmpfs or overlayfs."""
    number = os.stat(folder).st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    if not os.path.exists(f"{DEVICES}/{device}"):
        raise OSError(errno.ENODEV, f"{folder} is on no block device, but on {device}")
    return whole_disk(device)


def whole_disk(device: str) -> str:
    """Return the disk of a partition, the only thing for which the kernel limits a rate; a disk as it is.

    Raises OSError if there is no such device.
    """
    if not os.path.exists(f"{DEVICES}/{device}"):
        raise OSError(errno.ENODEV, f"there is no block device {device}")
    if not os.path.exists(f"{DEVICES}/{device}/partition"):
        return device
    with open(f"{DEVICES}/{device}/../dev") as file:  # the device is a link to its folder, below that of its disk
        return file.read().strip()
