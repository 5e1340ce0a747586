"""Identify the code of keeper and pump by a checksum; an agent whose checksum is another upgrades the keeper."""

import binascii
import os

ROOMS = ("formats", "keeper", "linux", "pump")  # all that keeper and pump import
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def checksum(root: str = ROOT) -> int:
    """Return the checksum (CRC-32) of the files in these rooms; `root` is the folder of the package."""
    code = 0
    for room in ROOMS:
        for name in sorted(os.listdir(f"{root}/{room}")):
            if name.endswith(".py"):
                with open(f"{root}/{room}/{name}", "rb") as file:
                    code = binascii.crc32(file.read(), binascii.crc32(f"{room}/{name}".encode(), code))
    return code
