"""Make the agent the only one on its state folder: locks, port, address file and local token."""

import asyncio
import contextlib
import json
import logging
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from jobworker import __version__, left_folders, state_lock
from jobworker.config import Server, Unix
from jobworker.errors import JobworkerError, StartError
from jobworker.paths import Home
from jobworker.private import write_private
from jobworker.protocol import PATH
from jobworker.server.listener import bind
from jobworker.server.unix_socket import bind_unix
from jobworker.service import own_unit
from jobworker.tokens import TokenFile

log = logging.getLogger("jobworker")

PRIVATE_SOCKET = Unix()  # where only the agent's own user can reach it
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
ANY_ADDRESS = ("0.0.0.0", "::")  # only compared with; the bind address comes from the configuration
FILES_SECONDS = 5.0  # between two looks whether the files for `jw` are there
LOCAL_TOKEN = "local"  # noqa: S105  # its name


class Instance:
    """Locks and socket that an agent holds while it runs, and passes on when it restarts in place."""

    def __init__(
        self, home: Home, server: Server, *, local: bool, unix: Unix = PRIVATE_SOCKET, inherited: Sequence[int] = ()
    ) -> None:
        """Lock the state folder, bind the port and the Unix socket; raise StartError.

        `inherited`: the descriptors that `hand_over` returned to the agent before this one.
        """
        self._home = home
        self._server = server
        self._local = local  # a local agent may listen on any port
        if inherited:
            self._locks, self.unix, self.sockets = _reclaim(inherited)
        else:
            self.unix = None
            self._locks = self._lock()
            self.sockets = bind(server.hosts, self._ports())
        self._run = home.run_folder()
        path = Path(unix.path) if unix.path else self._run / "agent.sock"
        if self.unix is None or self.unix.getsockname() != str(path) or not path.is_socket():
            self.unix = bind_unix(path, configured=bool(unix.path), shared=bool(unix.users))
        self._unix_path = str(path)
        # Clients wait here during a restart in place.
        self._backlogs = [sock.dup() for sock in (self.unix, *self.sockets) if sock is not None]
        self.port = self.sockets[0].getsockname()[1]
        self._hosts = [sock.getsockname()[0] for sock in self.sockets]

    @property
    def names(self) -> list[str]:
        """The host names for which clients accept the agent's certificate."""
        bound = [host for host in self._hosts if host not in ANY_ADDRESS]
        return [*dict.fromkeys([*self._server.names, *LOCAL_NAMES, *bound])]

    @property
    def url(self) -> str:
        """The address at which clients on this host connect: of the loopback, if the agent listens there."""
        if any(host in ANY_ADDRESS for host in self._hosts):
            host = "localhost" if "0.0.0.0" in self._hosts or socket.has_dualstack_ipv6() else "[::1]"
        else:
            host = next((host for host in self._hosts if host in LOCAL_NAMES), self._hosts[0])
            host = f"[{host}]" if ":" in host else host
        return f"wss://{host}:{self.port}{PATH}"

    def _lock(self) -> list[int]:
        """Make sure that this is the only agent on the state folder; raise StartError."""
        self._home.create()
        locks = self._home.open_locks(create=True)
        for elsewhere in self._home.open_locks():  # in the run folder of an agent with another environment
            taken = state_lock.holder(elsewhere) is not None
            content = state_lock.read(elsewhere)
            os.close(elsewhere)
            if taken:
                self._refuse(content)
        if any(not state_lock.lock(each) for each in locks):
            self._refuse(state_lock.read(locks[0]))
        content = state_lock.read(locks[0])
        self._home.copied_from = state_lock.copied_from(self._home.path, content)
        self._note({**content, **state_lock.this_process()}, locks[0])
        return locks

    def _refuse(self, content: dict[str, Any]) -> NoReturn:
        state_lock.require_this_host(self._home.path, content)
        raise StartError(
            f"{self._home.path}: another agent runs on this state folder",
            hint="`jw agent info` shows it, `jw agent stop` ends it",
        )

    def note_place(self) -> None:
        """Write where the state folder is: from now on its jobs are of this place, also if it is a copy."""
        self._note({**state_lock.this_process(), **state_lock.place(self._home.path)}, self._locks[0])

    def _note(self, content: dict[str, Any], lock: int) -> None:
        """Write into the lock who holds it. A disk that is full or read-only keeps no agent from starting."""
        with contextlib.suppress(OSError):
            state_lock.write(lock, content)

    def _ports(self) -> list[int]:
        """Return the ports to try: for a local agent its last one, then any (0); else the configured one."""
        if not self._local:
            return [self._server.port]
        try:
            return [int(json.loads(self._home.address.read_bytes())["port"]), 0]
        except (OSError, ValueError, KeyError, TypeError):
            return [0]

    def create_local_token(self, tokens: TokenFile) -> None:
        """Write an admin's token into the state folder, which only the agent's own user can read."""
        try:
            token = self._home.local_token.read_text().strip()
            if tokens.find(token):
                return
        except (FileNotFoundError, JobworkerError):
            pass
        token = tokens.create(LOCAL_TOKEN, ["admin"], ["admin"], replace=True)  # it has no end
        write_private(self._home.local_token, token.encode() + b"\n")

    def write_address(self, *, managed: bool) -> None:
        """Write the agent's address for `jw` on this host; raise StartError if `jw` could not find the agent.

        `managed`: the agent runs as a service; `jw` then waits for the service and starts no other agent.
        """
        described: dict[str, Any] = {
            "address": self.url,
            "port": self.port,
            "pid": os.getpid(),
            "version": __version__,
        }
        if self.unix is not None:
            described["socket"] = self._unix_path
        if managed:
            described["unit"] = own_unit()
        try:
            write_private(self._home.address, json.dumps(described).encode())
        except OSError as error:
            if self._ports()[0] != self.port:
                raise StartError(
                    f"{self._home.address}: {error.strerror}: clients could not find the agent"
                ) from error
            log.error("%s has the agent's address, but not its pid: %s", self._home.address, error.strerror)

    async def keep_files(self, tokens: TokenFile, *, managed: bool) -> None:
        """Write address and token again if they were removed, until cancelled: without them `jw` finds no agent."""
        while True:
            await asyncio.sleep(FILES_SECONDS)
            with contextlib.suppress(JobworkerError, OSError):
                if not self._home.address.exists():
                    self.write_address(managed=managed)
                if not self._home.local_token.exists():
                    self.create_local_token(tokens)

    def remove_left_folders(self) -> None:
        """Remove the run folders of agents that were killed; blocking."""
        if removed := left_folders.remove_ended(self._home.path, self._run):
            log.info("removed %d run folders of agents that have ended: %s …", len(removed), removed[0])

    def hand_over(self) -> list[int]:
        """Return the descriptors for the agent that is executed in place of this one: locks, then the sockets."""
        return [*self._locks, *(backlog.detach() for backlog in self._backlogs)]

    def release(self) -> None:
        """Leave the state folder to another agent, and no run folder if keeper and jobs have ended."""
        for name in ("agent.sock", "agent.lock"):  # before the locks are released: the next agent makes its own
            with contextlib.suppress(OSError):
                (self._run / name).unlink()
        for place in (self._run / "fifo", self._run):
            with contextlib.suppress(OSError):  # the keeper has its sockets there: it removes them when it leaves
                place.rmdir()
        for lock in self._locks:
            os.close(lock)
        for backlog in self._backlogs:
            backlog.close()


def _reclaim(inherited: Sequence[int]) -> tuple[list[int], socket.socket | None, list[socket.socket]]:
    """Return the locks and the sockets of the agent that restarted in place as this one.

    One of the version before has no Unix socket.
    """
    for fd in inherited:
        os.set_inheritable(fd, False)
    locks = [fd for fd in inherited if not stat.S_ISSOCK(os.fstat(fd).st_mode)]
    sockets = [socket.socket(fileno=fd) for fd in inherited if fd not in locks]
    unix = sockets.pop(0) if sockets[0].family == socket.AF_UNIX else None
    return locks, unix, sockets
