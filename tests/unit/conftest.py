"""No test of this folder starts a process or connects a socket, so that all of them run in seconds."""

import sys
from collections.abc import Iterator

import pytest

FORBIDDEN = {
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.system",
    "socket.bind",
    "socket.connect",
    "subprocess.Popen",
}
_active = [False]  # whether a test of this folder runs; an audit hook cannot be removed


def _refuse(event: str, arguments: object) -> None:
    if event in FORBIDDEN and _active[0]:
        raise RuntimeError(f"{event} in tests/unit; move the test to the folder of what it starts")


sys.addaudithook(_refuse)


@pytest.fixture(autouse=True)
def pure() -> Iterator[None]:
    """Fail what starts a process or connects a socket."""
    _active[0] = True
    yield
    _active[0] = False
