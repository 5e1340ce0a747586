"""The agent as a service of systemd: report readiness, reloads, the end and signs of life, see sd_notify(3).

Nothing here ends the agent: a service manager that cannot be reached is logged once.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import MutableMapping
from pathlib import Path

log = logging.getLogger(__name__)

# Variables that systemd sets for the main process of a service. No child may inherit them: a keeper, a job or the
# command of a plugin could report in the agent's name.
VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
FIRST_LISTEN_FD = 3
SEND_SECONDS = 1.0  # for which a report waits until the service manager has room for it


class Service:
    """Reports to the service manager; without one every method does nothing.

    `managed` is whether systemd started this very process as the main process of a service.
    """

    def __init__(self, environ: MutableMapping[str, str], *, local: bool = False) -> None:
        """Take systemd's variables out of `environ`. An agent in the background (`local`) only drops them."""
        taken = {name: environ.pop(name) for name in VARIABLES if name in environ}
        self.managed = not local and _started_by_systemd(environ, taken)
        # SYSTEMD_EXEC_PID (systemd 248) of another process: that one is the service, and only inherited the socket.
        foreign = local or ("SYSTEMD_EXEC_PID" in environ and not self.managed)
        self._address = "" if foreign else _socket_name(taken.get("NOTIFY_SOCKET", ""))
        self._watchdog = 0.0 if foreign else _watchdog(taken)
        self._timer: asyncio.TimerHandle | None = None  # of the next sign of life
        self._failed = False  # the last report could not be sent
        # For the process that is executed in place of this one, which has the same pid.
        self.variables = {} if foreign else {name: taken[name] for name in VARIABLES[:3] if name in taken}
        _keep_from_children(taken)

    def open(self) -> None:
        """Report from now on that the event loop runs, twice in each interval of the watchdog."""
        if self._address and self._watchdog:
            self._send("WATCHDOG=1", patience=0)
            self._timer = asyncio.get_running_loop().call_later(self._watchdog / 2, self.open)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def ready(self, status: str) -> None:
        """Report that the agent serves: after the start, after a reload, after a restart in place."""
        self._send("READY=1", f"MAINPID={os.getpid()}", f"STATUS={status}")

    def reloading(self, status: str) -> None:
        """Report a SIGHUP or a restart in place, so that the manager waits for `ready` and starts no other agent."""
        # systemd orders reloads by this time, which is one of its own clock: without it `notify-reload` ignores them.
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now}", f"STATUS={status}")

    def stopping(self, status: str, limit: float) -> None:
        """Report that the agent ends, which may take `limit` seconds even if TimeoutStopSec= is shorter."""
        self._send("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(limit * 1e6)}", f"STATUS={status}")

    def _send(self, *fields: str, patience: float = SEND_SECONDS) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(patience)
                sock.sendto("\n".join(fields).encode(), self._address)
            self._failed = False
        except OSError as error:
            if patience or not self._failed:  # of lost signs of life only the first is logged
                log.warning("the service manager does not get %s: %s", fields[0], error)
            self._failed = True


def own_unit() -> tuple[str, str]:
    """Return the service that this process belongs to, "" for none, and its manager: "system" (pid 1) or "user"."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    names = [name for line in lines for name in line.split("/") if name.endswith(".service")]
    return names[-1] if names else "", "system" if os.getppid() == 1 else "user"


def _started_by_systemd(environ: MutableMapping[str, str], taken: dict[str, str]) -> bool:
    """Whether a variable names this very process: a shell in a service, and what it starts, inherit all of them.

    INVOCATION_ID and NOTIFY_SOCKET therefore prove nothing. Before systemd 248 only a service with WatchdogSec=
    is recognised.
    """
    return environ.get("SYSTEMD_EXEC_PID", taken.get("WATCHDOG_PID")) == str(os.getpid())


def _socket_name(value: str) -> str:
    """Return the address for `sendto`, "" if the value is empty or unusable. A leading @ is an abstract socket."""
    if value.startswith("@"):
        return "\0" + value[1:]
    if value and not value.startswith("/"):
        log.warning("NOTIFY_SOCKET: %r; expected a path or @NAME: nothing is reported there", value)
        return ""
    return value


def _watchdog(taken: dict[str, str]) -> float:
    """Return the seconds that the watchdog waits for a sign of life; 0: this process has no watchdog."""
    if taken.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    value = taken.get("WATCHDOG_USEC", "0")
    if not (value.isascii() and value.isdigit()):
        log.warning("WATCHDOG_USEC: %r; expected microseconds: the watchdog gets no sign of life", value)
        return 0.0
    return int(value) / 1e6


def _keep_from_children(taken: dict[str, str]) -> None:
    """Mark the sockets that systemd passed to be closed at exec: the agent binds its own."""
    count = taken.get("LISTEN_FDS", "")
    if taken.get("LISTEN_PID") != str(os.getpid()) or not (count.isascii() and count.isdigit()):
        return
    for fd in range(FIRST_LISTEN_FD, FIRST_LISTEN_FD + int(count)):
        try:
            os.set_inheritable(fd, False)
        except OSError:
            return
