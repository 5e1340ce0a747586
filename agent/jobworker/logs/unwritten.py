"""Find the bytes of a log that a power cut has left as zeros, although its size and index include them.

A file grows within a block that is on the disk: the new length can reach the disk before the bytes do. What is read
there are zeros up to the end of the block. That looks like zeros that the job wrote, so only blocks are suspected
that were written shortly before the cut.
"""

import os
from collections.abc import Iterator

BLOCK = 4096  # bytes: what a file system writes at once
RECENT_NS = 60 * 10**9  # before the last arrival: a kernel writes back what is older than 35 s
LOOKED_AT = 16 << 20  # bytes at the end of a stream that are read at most


def zero_tails(fd: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges between two positions of a file in which a block, or the file, ends in zeros."""
    end = min(end, os.fstat(fd).st_size)
    start = max(start, end - LOOKED_AT)
    while start < end:
        stop = min(end, (start // BLOCK + 1) * BLOCK)
        data = os.pread(fd, stop - start, start)
        written = start + len(data.rstrip(b"\0"))
        if written < stop:
            yield written, stop
        start = stop


def merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the ranges in order, those that touch or overlap as one."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found
