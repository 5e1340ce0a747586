"""Keep the agent's certificate valid: read changed files, warn before it expires, renew the agent's own."""

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
CHANGES = IN_ATTRIB | IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE_SELF | IN_MOVE_SELF
SETTLE_SECONDS = 1.0  # after the first change: certificate and key are seldom replaced in one step
MAX_LINKS = 40  # symbolic links in one path, as in the kernel


class Renewal:
    """Watches the files of `tls`, and renews them with `remake` in time; None: the operator renews them."""

    def __init__(self, tls: Tls, remake: Callable[[], None] | None, warning: float, every: float = DAY) -> None:
        self._tls = tls
        self._remake = remake
        self._warning = warning  # seconds before the expiry from which each check logs a warning
        self._every = every  # seconds between two checks of the expiry
        self._inotify: Inotify | None = None  # None: files cannot be watched
        self._settling: asyncio.TimerHandle | None = None  # reads the files once they have settled
        self._tasks = Background()

    def open(self) -> None:
        """Watch the files, and check the expiry now and once a day."""
        self._watch()
        self._changed("")  # perhaps they have changed since they were read
        self._tasks.spawn(self._check_daily())

    def close(self) -> None:
        self._tasks.cancel()
        if self._settling is not None:
            self._settling.cancel()
        if self._inotify is not None:
            self._inotify.close()

    def reload(self) -> None:
        """Read the files again; if they cannot be used, the certificate before them stays in use."""
        self._watch()
        try:
            self._tls.renew()
        except (StartError, OSError) as error:
            log.error("the new certificate is not used: %s", error)
            return
        certificate = self._tls.certificate
        log.info("the certificate was read again: %s, valid until %s", certificate.fingerprint, certificate.end)

    def _watch(self) -> None:
        """Watch every folder in which a change can replace the files, by the links as they are now."""
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None
        try:
            self._inotify = Inotify()
            for folder in {folder for path in self._tls.files for folder in _folders(path)}:
                self._inotify.watch(folder, self._changed, CHANGES)
        except OSError as error:
            log.warning("certificate files cannot be watched, so new ones are read at SIGHUP only: %s", error)

    def _changed(self, name: str) -> None:
        if self._settling is None:
            self._settling = asyncio.get_running_loop().call_later(SETTLE_SECONDS, self._reload_if_changed)

    def _reload_if_changed(self) -> None:
        self._settling = None
        if self._tls.signature() != self._tls.seen:
            self.reload()

    async def _check_daily(self) -> None:
        while True:
            if self._remake is not None and self._tls.certificate.old:
                await self._renew_own(self._remake)
            self._warn()
            await asyncio.sleep(self._every)

    async def _renew_own(self, remake: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(remake)
        except (JobworkerError, OSError) as error:
            log.warning("the agent's own certificate cannot be renewed: %s", error)
            return
        self.reload()

    def _warn(self) -> None:
        """Log how long the certificate is valid, if that is not long."""
        certificate = self._tls.certificate
        if certificate.left <= 0:
            log.error("%s expired at %s: clients that verify it cannot connect", self._tls.files[0], certificate.end)
        elif certificate.left < self._warning:
            days = int(certificate.left // DAY)
            log.warning("%s is valid for another %d days, until %s", self._tls.files[0], days, certificate.end)


def _folders(path: Path) -> Iterator[Path]:
    """Yield the folder of each symbolic link on the path to a file, and last the file's own folder."""
    folder, parts = Path("/"), [*reversed(path.absolute().parts[1:])]
    links = 0
    while parts:
        entry = folder / parts.pop()
        if entry.is_symlink() and links < MAX_LINKS:
            links += 1
            yield folder
            target = Path(os.readlink(entry))
            parts += reversed(target.parts[1:] if target.is_absolute() else target.parts)
            folder = Path("/") if target.is_absolute() else folder
        else:
            folder = entry.parent.parent if entry.name == ".." else entry
    yield folder.parent
