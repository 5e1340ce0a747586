"""Answers about logs and events."""

from msgspec import UNSET, Struct, UnsetType, field


class Subscribed(Struct, frozen=True):
    """The name of the subscription, and the offset of the first byte that it sends."""

    subscription: str
    offset: int


class EventsSubscribed(Struct, frozen=True):
    """The name of the subscription, and the revision after which its events begin."""

    subscription: str
    revision: int


class LogRecord(Struct, frozen=True, kw_only=True):
    """Bytes of one stream from `offset` on; or a gap in the log: `from`, `to` and the `reason` in place of data.

    `encoding` of the data is `utf8` or `base64`; `time` is the arrival of its first byte.
    """

    job: str
    offset: int | UnsetType = UNSET
    stream: str | UnsetType = UNSET
    time: str | UnsetType = UNSET
    data: str | UnsetType = UNSET
    encoding: str | UnsetType = UNSET
    from_: int | UnsetType = field(default=UNSET, name="from")
    to: int | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class LogRecords(Struct, frozen=True):
    """One page of a log; the next begins at `next`, and `end` is the end of the log at present."""

    records: list[LogRecord]
    next: int
    end: int


class LogMatch(Struct, frozen=True):
    """A match: `length` bytes of a stream from `offset` on, which are in `data`, bytes of that line, from `at` on.

    `cut`: the line has more than `data`. `encoding` of the data is `utf8` or `base64`; `at` counts bytes in any case.
    """

    offset: int
    stream: str
    line: int
    length: int
    data: str
    encoding: str
    at: int
    cut: bool


class LogMatches(Struct, frozen=True):
    """What one call has found; unless it is `complete`, the next one goes on at `next`.

    `end` is the end of the log at present, `numbered_from` the offset at which line 1 begins.
    """

    matches: list[LogMatch]
    count: int
    next: int
    end: int
    complete: bool
    numbered_from: int


class LogLine(Struct, frozen=True):
    """One line, from `offset` to `end`, in parts of one stream each; `cut`: it has more than these."""

    line: int
    offset: int
    end: int
    records: list[LogRecord]
    cut: bool


class LogLines(Struct, frozen=True):
    """Lines in order; unless `complete`, none yet, as those before are still being counted: call again.

    `total` is the number of lines in the log, None if they are not all counted. `end` is the end of the log at
    present, `numbered_from` the offset at which line 1 begins.
    """

    lines: list[LogLine]
    complete: bool
    total: int | None
    end: int
    numbered_from: int
