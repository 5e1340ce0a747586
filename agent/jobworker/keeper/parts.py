"""The parts that launch, signal and reap: of a keeper, and of a runner, which has one job and no agent."""

import os
import select
import signal
from collections.abc import Iterable

from jobworker.keeper.exits import Exits
from jobworker.keeper.input import Inputs
from jobworker.keeper.launch import Launcher
from jobworker.keeper.launches import Launches
from jobworker.keeper.pump_socket import PumpSocket
from jobworker.keeper.signals import Signals
from jobworker.keeper.state import State


class Parts:
    """All that a job needs from its launch to the end of its output. Made after the handlers of signals are set."""

    def __init__(self, state: State, epoll: select.epoll) -> None:
        self.pump = PumpSocket(state, epoll)
        self.inputs = Inputs(state, self.pump)
        self.launches = Launches(state, epoll, self.pump, self.inputs)
        self.signals = Signals(state, self.launches)
        self.exits = Exits(state, self.signals, self.launches, self.inputs)
        self.launcher = Launcher(state, self.pump, self.launches, self.inputs)


def wake_on(numbers: Iterable[int], epoll: select.epoll) -> int:
    """Have these signals wake up the loop; return the descriptor that their numbers are read from."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    epoll.register(reader, select.EPOLLIN)
    return reader
