"""Run one job on the node that an engine has chosen: what is in its folder, without an agent, a socket or a network.

The folder may be on another host's disk, and the agent elsewhere. It has what to run, and the journal, the log, the
heartbeat and the answers of this process.
"""

import errno
import os
import select
import signal
import sys
import time
from typing import Any

from jobworker.keeper.control import Control
from jobworker.keeper.descendants import Descendants
from jobworker.keeper.ending import Ending
from jobworker.keeper.heartbeat import Heartbeat
from jobworker.keeper.job import Job
from jobworker.keeper.memory import Memory
from jobworker.keeper.parts import Parts, wake_on
from jobworker.keeper.state import State
from jobworker.keeper.wire import VERSION, decode
from jobworker.linux.proc import boot_id

WAKING = (signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR2)
PASSED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1)  # what an engine may send besides
LOOK_SECONDS = 1.0  # between two looks at the commands, without a ring
RETRY_SECONDS = 0.2  # between two attempts to write the journal or to start a pump
PUMP_END_SECONDS = 5.0  # for the pump to end when it has nothing left to do
NAMED = 8  # processes that the journal names of those that were killed
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE)  # of a folder that takes nothing now
CANNOT_EXECUTE, NOT_FOUND = 126, 127  # exit codes, as of a shell


class Runner:
    """The loop: one job, one pump, and the folder. `launch` is the content of the folder's file."""

    def __init__(self, folder: str, launch: dict[str, Any], state: State, environment: dict[str, str]) -> None:
        self._folder = folder
        self._id: str = launch["id"]
        self._launch = launch
        self._environment = environment  # what the engine gives its jobs: the devices they may use, its own ids
        self._state = state
        self._epoll = select.epoll()
        self._wakeup = wake_on((*WAKING, *PASSED_ON), self._epoll)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])  # what came before now comes now
        parts = Parts(state, self._epoll)
        self._pump, self._launches, self._launcher = parts.pump, parts.launches, parts.launcher
        self._signals, self._exits = parts.signals, parts.exits
        self._descendants = Descendants(state, parts.signals, self._id)
        self._control = Control(folder, self._id, parts.signals, self._descendants)
        self._heartbeat = Heartbeat(folder, self._id, self._descendants.usage)
        self._memory = Memory(self._descendants, launch["message"].get("limits") or {})
        self._begun = False  # its launch was journaled, or that it failed
        self._job: Job | None = None  # once its launch was begun; None as well if that failed at once
        self._ending: Ending | None = None
        self._gone = False  # the journal has that no process of the job is left
        self._terminated = False  # the engine's TERM came
        self._look_at = 0.0  # on CLOCK_MONOTONIC: when the commands are looked at again
        self._synced = 0  # the size of the journal that is on the server
        state.journal.note({"event": "opened", "v": VERSION, "pid": os.getpid(), "boot": boot_id()})

    def run(self) -> int:
        """Return the exit code of the job when its processes are gone and its output is written."""
        while not self._is_over():
            for fd, _ in self._epoll.poll(self._timeout()):
                if fd == self._wakeup:
                    self._take_signals(os.read(fd, 4096))
                elif fd == self._pump.fileno():
                    self._pump.read()
                elif self._launches.has_report(fd):
                    self._launches.read(fd)
            if self._job is not None and not self._job.ended:
                self._memory.look(self._job)  # before it is reaped: its record has the reason
            self._exits.reap()
            self._launches.expire()
            self._pump.ensure()
            self._pump.send_pipes()
            if self._begun:
                self._follow()
            else:
                self._begin()
            self._heartbeat.beat()
            self._sync_journal()
        self._end_pump()
        self._heartbeat.sync_log()
        os.fdatasync(self._state.journal.fd)
        return self._exit_code()

    def kill(self) -> None:
        """End the job at once: this process cannot go on, and no other one knows of its processes."""
        self._descendants.signal(signal.SIGKILL, strike=False)

    def _take_signals(self, numbers: bytes) -> None:
        for number in numbers:
            if number == signal.SIGTERM:
                self._terminated = True
            elif number == signal.SIGUSR2:
                self._look_at = 0.0
            elif number in PASSED_ON:
                self._descendants.signal(number, strike=False)

    def _is_over(self) -> bool:
        if not self._begun or not self._gone or self._id in self._state.jobs:
            return False
        hopeless = self._job is None and self._terminated  # nothing runs, and the folder has no room to write that
        return hopeless or not self._state.journal.owed

    def _timeout(self) -> float:
        """Return how long the loop may wait for news, in seconds."""
        waits = [self._heartbeat.timeout(), max(0.0, self._look_at - time.monotonic())]
        if not self._begun or self._state.journal.owed or self._state.exit_owed or self._pump.socket is None:
            waits.append(RETRY_SECONDS)
        if self._ending is not None:
            waits += [self._ending.timeout(), self._memory.timeout()]
        if (launch := self._launches.timeout()) >= 0:
            waits.append(launch)
        return min(waits)

    def _begin(self) -> None:
        """Launch the job; if the folder has no room for what is to be journaled, try again later."""
        message = self._message()
        try:
            self._launcher.launch(message)
        except OSError as error:
            if error.errno in FULL and not self._terminated:
                return
            failed = {"event": "start_failed", "id": self._id, "step": "setup", "errno": error.errno}
            self._state.journal.note(failed | {"detail": error.strerror or str(error)})
        self._begun = True
        self._job = self._state.jobs.get(self._id)
        if self._job is not None:
            self._ending = Ending(self._launch, self._job, self._descendants)
            self._launcher.start()

    def _message(self) -> dict[str, Any]:
        """Return what the parts of the keeper launch, as far as this process can do it."""
        message: dict[str, Any] = self._launch["message"] | {"id": self._id, "namespace": False}
        limits = message.get("limits") or {}
        if refused := sorted(limits.keys() - {"memory"}):
            print(f"the engine limits {', '.join(refused)}, not this runner", file=sys.stderr, flush=True)
        message["limits"] = {}
        message["env"] = {**self._environment, **message["env"]}
        if (message.get("user") or {}).get("uid") == os.geteuid():
            del message["user"]  # we are that user
        return message

    def _follow(self) -> None:
        """Do what is due for the job, and see whether it is gone."""
        if self._id in self._state.launches:
            if self._terminated:
                self._signals.signal(
                    {"id": self._id, "signal": signal.SIGKILL, "target": "main", "pids": [], "strike": False}
                )
            return
        if self._ending is not None:
            if self._terminated:
                self._ending.terminate()
            self._ending.look()
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_SECONDS
            self._control.look()
        if not self._gone and self._has_ended() and self._descendants.are_gone():
            self._gone = True
            self._state.journal.note(self._gone_record())

    def _has_ended(self) -> bool:
        """Whether the main process has ended, or the launch has failed."""
        return self._job is None or self._job.ended or self._id not in self._state.jobs

    def _gone_record(self) -> dict[str, Any]:
        by, killed = (self._ending.by, self._ending.killed) if self._ending is not None else ("", {})
        named = [{"pid": pid, "name": name} for pid, name in [*killed.items()][:NAMED]]
        record = {"event": "gone", "id": self._id, "method": "descendants", "proof": "complete"}
        return record | {"killed": len(killed), "processes": named, "by": by}

    def _sync_journal(self) -> None:
        """Have the server know at once what the journal of a job on another host has."""
        size = self._state.journal.size
        if self._heartbeat.remote and size != self._synced:
            try:
                os.fdatasync(self._state.journal.fd)
                self._synced = size
            except OSError as error:
                print(f"the journal cannot be synced: {error}", file=sys.stderr, flush=True)

    def _end_pump(self) -> None:
        """Have the pump end, now that it has nothing left to write."""
        if self._pump.socket is not None:
            self._pump.socket.close()
        if self._state.pump_pid:
            pidfd = os.pidfd_open(self._state.pump_pid)
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if not poll.poll(PUMP_END_SECONDS * 1000):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)

    def _exit_code(self) -> int:
        """Return what a shell would: the job's code, 128 and the number of its signal, or why it did not start."""
        for line in os.pread(self._state.journal.fd, self._state.journal.size, 0).splitlines():
            record = decode(line)
            if record["event"] == "ended":
                return int(record["code"] if record["code"] is not None else 128 + record["signal"])
            if record["event"] == "start_failed" and record["errno"] == errno.ENOENT:
                return NOT_FOUND
        return CANNOT_EXECUTE
