"""Carry out the commands that the agent puts into the job folder, each once and in the order of their numbers."""

import errno
import signal
import sys
from collections.abc import Callable
from typing import Any

from jobworker.formats import job_folder
from jobworker.keeper.descendants import Descendants
from jobworker.keeper.signals import Signals


class Control:
    """The operations `signal`, `freeze` and `thaw` of a runner."""

    def __init__(self, folder: str, job: str, signals: Signals, descendants: Descendants) -> None:
        self._folder = folder
        self._job = job
        self._signals = signals
        self._descendants = descendants
        self._done: set[int] = set()  # numbers of the commands that were carried out
        self._owed: dict[int, dict[str, Any]] = {}  # by number: answers that could not be written yet
        self._operations: dict[str, Callable[[dict[str, Any]], int]] = {
            "signal": self._signal,
            "freeze": lambda _: self._descendants.freeze(),
            "thaw": self._thaw,
        }

    def look(self) -> None:
        """Carry out what is new, and answer."""
        try:
            numbers = job_folder.command_numbers(self._folder)
        except OSError as error:
            print(f"no command can be read: {error}", file=sys.stderr, flush=True)
            return
        for number in numbers:
            if number not in self._done:
                self._carry_out(number)
        for number, answer in [*self._owed.items()]:
            try:
                job_folder.write_answer(self._folder, number, answer)
            except OSError:
                return  # a full disk: at the next look
            del self._owed[number]

    def _carry_out(self, number: int) -> None:
        try:
            command = job_folder.read_command(self._folder, number)
        except FileNotFoundError:
            return  # the agent has taken it back
        except OSError as error:
            print(f"command {number} cannot be read: {error}", file=sys.stderr, flush=True)
            return  # at the next look
        except ValueError as error:
            command = {"fault": str(error)}
        self._done.add(number)
        self._owed[number] = self._answer(command)

    def _answer(self, command: dict[str, Any]) -> dict[str, Any]:
        try:
            if "fault" in command:
                raise ValueError(command["fault"])
            operation = self._operations.get(command.get("op", ""))
            if operation is None:
                raise OSError(errno.ENOSYS, f"this runner knows no {command.get('op')!r}")
            return {"delivered": operation(command)}
        except OSError as error:
            return {"error": error.strerror or str(error), "errno": error.errno}
        except (ValueError, TypeError, KeyError) as error:
            return {"error": repr(error)[:500], "errno": errno.EINVAL}

    def _signal(self, command: dict[str, Any]) -> int:
        number, strike = int(command["signal"]), bool(command.get("strike", True))
        if number and number not in signal.valid_signals():  # 0 asks whether a process is there
            raise ValueError(f"{number} is no signal")
        if command.get("target", "all") == "all":
            return len(self._descendants.signal(number, strike=strike))
        message = {"id": self._job, "signal": number, "target": "main", "strike": strike}
        return int(self._signals.signal(message)["delivered"])

    def _thaw(self, _: dict[str, Any]) -> int:
        return len(self._descendants.signal(signal.SIGCONT, strike=False))
