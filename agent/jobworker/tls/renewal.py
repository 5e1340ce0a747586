"""Keep the agent's certificate valid: read changed files, warn if it is not valid, renew the agent's own in time.

A certificate has two ends, and the clock may be set: validity is checked before the agent listens, once a day, at
SIGHUP, and whenever the clock of the host is set.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from jobworker.errors import JobworkerError, StartError
from jobworker.host.inotify import Inotify
from jobworker.host.wall_clock import WallClock
from jobworker.linux.inotify import IN_CREATE
from jobworker.tasks import Background
from jobworker.tls.context import DAY, Tls, ca_faults

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

    def __init__(
        self,
        tls: Tls,
        remake: Callable[[], None] | None,
        warning: float,
        every: float = DAY,
        own_ca: Path | None = None,
        client_ca: Path | None = None,
        revoked: Path | None = None,
        end_revoked: Callable[[], None] = lambda: None,
    ) -> None:
        """`own_ca`: the CA that `remake` makes again as well; `client_ca`: that of the clients.

        `end_revoked` ends the sessions of certificates in the file `revoked`, and is called when it may have changed.
        """
        self._revoked = revoked
        self._end_revoked = end_revoked
        self._tls = tls
        self._remake = remake
        self._own_ca = own_ca
        self._client_ca = client_ca
        self._refused = False  # the files as they are now could not be used
        self._due = asyncio.Event()  # the next check is due now: the clock was set, or at SIGHUP
        self._clock: WallClock | None = None  # notices when the clock of the host is set
        self._warning = warning  # seconds before the expiry from which each check logs a warning
        self._every = every  # seconds between two checks of the expiry
        self._inotify: Inotify | None = None  # None: files cannot be watched
        self._settling: asyncio.TimerHandle | None = None  # reads the files once they have settled
        self._tasks = Background()

    def open(self) -> None:
        """Watch the files, and check the validity now, once a day, and when the clock is set."""
        self._watch()
        self._clock = WallClock()
        self._clock.waiters.add(self._due)
        self._changed("")  # perhaps they have changed since they were read
        self._tasks.spawn(self._check_daily())

    def close(self) -> None:
        self._tasks.cancel()
        if self._clock is not None:
            self._clock.close()
        if self._settling is not None:
            self._settling.cancel()
        if self._inotify is not None:
            self._inotify.close()

    def reload(self) -> None:
        """Read the files again; if they cannot be used, the certificate before them stays in use."""
        self._watch()
        self._end_revoked()
        try:
            self._tls.renew()
        except (StartError, OSError) as error:
            self._refused = True
            log.error("the new certificate is not used: %s", error)
            return
        self._refused = False
        certificate = self._tls.certificate
        log.info("the certificate was read again: %s, valid until %s", certificate.fingerprint, certificate.end)

    def _watch(self) -> None:
        """Watch every folder in which a change can replace the files, by the links as they are now."""
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None
        try:
            self._inotify = Inotify()
            paths = [*self._tls.files, *([self._revoked] if self._revoked and self._revoked.parent.is_dir() else [])]
            for folder in {folder for path in paths for folder in _folders(path)}:
                self._inotify.watch(folder, self._changed, CHANGES)
        except OSError as error:
            log.warning(
                "certificate files cannot be watched, so new ones are read at SIGHUP only: %s", error.strerror
            )

    def _changed(self, name: str) -> None:
        if self._settling is None:
            self._settling = asyncio.get_running_loop().call_later(SETTLE_SECONDS, self._reload_if_changed)

    def _reload_if_changed(self) -> None:
        self._settling = None
        self._end_revoked()
        if self._tls.signature() != self._tls.seen:
            self.reload()

    def check(self) -> None:
        """Check the validity soon."""
        self._due.set()

    async def _check_daily(self) -> None:
        while True:
            self._due.clear()
            if self._refused:  # perhaps for a certificate that was not valid yet
                self.reload()
            if self._remake is not None and renewal_due(self._tls, self._own_ca):
                await self._renew_own(self._remake)
            self._warn()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._due.wait()

    async def _renew_own(self, remake: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(remake)
        except (JobworkerError, OSError) as error:
            log.warning("the agent's own certificate cannot be renewed: %s", error)
            return
        self.reload()

    def _warn(self) -> None:
        """Log which certificates are not valid now, and how long ours is, if that is not long."""
        certificate = self._tls.certificate
        for fault in _faults_of(self._client_ca):
            log.error(
                "server.client_ca: %s: %s: clients with its certificates cannot connect", self._client_ca, fault
            )
        if certificate.fault:
            log.error(
                "%s %s: clients that verify it cannot connect; is the clock of this host right?",
                self._tls.files[0],
                certificate.fault,
            )
        elif certificate.left < self._warning:
            days = int(certificate.left // DAY)
            log.warning("%s is valid for another %d days, until %s", self._tls.files[0], days, certificate.end)


def renewal_due(tls: Tls, own_ca: Path | None) -> bool:
    """Whether the agent's own certificate should be renewed: it or its CA is not valid now, or it is old."""
    return bool(tls.certificate.old or tls.certificate.fault or _faults_of(own_ca))


def _faults_of(ca: Path | None) -> list[str]:
    """Return the faults of the CAs in a file; none if the file cannot be read, which is reported elsewhere."""
    try:
        return [] if ca is None else [*ca_faults(ca)]
    except StartError:
        return []


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
