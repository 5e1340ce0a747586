"""Parent of every job: launch, signal and reap, and write the journal of starts and exits.

One thread that never waits for a launch, a job, a log or the network; no log bytes, no plugins, no keys. It outlives
the agent: the next one connects to the same socket. Messages: ``docs/reference/keeper-protocol.md``.
"""

import errno
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from jobworker.keeper import upgrade
from jobworker.keeper.adoption import Adoption
from jobworker.keeper.agent_socket import AgentSocket
from jobworker.keeper.child import can_change_user
from jobworker.keeper.commands import Commands
from jobworker.keeper.limiting import Limiting
from jobworker.keeper.parts import Parts, wake_on
from jobworker.keeper.run_folder import ensure
from jobworker.keeper.state import State
from jobworker.keeper.terminals import Terminals, find_terminal
from jobworker.keeper.usage import v1_roots
from jobworker.keeper.wire import VERSION, decode
from jobworker.linux.proc import boot_id

IDLE_EXIT_SECONDS = 60.0  # without agent and job
RETRY_SECONDS = 0.2  # between two attempts to write the journal or to start a pump, and looks at a zombie


class Keeper:
    """The loop: one connection to an agent, one to a pump, and the children."""

    def __init__(self, code: int, listener: socket.socket, lock: int, state: State) -> None:
        self._code = code  # the checksum of the files that this process was made from
        self._lock = lock  # held for life: at most one keeper on a state folder
        self._quitting = False  # whether to leave when the last job has ended
        self._state = state
        self._epoll = select.epoll()
        self._wakeup = wake_on((signal.SIGCHLD,), self._epoll)
        signal.signal(signal.SIGHUP, self._hang_up)
        self._agent = AgentSocket(listener, self._epoll, state, self._handle)
        parts = Parts(state, self._epoll)
        self._pump, self._launches, self._launcher = parts.pump, parts.launches, parts.launcher
        self._signals, self._exits = parts.signals, parts.exits
        self._adoption = Adoption(state, self._epoll, parts.pump, parts.exits, parts.inputs)
        self._operations: dict[str, Callable[[dict[str, Any]], dict[str, Any] | None]] = {
            "hello": self._hello,
            "launch": self._launch,
            "signal": self._signals.signal,
            "freeze": self._signals.freeze,
            "limit": Limiting(state).limit,
            "release": self._signals.release,
            "command": Commands(state).command,
            "resize": Terminals(state).resize,
            "adopt": self._adoption.adopt,
            "exited": self._adoption.exited,
            "upgrade": self._upgrade,
            "quit": self._quit,
        }
        self._no_terminal = find_terminal()  # why no job can have one; "": they can
        state.journal.note({"event": "opened", "v": VERSION, "pid": os.getpid(), "boot": boot_id()})

    def begin(self) -> None:
        """Take the pump of the keeper before, or start one."""
        if not self._pump.join():
            self._pump.ensure()

    def go_on(self, handed: dict[str, Any]) -> None:
        """Go on where the version before stopped."""
        upgrade.restore(self._state, handed)
        self._quitting = handed["quitting"]
        for job in self._state.jobs.values():
            if job.pidfd >= 0:
                self._adoption.watch(job)
            self._launches.resume(job)
        self._agent.take(socket.socket(fileno=handed["agent"]))
        self._agent.answers = handed["answers"]
        self._pump.ensure()
        self._exits.reap()
        self._agent.send()

    def run(self) -> None:
        """Serve until there is nothing left to do."""
        while not self._may_leave():
            for fd, _ in self._epoll.poll(self._timeout()):
                if fd == self._wakeup:
                    os.read(fd, 4096)
                elif fd == self._agent.fileno():
                    self._agent.read()
                    self._launcher.start()
                elif fd == self._pump.fileno():
                    self._pump.read()
                elif fd == self._agent.listener.fileno():
                    self._agent.accept()
                    self._quitting = False  # the agent before has asked for that, and this one needs a keeper
                elif self._launches.has_report(fd):
                    self._launches.read(fd)
                elif fd in self._state.adopted:
                    self._adoption.ended(fd)
            self._exits.reap()
            self._adoption.look()
            self._launches.expire()
            self._pump.ensure()
            self._pump.send_pipes()
            self._agent.send()
            if self._state.unreachable:
                self._open_socket()
        run, unlink, rmdir = self._state.run_folder, os.unlink, os.rmdir
        for remove, name in ((unlink, "keeper.sock"), (unlink, "pump.sock"), (rmdir, "fifo"), (rmdir, "")):
            try:
                remove(f"{run}/{name}")  # the folder itself last, unless an agent has its lock there
            except OSError:
                pass
        self._state.limits.remove_all()
        self._state.cgroups.remove_all()

    def _hang_up(self, *_: object) -> None:
        """SIGHUP: an agent found no socket to connect to. The loop wakes up, and makes one."""
        self._state.unreachable = True

    def _open_socket(self) -> None:
        self._state.unreachable = False
        try:
            ensure(self._state)
            self._agent.open_socket()
        except OSError as error:
            print(f"no agent can connect: {error}", file=sys.stderr, flush=True)

    def _may_leave(self) -> bool:
        if self._state.jobs or self._state.journal.owed or self._state.ending:
            return False
        if self._agent.answers:  # the agent does not read at the moment: it must get the answer to `quit`
            return False
        if self._quitting:
            return True
        return self._agent.socket is None and time.monotonic() - self._agent.alone_since >= IDLE_EXIT_SECONDS

    def _timeout(self) -> float:
        """Return how long the loop may wait for news, in seconds; -1: for ever."""
        state = self._state
        if state.journal.owed or state.exit_owed or self._pump.socket is None or self._adoption.unreaped:
            return RETRY_SECONDS
        if self._agent.socket is None and not self._state.jobs:
            return max(0.0, self._agent.alone_since + IDLE_EXIT_SECONDS - time.monotonic())
        return self._launches.timeout()

    # Operations

    def _handle(self, data: bytes) -> dict[str, Any]:
        """Carry out one message; return the answer, which has `error` and `errno` if it was refused."""
        answer: dict[str, Any] = {"re": None}
        try:
            message = decode(data)
            answer["re"] = message.get("re")
            operation = self._operations.get(message["op"])
            if operation is None:
                raise OSError(errno.ENOSYS, f"this keeper knows no {message['op']!r}")
            if operation != self._launch:
                self._launcher.start()  # it may be about a job of this turn
            answer |= operation(message) or {}
        except OSError as error:
            answer |= {"error": (error.strerror or str(error))[:500], "errno": error.errno}
        except Exception as error:
            traceback.print_exc()
            answer |= {"error": repr(error)[:500], "errno": errno.EPROTO}
        return answer

    def _hello(self, message: dict[str, Any]) -> dict[str, Any]:
        state = self._state
        return {
            "v": VERSION,
            "code": self._code,
            "pid": os.getpid(),
            "boot": boot_id(),
            "pump": state.pump_pid,
            "splice": self._pump.splices,
            "punch": self._pump.punches,
            "cgroup": state.cgroups.root,
            "no_cgroup": state.cgroups.missing,
            "limits": list(state.limits.roots),
            "no_limits": state.limits.missing,
            "room": state.room,
            "trial_ms": round(state.trial_seconds * 1000, 1),
            "v1": v1_roots(state),
            "namespace": state.namespace,
            "no_namespace": state.no_namespace,
            "private_tmp": state.private_tmp,
            "no_private_tmp": state.no_private_tmp,
            "sandbox": state.sandbox,
            "no_sandbox": state.no_sandbox,
            "terminal": not self._no_terminal,
            "no_terminal": self._no_terminal,
            "stdin": True,
            "secrets": True,
            "secret_files": True,
            "users": "any" if can_change_user() else "agent",
        }

    def _launch(self, message: dict[str, Any]) -> None:
        self._launcher.launch(message)
        self._quitting = False

    def _quit(self, message: dict[str, Any]) -> None:
        """Leave at once, or as soon as the last job has ended."""
        self._quitting = True

    def _upgrade(self, message: dict[str, Any]) -> None:
        """Execute the next version in place; it sends the answer."""
        assert self._agent.socket is not None
        sockets = {
            "listener": self._agent.listener.fileno(),
            "agent": self._agent.socket.fileno(),
            "lock": self._lock,
        }
        answers = [*self._agent.answers, {"re": message["re"]}]
        upgrade.execute(message["command"], self._state, sockets, {"quitting": self._quitting, "answers": answers})
