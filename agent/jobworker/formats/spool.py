"""The spool of a job's input: two files that take turns, a segment each, at absolute offsets.

The agent appends and the pump moves the bytes to the job's pipe. Both counts are the kernel's own, so that a kill at
any moment leaves them exact: the larger size of the two files is what was accepted, and the positions of the open
files, which keeper and pump share, are what was moved. A file whose segment was moved is truncated to nothing, never
punched: the job's pipe may still refer to its pages, which a hole would overwrite with zeros.
"""

import os
import stat

SEGMENT = 2 << 20  # bytes that one file holds at most; a multiple of any page size
CLOSED_MODE, OPEN_MODE = 0o400, 0o600  # of the first file: no more input will come, or it may


def spool_paths(folder: str, job: str) -> list[str]:
    """Return the paths of a job's spool in the state folder."""
    return [f"{folder}/input/{job}.{number}" for number in (0, 1)]


def accepted_bytes(files: list[int]) -> tuple[int, bool]:
    """Return how many bytes of input were ever accepted, and whether that is all of it."""
    first = os.fstat(files[0])  # its mode and size are of one moment, and before the other file's size
    return max(first.st_size, os.fstat(files[1]).st_size), not first.st_mode & stat.S_IWUSR


def next_byte(files: list[int]) -> tuple[int, int]:
    """Return the number of the file that has the next byte to move, and the offset of that byte in the input."""
    places = [os.lseek(fd, 0, os.SEEK_CUR) for fd in files]
    for number, place in enumerate(places):
        if place // SEGMENT % 2 != number:  # at the end of a segment, or new: the other file's segment comes between
            places[number] += SEGMENT
    number = int(places[1] < places[0])
    return number, places[number]


def room(files: list[int], offset: int) -> tuple[int, int]:
    """Return the number of the file that takes the input from `offset` on, and how many bytes; 0: not yet."""
    number = offset // SEGMENT % 2
    if offset % SEGMENT == 0 and os.fstat(files[number]).st_size:
        return number, 0  # it holds the segment before the last, which the job has not taken
    return number, SEGMENT - offset % SEGMENT
