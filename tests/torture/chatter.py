"""A job that writes numbered lines until it is told to stop: byte N of a stream is always the same.

``chatter.py STREAMS PAUSE STOP``: STREAMS is ``1`` or ``12``; PAUSE seconds between two blocks; when the file STOP is
there it exits with 7.
"""

import os
import sys
import time

BLOCK = 256  # lines in one write, as those of writer.py


def main() -> None:
    streams, pause, stop = [int(digit) for digit in sys.argv[1]], float(sys.argv[2]), sys.argv[3]
    first = 0
    while not os.path.exists(stop):
        block = b"".join(b"%015d\n" % number for number in range(first, first + BLOCK))
        for stream in streams:
            done = 0
            while done < len(block):
                done += os.write(stream, block[done:])
        first += BLOCK
        time.sleep(pause)
    sys.exit(7)


if __name__ == "__main__":
    main()
