"""Make the log of a job survive a power cut."""

import os
from pathlib import Path

from jobworker.formats.log_index import STREAMS
from jobworker.linux.beneath import open_in_log
from jobworker.paths import sync_folder


def sync_log(folder: Path) -> None:
    """Sync a log to the disk, its bytes before the index that covers them. Blocking; raises OSError.

    A job that was silent has no log.
    """
    for name in (*STREAMS, "index", "first"):
        try:
            fd = open_in_log(str(folder), name, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)
    try:
        sync_folder(folder)
    except FileNotFoundError:
        return
    sync_folder(folder.parent)
