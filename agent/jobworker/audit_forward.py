"""Forward the audit log, line by line, to syslog or to journald, by choice.

A thread of its own sends from a bounded queue: a receiver that is slow or down holds up no call. What the queue has
no room for is dropped, counted and reported in the agent's log; the files have it, and `before` of the next line
shows the receiver that there was more.
"""

import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from jobworker.errors import InvalidSpec

log = logging.getLogger(__name__)

MAX_WAITING = 4096  # lines
SEND_SECONDS = 5.0  # for a line, and for a connection
PAUSES = (0.2, 1.0, 5.0, 15.0)  # seconds after a failure, the last of them again and again
CLOSE_SECONDS = 2.0  # for what waits when the agent ends
JOURNAL, SYSLOG = "/run/systemd/journal/socket", "/dev/log"
NAME = "jobworker"
AUTHPRIV = 10  # the facility
INFORMATION, WARNING = 6, 4  # severities
DENIED = ("denied", "refused")


class Target(NamedTuple):
    """The receiver of lines: a socket of `kind` at a path, or at host and port."""

    kind: str  # "journald", "syslog" (a datagram socket of this host), "udp" or "tcp"
    place: str | tuple[str, int]

    def __str__(self) -> str:
        return f"{self.kind} at {self.place if isinstance(self.place, str) else '{}:{}'.format(*self.place)}"


def target(value: str, key: str) -> Target | None:
    """Return the receiver that `audit.forward` names; None: there is none. Raises InvalidSpec."""
    if not value:
        return None
    if value in ("journald", "syslog"):
        return Target(value, JOURNAL if value == "journald" else SYSLOG)
    try:
        parts = urlsplit(value)
        if parts.scheme in ("udp", "tcp") and parts.hostname and parts.port and not parts.path:
            return Target(parts.scheme, (parts.hostname, parts.port))
    except ValueError:
        pass
    expected = 'expected "syslog", "journald", "udp://HOST:PORT" or "tcp://HOST:PORT"'
    raise InvalidSpec(f"{key}: {value[:200]!r}; {expected}", field=key)


class Forward:
    """Sends lines in order. `put` never waits."""

    def __init__(self, to: Target) -> None:
        self.sent = self.dropped = 0  # lines
        self._to = to
        self._socket: socket.socket | None = None  # used by the thread alone
        self._waiting: deque[tuple[bytes, Mapping[str, str]]] = deque()
        self._changed = threading.Condition()  # of what waits, and of `_closing`
        self._closing = False
        self._failing = False  # whether the last attempt failed
        self._unreported = 0  # lines that were dropped since the agent's log had their number
        self._thread = threading.Thread(target=self._run, name="audit-forward", daemon=True)
        self._thread.start()

    def put(self, line: bytes, fields: Mapping[str, str]) -> None:
        """Add a line, without its end; `fields` are its members for a receiver that has fields."""
        with self._changed:
            if len(self._waiting) >= MAX_WAITING:
                del self._waiting[1]  # the oldest but one that may be on its way
                self.dropped += 1
                self._unreported += 1
                if self._unreported == 1:
                    log.warning(
                        "%s is too slow or down: audit lines are not forwarded, the files have them", self._to
                    )
            self._waiting.append((line, fields))
            self._changed.notify()

    def close(self) -> None:
        """Send what waits, for a short time; blocking."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(CLOSE_SECONDS)
        with self._changed:
            if self._waiting:
                log.warning(
                    "%d audit lines were not forwarded to %s; the files have them", len(self._waiting), self._to
                )

    def _run(self) -> None:
        try:
            self._send_all()
        finally:
            self._disconnect()

    def _send_all(self) -> None:
        """Send what waits, until the end."""
        failures = 0
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if not self._waiting:
                    return
                first = self._waiting[0]
            try:
                self._send(*first)
            except (OSError, ValueError) as error:  # ValueError: of a host with characters that no name has
                self._report_failure(error)
                with self._changed:
                    if self._closing:
                        return
                    self._changed.wait_for(lambda: self._closing, PAUSES[min(failures, len(PAUSES) - 1)])
                failures += 1
                continue
            failures = 0
            with self._changed:
                self.sent += 1
                self._waiting.popleft()
                if self._unreported and len(self._waiting) < MAX_WAITING // 2:
                    log.warning("%d audit lines were not forwarded to %s", self._unreported, self._to)
                    self._unreported = 0
            if self._failing:
                log.info("audit lines are forwarded to %s again", self._to)
            self._failing = False

    def _report_failure(self, error: Exception) -> None:
        self._disconnect()
        if not self._failing:
            log.warning("audit lines cannot be forwarded to %s: %s; they wait", self._to, error)
        self._failing = True

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, line: bytes, fields: Mapping[str, str]) -> None:
        if self._socket is None:
            self._socket = _connected(self._to)
        severity = WARNING if fields.get("decision") in DENIED else INFORMATION
        if self._to.kind == "journald":
            self._socket.sendall(_of_journal(line, fields, severity))
        elif self._to.kind == "syslog":
            self._socket.sendall(_of_host(line, severity))
        else:
            self._socket.sendall(_of_network(line, severity) + (b"\n" if self._to.kind == "tcp" else b""))


def _connected(to: Target) -> socket.socket:
    if isinstance(to.place, str):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address: str | tuple[str, int] = to.place
    elif to.kind == "tcp":
        return socket.create_connection(to.place, SEND_SECONDS)
    else:
        family, *_, address = socket.getaddrinfo(*to.place, type=socket.SOCK_DGRAM)[0]  # type: ignore[assignment]
        sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.settimeout(SEND_SECONDS)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _of_journal(line: bytes, fields: Mapping[str, str], severity: int) -> bytes:
    """Return an entry in the native protocol of journald: each value has its length, so that it may have any byte."""
    entry = {"MESSAGE": line, "PRIORITY": b"%d" % severity, "SYSLOG_FACILITY": b"%d" % AUTHPRIV}
    entry |= {"SYSLOG_IDENTIFIER": NAME.encode(), "SYSLOG_PID": b"%d" % os.getpid()}
    entry |= {f"{NAME}_{key}".upper(): value.encode(errors="replace") for key, value in fields.items()}
    parts = [(key.encode(), len(value).to_bytes(8, "little"), value) for key, value in entry.items()]
    return b"".join(b"%s\n%s%s\n" % part for part in parts)


def _of_host(line: bytes, severity: int) -> bytes:
    """Return a message as a program of this host sends it: RFC 3164 without the host."""
    now = time.localtime()
    month = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")[now.tm_mon - 1]
    moment = f"{month} {now.tm_mday:2d} {now.tm_hour:02d}:{now.tm_min:02d}:{now.tm_sec:02d}"
    return f"<{AUTHPRIV * 8 + severity}>{moment} {NAME}[{os.getpid()}]: ".encode() + line


def _of_network(line: bytes, severity: int) -> bytes:
    """Return a message of RFC 5424; by TCP each is ended by a line feed, of which a line of JSON has none."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    head = f"<{AUTHPRIV * 8 + severity}>1 {moment} {socket.gethostname()} {NAME} {os.getpid()} audit - "
    return head.encode() + line
