"""After a restart of the host: which logs to look at, and what their records say then."""

import logging
from datetime import datetime, timedelta
from pathlib import Path

from msgspec.structs import replace

from jobworker.logs.reader import LogReader
from jobworker.logs.repair import repair
from jobworker.model import LogInfo
from jobworker.units import rfc3339

log = logging.getLogger(__name__)

# A kernel writes back what is older than 30 s: what ended so long before the last end that is known is on the disk.
UNWRITTEN = timedelta(hours=1)


def checked_since(newest_end: str) -> str:
    """Return from which end of a job on logs are looked at, from the newest that is known; RFC 3339, or ""."""
    if not newest_end:
        return ""
    return rfc3339(int((datetime.fromisoformat(newest_end) - UNWRITTEN).timestamp() * 1e9))


def repair_log(folder: Path, known: LogInfo) -> LogInfo:
    """Have a log end at a byte that is there, and return what it has then. Blocking."""
    try:
        damaged = repair(folder)
    except OSError as error:
        log.error("the log %s could not be checked after the restart of the host: %s", folder, error)
        return known
    reader = LogReader(folder)
    size, first = reader.size(), reader.first()
    reader.close()
    return replace(known, bytes=size, first_offset=first, truncated=known.truncated or damaged or size < known.bytes)
