"""Write numbered lines to the input of a job, from where it ends now to its end, and close it.

``sender.py ADDRESS CA JOB BYTES SECONDS``, with the token on stdin: BYTES in lines of 16 bytes, paced so that all of
them would take SECONDS. Killed at any moment, the next one continues.
"""

import sys
import time
from pathlib import Path

from jobworker.client import connect_blocking
from jobworker.errors import ConnectionFailed, StdinClosed

LINE = 16
BLOCK = 4096  # lines in one write


def lines(first: int, count: int) -> bytes:
    """Return the lines with these numbers."""
    return b"".join(b"%015d\n" % number for number in range(first, first + count))


def main() -> int:
    address, ca, job, *numbers = sys.argv[1:]
    size, seconds = int(numbers[0]), float(numbers[1])
    try:
        with connect_blocking(address, token=sys.stdin.read(), ca=Path(ca)) as client:
            target = client.input(job)
            while target.offset < size:
                first, within = divmod(target.offset, LINE)
                block = lines(first, min(BLOCK, size // LINE - first))
                time.sleep(seconds * len(block) / size)
                target.write(block[within:])
            target.close()
    except StdinClosed:
        pass  # a sender before this one has closed it
    except ConnectionFailed:
        return 1  # the agent is dead: another sender is started
    return 0


if __name__ == "__main__":
    sys.exit(main())
