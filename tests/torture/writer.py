"""A job that writes numbered lines to both streams for some time, and how long a write held it up at most.

``writer.py BYTES SECONDS REPORT``: BYTES on each of stdout and stderr, in lines of 16 bytes.
"""

import os
import sys
import time

LINE = 16
BLOCK = 256  # lines in one write


def lines(first: int, count: int) -> bytes:
    """Return the lines with these numbers."""
    return b"".join(b"%015d\n" % number for number in range(first, first + count))


def main() -> None:
    size, seconds, report = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    began, longest = time.monotonic(), 0.0
    for first in range(0, size // LINE, BLOCK):
        block = lines(first, min(BLOCK, size // LINE - first))
        for stream in (1, 2):
            before = time.monotonic()
            done = os.write(stream, block)
            while done < len(block):
                done += os.write(stream, block[done:])
            longest = max(longest, time.monotonic() - before)
        time.sleep(max(0.0, began + seconds * first * LINE / size - time.monotonic()))
    with open(report, "w") as file:
        file.write(repr(longest))


if __name__ == "__main__":
    main()
