"""Write: data to stdout, everything else to stderr; colours and sanitised text on a terminal only."""

import io
import os
import select
import stat
import sys
from collections.abc import Callable, Iterable
from typing import Any, TextIO

from jobworker_cli.output.sanitise import escaped_json, harmless, printable

DIM, RED, YELLOW = "2", "31", "33"
line_end = b"\n"  # of a note; another one while the terminal is raw


class _Colours:
    wanted: bool | None = None  # by --color; None: as the environment and the file have it


colours = _Colours()


class ReaderGone(Exception):
    """The reader of our output has closed it."""


class Whole(io.RawIOBase):
    """A file descriptor to which each write is written whole, also if it does not block or takes a part only."""

    def __init__(self, file: TextIO, name: str) -> None:
        self._fd = file.fileno()
        self.name = name
        # Returns when the descriptor takes bytes again, or has an error.
        self._wait: Callable[[int], None] = wait_writable
        # How much is written at once: what a descriptor that blocks takes without a wait if it is writable at all.
        self._most: int | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def wait_by(self, wait: Callable[[int], None]) -> None:
        """Have `wait` called in place of a write that would block; it returns when the descriptor is writable."""
        kind = os.fstat(self._fd).st_mode
        socket = stat.S_ISSOCK(kind)
        if not (socket or stat.S_ISFIFO(kind) or os.isatty(self._fd)):
            return  # a file, or /dev/null
        self._wait = wait
        try:
            if socket:
                raise OSError
            # Opened again: what shares the descriptor with us keeps one that blocks.
            self._fd = os.open(f"/proc/self/fd/{self._fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:  # a socket, or a pipe of another user
            self._most = select.PIPE_BUF

    def write(self, data: Any) -> int:
        """Write all bytes; raise ReaderGone, or OSError with the name of this output."""
        left = memoryview(data)
        while left:
            try:
                if self._most is not None:
                    self._wait(self._fd)
                left = left[os.write(self._fd, left[: self._most]) :]
            except BlockingIOError:  # ours, or another process, such as ssh or node, has set it to non-blocking
                self._wait(self._fd)
            except BrokenPipeError:
                raise ReaderGone from None
            except OSError as error:
                raise OSError(error.errno, error.strerror, self.name) from None
        return len(data)


def wait_writable(descriptor: int) -> None:
    """Return when the descriptor takes bytes, or has an error."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll()


def write_whole() -> None:
    """Replace stdout and stderr, for us and for libraries, by such that write whole."""
    if sys.stdout is not None:
        sys.stdout = _text(sys.stdout, "stdout")
    if sys.stderr is not None:
        sys.stderr = _text(sys.stderr, "stderr")


def files() -> list[Whole]:
    """Return stdout and stderr, those that were replaced."""
    buffers = [file.buffer for file in (sys.stdout, sys.stderr) if file is not None]
    return [buffer for buffer in buffers if isinstance(buffer, Whole)]


def _text(file: TextIO, name: str) -> TextIO:
    whole: Any = Whole(file, name)  # a raw file does for a buffered one: nothing may wait in a buffer
    return io.TextIOWrapper(whole, file.encoding, "backslashreplace", write_through=True)


def coloured(file: TextIO | None) -> bool:
    """Return whether colours may be written there."""
    if colours.wanted is not None:
        return colours.wanted
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return file is not None and file.isatty() and not plain


def paint(text: str, colour: str, file: TextIO | None) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if coloured(file) else text


def emit(text: str) -> None:
    """Write a line of data."""
    put(sys.stdout, line_of(text))


def emit_text(text: str) -> None:
    """Write lines of our own: `emit` takes the ends of lines in values for what they are not."""
    for line in text.splitlines():
        emit(line)


def line_of(text: str) -> bytes:
    """Return a line of data; for a pipe or file, with the bytes of file names that are not UTF-8."""
    if sys.stdout is not None and sys.stdout.isatty():
        data = harmless(text).encode(errors="backslashreplace")
    else:
        try:
            data = text.encode(errors="surrogateescape")
        except UnicodeEncodeError:  # other surrogates, which no file name has
            data = text.encode(errors="backslashreplace")
    return data + b"\n"


def emit_json(value: Any) -> None:
    """Write a value as one line of JSON."""
    emit(json_text(value))


def json_text(value: Any) -> str:
    """Return a value as one line of JSON that a terminal can show."""
    import json  # seldom needed

    return escaped_json(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def show(
    value: Any, text: Iterable[str] = (), *, as_json: bool, quiet: bool = False, ids: Iterable[str] = ()
) -> None:
    """Write the result of a command: as one line of JSON, or with `quiet` its ids, or lines of text."""
    if as_json:
        emit_json(value)
        return
    for line in map(printable, ids) if quiet else text:
        emit(line)


def note(text: str) -> None:
    """Write a note for the user to stderr, in one dim line."""
    write_stderr(paint(f"jw: {printable(text)}", DIM, sys.stderr))


def error(text: str, next_command: str = "") -> None:
    """Write an error to stderr, with the command that helps."""
    write_stderr(f"jw: {paint('error:', RED, sys.stderr)} {printable(text)}")
    if next_command:
        hint(next_command)


def hint(command: str) -> None:
    """Write the next command to stderr."""
    write_stderr(hint_text(command))


def hint_text(command: str) -> str:
    """Return the line of a hint."""
    return f"{paint('hint:', YELLOW, sys.stderr)} {printable(command)}"


def write_stderr(text: str) -> None:
    """Write a line to stderr; ignore that its reader is gone."""
    try:
        put(sys.stderr, text.encode(errors="backslashreplace") + line_end)
    except (ReaderGone, OSError):
        pass


def put(file: TextIO | None, data: bytes) -> None:
    """Write bytes at once, or nothing if the file was closed before we started; raise ReaderGone or OSError."""
    if file is not None:
        file.buffer.write(data)
