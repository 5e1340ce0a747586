"""Keep the agent's certificate fresh: take new files when they come, say when the end is near, make our own anew."""

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from jobworker.errors import JobworkerError, StartError
from jobworker.host.inotify import IN_CREATE, Inotify
from jobworker.tasks import Background
from jobworker.tls.context import DAY, Tls

log = logging.getLogger(__name__)

IN_ATTRIB = 0x4
IN_CLOSE_WRITE = 0x8
IN_MOVED_TO = 0x80
IN_DELETE_SELF = 0x400
IN_MOVE_SELF = 0x800
NEWS = IN_ATTRIB | IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE_SELF | IN_MOVE_SELF
SETTLE = 1.0  # seconds after the first change: a certificate and its key are seldom replaced in one step
LINKS = 40  # as the kernel follows


class Renewal:
    """Watches the files of `tls`; `remake` replaces those that are our own when they grow old, None: they are not."""

    def __init__(self, tls: Tls, remake: Callable[[], None] | None, warning: float, every: float = DAY) -> None:
        self._tls = tls
        self._remake = remake
        self._warning = warning
        self._every = every
        self._inotify: Inotify | None = None
        self._settling: asyncio.TimerHandle | None = None
        self._tasks = Background()

    def open(self) -> None:
        self._watch()
        self._changed("")  # since they were read, perhaps
        self._tasks.spawn(self._look_daily())

    def close(self) -> None:
        self._tasks.cancel()
        if self._settling is not None:
            self._settling.cancel()
        if self._inotify is not None:
            self._inotify.close()

    def reload(self) -> None:
        """Take the files anew; broken ones are kept out, and what was before stays in use."""
        self._watch()
        try:
            self._tls.renew()
        except (StartError, OSError) as error:
            log.error("the new certificate is not used: %s", error)
            return
        certificate = self._tls.certificate
        log.info("the certificate was read again: %s, good until %s", certificate.fingerprint, certificate.end)

    def _watch(self) -> None:
        """Watch every folder in which a change can make the files others; links may point elsewhere than before."""
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None
        try:
            self._inotify = Inotify()
            for folder in {folder for path in self._tls.files for folder in _folders(path)}:
                self._inotify.watch(folder, self._changed, NEWS)
        except OSError as error:
            log.warning("new certificates are read at SIGHUP only: they cannot be watched: %s", error)

    def _changed(self, name: str) -> None:
        if self._settling is None:
            self._settling = asyncio.get_running_loop().call_later(SETTLE, self._judge)

    def _judge(self) -> None:
        self._settling = None
        if self._tls.signature() != self._tls.seen:
            self.reload()

    async def _look_daily(self) -> None:
        while True:
            if self._remake is not None and self._tls.certificate.old:
                await self._renew_ours(self._remake)
            self._warn()
            await asyncio.sleep(self._every)

    async def _renew_ours(self, remake: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(remake)
        except (JobworkerError, OSError) as error:
            log.warning("the agent's own certificate cannot be renewed: %s", error)
            return
        self.reload()

    def _warn(self) -> None:
        certificate = self._tls.certificate
        if certificate.left <= 0:
            log.error("%s expired at %s: who verifies it cannot connect", self._tls.files[0], certificate.end)
        elif certificate.left < self._warning:
            days = int(certificate.left // DAY)
            log.warning("%s is good for another %d days, until %s", self._tls.files[0], days, certificate.end)


def _folders(path: Path) -> Iterator[Path]:
    """Yield the folder of each symbolic link on the way to a file, and at last the file's own."""
    here, parts = Path("/"), [*reversed(path.absolute().parts[1:])]
    links = 0
    while parts:
        there = here / parts.pop()
        if there.is_symlink() and links < LINKS:
            links += 1
            yield here
            target = Path(os.readlink(there))
            parts += reversed(target.parts[1:] if target.is_absolute() else target.parts)
            here = Path("/") if target.is_absolute() else here
        else:
            here = there.parent.parent if there.name == ".." else there
    yield here.parent
