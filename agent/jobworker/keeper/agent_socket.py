"""The keeper's end of the connection to the agent: one agent at a time, messages in, answers and news out."""

import os
import select
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from jobworker.keeper.state import State
from jobworker.keeper.wire import MESSAGE, encode

MESSAGES_PER_TURN = 32  # that are read before pump and children get their turn
# After which no more are read, as the answers of a turn are sent at its end: the agent replaces a silent keeper, and
# on a slow host so many launches may take longer than it waits.
TURN_SECONDS = 0.25
ANSWERS_PER_MESSAGE = 256
ONE_DESCRIPTOR = socket.CMSG_LEN(4)  # bytes: room for the file in memory that a large message comes as


class AgentSocket:
    """The listener and the agent that it accepted. `handle` gets each message and returns the answer."""

    def __init__(
        self, listener: socket.socket, epoll: select.epoll, state: State, handle: Callable[[bytes], dict[str, Any]]
    ) -> None:
        self.listener = listener
        self._epoll = epoll
        self._state = state
        self._handle = handle
        self.socket: socket.socket | None = None
        self.answers: list[dict[str, Any]] = []  # to be sent in the next turn
        self.alone_since = time.monotonic()  # when the last agent left
        self._full = False  # the agent's socket takes no more for now
        self._buffer = memoryview(bytearray(MESSAGE))  # messages are received into it, one after the other
        self._last_sent = (0, 0)  # the size of the journal and the pid of the pump, as the agent knows them
        epoll.register(listener, select.EPOLLIN)

    def fileno(self) -> int:
        return self.socket.fileno() if self.socket else -1

    def accept(self) -> None:
        """Take the next agent; while there is one, the others wait in the backlog."""
        self.take(self.listener.accept()[0])

    def open_socket(self) -> None:
        """Listen in the run folder of now: the socket that the agents connect to was removed."""
        path = f"{self._state.run_folder}/keeper.sock"
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(8)
        listener.setblocking(False)
        if self.socket is None:
            self._epoll.unregister(self.listener)
            self._epoll.register(listener, select.EPOLLIN)
        self.listener.close()
        self.listener = listener

    def take(self, agent: socket.socket) -> None:
        """Serve this agent until it closes the connection."""
        self.socket = agent
        agent.setblocking(False)
        agent.set_inheritable(False)
        self._epoll.unregister(self.listener)
        self._epoll.register(agent, select.EPOLLIN)
        self._full = False
        self._last_sent = (0, 0)

    def read(self) -> None:
        """Handle what the agent has sent, or notice that it is gone."""
        assert self.socket is not None
        began = time.monotonic()
        for _ in range(MESSAGES_PER_TURN):
            if time.monotonic() - began > TURN_SECONDS:
                return
            try:
                data, fds = self._receive(self.socket)
            except BlockingIOError:
                return
            except ConnectionResetError:
                continue  # it died with answers unread: what it asked before is still to come
            except OSError:
                data, fds = b"", []
            if not data:
                self._epoll.unregister(self.socket)
                self.socket.close()
                self.socket = None
                self.answers = []
                self.alone_since = time.monotonic()
                self._epoll.register(self.listener, select.EPOLLIN)
                return
            for fd in fds:  # too large for a message: it came as a file in memory
                with open(fd, "rb") as file:
                    data = file.read()
            self.answers.append(self._handle(data))

    def _receive(self, agent: socket.socket) -> tuple[bytes, list[int]]:
        """Return the next message and the descriptor beside it, if there is one; raise OSError."""
        length, ancillary, _, _ = agent.recvmsg_into([self._buffer], ONE_DESCRIPTOR)
        fds = [int.from_bytes(data[:4], sys.byteorder) for _, _, data in ancillary]
        return bytes(self._buffer[:length]), fds

    def send(self) -> None:
        """Send the news, the journal's size and the pump's pid, then the answers of this turn."""
        news = (self._state.journal.size, self._state.pump_pid)
        if self.socket is None or (news == self._last_sent and not self.answers):
            return
        message = encode({"journal": news[0], "pump": news[1], "answers": self.answers[:ANSWERS_PER_MESSAGE]})
        try:
            self.socket.send(message.encode())
        except BlockingIOError:
            self._full = True
            self._epoll.modify(self.socket, select.EPOLLIN | select.EPOLLOUT)
            return
        except OSError:
            return  # read() will see that the agent is gone
        if self._full:
            self._full = False
            self._epoll.modify(self.socket, select.EPOLLIN)
        self._last_sent = news
        del self.answers[:ANSWERS_PER_MESSAGE]
        if self.answers:
            self.send()
