"""The client certificates that are revoked before their end: a file with one fingerprint a line."""

import hashlib
import logging
import re
import time
from pathlib import Path

from jobworker.errors import StartError
from jobworker.rate_limit import RateLimiter

log = logging.getLogger(__name__)

FINGERPRINT = re.compile(r"[0-9a-f]{64}")
LOG_LINES = RateLimiter(1 / 60, 3)  # a second, for a file that cannot be read: each login reads it


class Revoked:
    """The fingerprints in a file, read again when it has changed. Without the file none is revoked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, ...] = ()  # inode, size and times of the file as it was read
        self._fingerprints: frozenset[str] = frozenset()

    def holds(self, certificate: bytes) -> bool:
        """Whether a certificate in DER is revoked; if the file cannot be read, every one is."""
        try:
            self.read()
        except (StartError, OSError) as error:
            if LOG_LINES.allows("unreadable", time.monotonic()):
                log.error("no client certificate is accepted: %s", error)
            return True
        return hashlib.sha256(certificate).hexdigest() in self._fingerprints

    def read(self) -> frozenset[str]:
        """Return the fingerprints; raise StartError or OSError."""
        try:
            info = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            self._seen, self._fingerprints = (), frozenset()
            return self._fingerprints
        seen = (info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
        if seen != self._seen:
            self._fingerprints = parse(self.path.read_text(errors="replace"), str(self.path))
            self._seen = seen
        return self._fingerprints


def parse(text: str, where: str) -> frozenset[str]:
    """Return the fingerprints in a text; what follows a `#` is a comment. Raises StartError."""
    found = set()
    for number, line in enumerate(text.splitlines(), 1):
        if not (entry := line.partition("#")[0].strip().lower().replace(":", "").removeprefix("sha256")):
            continue
        if FINGERPRINT.fullmatch(entry) is None:
            expected = "expected a SHA-256 fingerprint, as `jw cert show` prints it"
            raise StartError(f"{where}: line {number}: {entry[:80]!r}; {expected}")
        found.add(entry)
    return frozenset(found)
