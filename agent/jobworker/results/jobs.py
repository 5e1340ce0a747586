"""Answers about jobs, their inputs and their terminals."""

from msgspec import UNSET, Struct, UnsetType

from jobworker.model import Job


class Run(Struct, frozen=True):
    """The job as it was started, and the name of the subscription to its log."""

    job: Job
    subscription: str


class JobPage(Struct, frozen=True):
    """The newest jobs first; `next` is the cursor of the next page, None after the last."""

    jobs: list[Job]
    next: str | None


class Delivered(Struct, frozen=True):
    """How many processes received the signal."""

    delivered: int


class Resized(Struct, frozen=True):
    """The size of the terminal, in characters."""

    rows: int
    cols: int


class Deleted(Struct, frozen=True):
    deleted: bool


class TerminalSize(Struct, frozen=True):
    """A size of a job's terminal; `offset` is that of the first output for it, `time` None: since the start."""

    offset: int
    time: str | None
    rows: int
    cols: int


class TerminalSizes(Struct, frozen=True):
    """In the order of their times."""

    sizes: list[TerminalSize]


class ScreenCursor(Struct, frozen=True):
    """The place of the next character: row and column, counted from 0."""

    row: int
    col: int
    visible: bool


class Screen(Struct, frozen=True, kw_only=True):
    """What the terminal of a job shows after all output before `offset`.

    `text` has the rows, without the spaces at their ends. `exact`: nothing before was left out that could still be
    seen. `alternate`: a program shows its own screen in place of the usual one. `ansi` is the output that draws the
    screen on a terminal of this size, and sets its modes.
    """

    id: str
    offset: int
    exact: bool
    rows: int
    cols: int
    cursor: ScreenCursor
    title: str
    alternate: bool
    text: list[str]
    ansi: str | UnsetType = UNSET


class Written(Struct, frozen=True):
    """How many bytes of the data are new to the input, and the end of the input after them."""

    accepted: int
    offset: int


class InputEnd(Struct, frozen=True):
    """The number of bytes of the whole input; None if it is unknown, as the keeper has no such job any more."""

    offset: int | None


class Claimed(Struct, frozen=True):
    """The number to give with each write, and the end of the input."""

    lease: int
    offset: int


class Released(Struct, frozen=True):
    released: bool
