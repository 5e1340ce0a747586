"""Read the sizes that the terminal of a job has got since its start."""

from jobworker.formats.sizes import MAX_RECORDS, SIZE_BYTES, Size, decode
from jobworker.linux.beneath import read_in_log


def recorded_sizes(folder: str) -> list[Size]:
    """Return time (ns), offset, rows and columns of each, in order."""
    return decode(read_in_log(folder, "sizes", MAX_RECORDS * SIZE_BYTES))
