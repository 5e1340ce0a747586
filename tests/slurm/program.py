"""What the jobs of these tests run: ``program.py FOLDER NAME SECONDS OUT ERR CODE``, on a node.

It notes in FOLDER that it has begun, writes OUT and ERR random bytes that are known beforehand in the course of
SECONDS seconds, notes its end, and exits with CODE.
"""

import os
import random
import sys
import time

PIECES = 20


def output(name: str, size: int) -> bytes:
    """Return the bytes that the job of this name writes."""
    return random.Random(name).randbytes(size)


def main() -> None:
    folder, name = sys.argv[1:3]
    seconds, out, err, code = float(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6])
    note(folder, name, f"began {os.environ.get('SLURMD_NODENAME', '')}")
    for stream, data in ((2, output(f"{name}.err", err)), (1, output(name, out))):
        step = -(-len(data) // PIECES) or 1
        for begin in range(0, len(data), step):
            os.write(stream, data[begin : begin + step])  # a pipe takes all, or the program is wrong
            if stream == 1:
                time.sleep(seconds / PIECES)
    note(folder, name, "ended")
    os._exit(code)


def note(folder: str, name: str, what: str) -> None:
    """Append a line that several runs of one job would append twice."""
    file = os.open(f"{folder}/{name}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, f"{what}\n".encode())
    os.close(file)


if __name__ == "__main__":
    main()
