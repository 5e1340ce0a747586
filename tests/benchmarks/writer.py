"""A job that writes BYTES in writes of SIZE, and says in REPORT how long that took: on the clock, on a processor.

``python -I -S writer.py BYTES SIZE REPORT``
"""

import os
import sys
import time


def main() -> None:
    total, size, report = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    block = b"x" * (size - 1) + b"\n"
    write = os.write
    began, busy = time.monotonic(), time.process_time()
    for _ in range(total // size):
        if write(1, block) != size:
            sys.exit("a short write")
    took, busy = time.monotonic() - began, time.process_time() - busy
    with open(report, "w") as file:
        file.write(f"{took} {busy}")


if __name__ == "__main__":
    main()
