"""A log as a client follows it: its chunks, and the offset where to continue after a lost connection."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from jobworker.model import Job, LogEnd, LogGap
from jobworker.protocol import decode_data


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Bytes of one stream (`stdout`, `stderr`); `offset` is the position of the first in the whole log."""

    offset: int
    stream: str
    time: str
    data: bytes


def chunk_of(record: dict[str, Any]) -> LogChunk:
    """Return a record of the protocol as a chunk; its data is text, base64 or, in `bytes`, raw."""
    data = record["bytes"] if "bytes" in record else decode_data(record["data"], record["encoding"])
    return LogChunk(record["offset"], record["stream"], record["time"], data)


@dataclass(frozen=True, slots=True)
class LogPage:
    """One page: chunks and the ranges (from, to) that the log does not hold; the next page begins at `next`."""

    chunks: list[LogChunk]
    gaps: list[tuple[int, int]]
    next: int
    end: int

    @classmethod
    def of(cls, answer: dict[str, Any]) -> "LogPage":
        chunks = [chunk_of(record) for record in answer["records"] if "from" not in record]
        gaps = [(record["from"], record["to"]) for record in answer["records"] if "from" in record]
        return cls(chunks, gaps, answer["next"], answer["end"])


class LogFollower:
    """The chunks of a log from `offset` on; when they are over, `end` has how the job ended.

    `gaps` are the ranges passed so far that the log does not hold.
    """

    def __init__(self, job: Job, options: dict[str, Any], report: Callable[[str], None]) -> None:
        self.job = job  # as it was when the subscription began
        self.offset = 0  # of the next byte: where to go on after a lost connection
        self.end: LogEnd | None = None
        self.gaps: list[LogGap] = []
        self._options = options  # of log.subscribe besides the offset: the same again after a lost connection
        self._report = report

    def params(self, **start: Any) -> dict[str, Any]:
        """Return the params of log.subscribe; `start` is where to begin (offset, tail, since)."""
        return {"id": self.job.id, **self._options, **start}

    def take(self, method: str, params: dict[str, Any]) -> LogChunk | None:
        """Advance by a notification, and return its chunk if it has one."""
        if method == "log.data":
            chunk = chunk_of(params)
            self.offset = chunk.offset + len(chunk.data)
            return chunk
        if method == "log.end":
            self.end = msgspec.convert(params, LogEnd)
            self.offset = self.end.offset
        elif method == "log.gap":
            self.gaps.append(gap := msgspec.convert(params, LogGap))
            self.offset = gap.to
            missing = gap.to - gap.from_
            self._report(f"{missing} bytes of the output of job {gap.job} are missing: {gap.reason}")
        return None
