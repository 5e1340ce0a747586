"""A job that writes COUNT lines, PAUSE seconds apart: each the time at which it is written, on the monotonic clock.

``python -I -S lines.py COUNT PAUSE``
"""

import os
import sys
import time


def main() -> None:
    count, pause = int(sys.argv[1]), float(sys.argv[2])
    for _ in range(count):
        time.sleep(pause)
        os.write(1, b"%d\n" % time.monotonic_ns())


if __name__ == "__main__":
    main()
