"""Bound the logs of agent, keeper and pump: files to which several processes append through shared descriptors."""

import asyncio
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from jobworker.private import write_private

log = logging.getLogger(__name__)

MAX_BYTES = 16 << 20  # of one log, besides as much of the past in the file beside it
CHECK_SECONDS = 60.0  # between two looks at their sizes


async def bound(paths: Sequence[Path]) -> None:
    """Shorten these logs whenever they are too large, until cancelled."""
    while True:
        for path in paths:
            try:
                await asyncio.to_thread(shorten, path)
            except OSError as error:
                log.warning("%s: cannot be shortened: %s", path, error.strerror or error)
        await asyncio.sleep(CHECK_SECONDS)


def shorten(path: Path, most: int = MAX_BYTES) -> None:
    """Move the end of a log that is larger to PATH.1, and leave it empty; raise OSError.

    The file stays the same one: the processes that write to it only append, so they go on at its new end.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        size = os.fstat(fd).st_size
        if size <= most:
            return
        try:
            write_private(path.with_name(f"{path.name}.1"), os.pread(fd, most, size - most))
        finally:  # on a full disk above all
            os.ftruncate(fd, 0)
    finally:
        os.close(fd)
