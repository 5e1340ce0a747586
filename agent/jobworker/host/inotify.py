"""Get notifications from the kernel when files in a folder change, in the event loop."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from jobworker.linux.inotify import (
    IN_CREATE,
    IN_MODIFY,
    IN_ONLYDIR,
    add_watch,
    new_inotify,
    read_events,
    remove_watch,
)


class Inotify:
    """One inotify instance: calls a callback once for each batch of changes in a watched folder."""

    def __init__(self) -> None:
        self._fd = new_inotify()
        self._callbacks: dict[int, Callable[[str], None]] = {}  # by the number of the watch
        asyncio.get_running_loop().add_reader(self._fd, self._readable)

    def watch(self, folder: Path, callback: Callable[[str], None], mask: int = IN_MODIFY | IN_CREATE) -> int:
        """Return a number for `unwatch`; a folder can be watched once.

        The callback gets the name of the file that changed, or "" if any may have changed; also when the folder is
        removed or renamed.
        """
        number = add_watch(self._fd, str(folder), mask | IN_ONLYDIR)
        self._callbacks[number] = callback
        return number

    def unwatch(self, number: int) -> None:
        """End a watch."""
        if self._callbacks.pop(number, None):
            remove_watch(self._fd, number)  # fails if the folder is gone, and the watch with it

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)

    def _readable(self) -> None:
        changed: set[tuple[int, str]] = set()
        for number, _, name in read_events(self._fd):
            if number < 0:  # the queue overflowed: any watched folder may have changed
                changed.update((other, "") for other in self._callbacks)
            changed.add((number, name))
        for number, name in changed:
            if callback := self._callbacks.get(number):
                callback(name)
