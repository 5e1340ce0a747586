"""After a restart of the host: decide which logs to check, and repair them."""

import logging
from datetime import datetime, timedelta
from pathlib import Path

from msgspec.structs import replace

from jobworker.logs.reader import LogReader
from jobworker.logs.repair import repair
from jobworker.model import LogInfo
from jobworker.units import rfc3339

log = logging.getLogger(__name__)

# The kernel writes data back after 30 s: logs of jobs that ended this long before the last known end are on the disk.
UNWRITTEN = timedelta(hours=1)


def checked_since(newest_end: str) -> str:
    """Return the time since when logs of ended jobs are checked, RFC 3339; "" if no job has ended."""
    if not newest_end:
        return ""
    return rfc3339(int((datetime.fromisoformat(newest_end) - UNWRITTEN).timestamp() * 1e9))


def repair_log(folder: Path, known: LogInfo, *, written: bool = False) -> LogInfo:
    """Repair a log, and return what the record must have of it. Blocking.

    `written`: all of it was on the disk, as of a log that was restored: zeros at its end are the job's.
    """
    try:
        # Only a closed log has a size that is known; all of it is on the disk if the index reaches that. An index
        # whose last records were not written has a size of 0, as a log has that is still open in the record.
        damaged = repair(folder, closed=written or 0 < known.bytes == _size(folder)[0])
    except OSError as error:
        log.error("the log %s could not be checked after the restart of the host: %s", folder, error)
        return known
    size, first = _size(folder)
    return replace(known, bytes=size, first_offset=first, truncated=known.truncated or damaged or size < known.bytes)


def _size(folder: Path) -> tuple[int, int]:
    """Return the end of a log and the offset of its first byte."""
    reader = LogReader(folder)
    size, first = reader.size(), reader.first()
    reader.close()
    return size, first
