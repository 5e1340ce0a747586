"""Print the log of the local agent."""

import json
import time
from collections import deque

from jobworker.errors import JobworkerError
from jobworker.paths import Home
from jobworker_cli import output

PAUSE_SECONDS = 0.3  # between two looks for more lines


def show(home: Home, count: int, *, follow: bool) -> None:
    """Print the last lines; raise JobworkerError if another program has the log."""
    path = home.agent_log
    if (unit := _unit(home)) is not None:
        raise JobworkerError("the agent is a service: its log is in the journal", hint=f"journalctl {unit}")
    if not path.exists():
        raise JobworkerError(
            f"there is no {path}; an agent in the foreground logs to its stderr", hint="jw agent status"
        )
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        for line in deque(file, count):
            output.emit(line.removesuffix("\n"))
        while follow:
            if line := file.readline():
                output.emit(line.removesuffix("\n"))
            else:
                time.sleep(PAUSE_SECONDS)


def _unit(home: Home) -> str | None:
    """Return the options of journalctl for the service that the agent is; None for any other agent."""
    try:
        unit, manager = json.loads(home.address.read_bytes())["unit"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return f"--user-unit {unit}" if manager == "user" else f"--unit {unit}"
