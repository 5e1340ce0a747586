"""What a job that counts writes, and what a reader is given of it."""

from pathlib import Path

from jobworker.logs.reader import Chunk, Gap

KIB = 1024
MIB = 1024 * KIB
SMALL = 64 * KIB  # the bound of a log


def numbered(count: int) -> bytes:
    return b"".join(b"%d\n" % number for number in range(1, count + 1))


def on_disk(folder: Path) -> int:
    """Return what the bytes of a log take on the disk."""
    return sum((folder / name).stat().st_blocks * 512 for name in ("out", "err"))


def joined(found: list[Chunk | Gap], stream: int = 0) -> bytes:
    return b"".join(item.data for item in found if isinstance(item, Chunk) and item.stream == stream)


def gaps(found: list[Chunk | Gap]) -> list[Gap]:
    return [item for item in found if isinstance(item, Gap)]
