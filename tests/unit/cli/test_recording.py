"""The order and the times of a recording."""

from typing import Any

from jobworker.client import LogChunk
from jobworker.model import Job, JobSpec, State, TtySpec
from jobworker.results import TerminalSize
from jobworker_cli.recording import Event, Recording


def at(second: int) -> str:
    return f"2030-01-01T00:00:{second:02}.5Z"


def job(**spec: Any) -> Job:
    begun = "2030-01-01T00:00:00Z"
    given = JobSpec(argv=["echo", "a b"], tty=TtySpec(24, 80), **spec)
    return Job(id="1", name=None, state=State.RUNNING, owner="o", created_at=begun, started_at=begun, spec=given)


def chunk(offset: int, second: int, data: bytes) -> LogChunk:
    return LogChunk(offset, "stdout", at(second), data)


def test_sizes_between_the_bytes_of_an_arrival() -> None:
    """They come at their offsets, before and after the output too, and the first is in the header."""
    sizes = [TerminalSize(0, None, 24, 80), TerminalSize(0, at(0), 9, 9), TerminalSize(2, at(3), 1, 2)]
    recording = Recording(job(), [*sizes, TerminalSize(4, at(3), 3, 4), TerminalSize(9, at(8), 5, 6)])
    events = [
        *recording.take(LogChunk(0, "stdout", at(2), b"abcd")),
        *recording.take(LogChunk(4, "stdout", at(4), b"efghi")),
    ]
    assert [(event.kind, event.data) for event in [*events, *recording.rest()]] == [
        *[("o", b"ab"), ("r", b"2x1"), ("o", b"cd"), ("r", b"4x3"), ("o", b"efghi"), ("r", b"6x5")]
    ]
    header = recording.header()
    assert (header["width"], header["height"], header["command"]) == (9, 9, "echo 'a b'")


def test_a_clock_that_was_set_back() -> None:
    """Times never go back."""
    recording = Recording(job(name="n", env={"TERM": "dumb"}), [TerminalSize(0, None, 24, 80)])
    times = [
        next(recording.take(LogChunk(n, "stdout", at(second), b"x"))).seconds for n, second in enumerate((1, 3, 2, 4))
    ]
    assert times == [1.5, 3.5, 3.5, 4.5]
    assert recording.header() == {
        "version": 2,
        "width": 80,
        "height": 24,
        "timestamp": 1893456000,
        "command": "echo 'a b'",
        "env": {"TERM": "dumb"},
        "title": "n",
    }
    assert [*recording.take(chunk(4, 5, b"y"))] == [Event(5.5, "o", b"y")]
