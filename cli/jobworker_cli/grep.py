"""`jw logs --grep`: the lines of a log that match, found by the agent, or in what it sends as that arrives."""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

from jobworker.client import Client, LogChunk
from jobworker.protocol import STREAMS, decode_data
from jobworker_cli.declare import UsageError

MAX_LINE_BYTES = 1 << 20  # of a line that waits for its end; a longer one is matched in parts
EXCERPT_BYTES = 16384  # of a longer line the agent returns the part around its first match
PAGE_MATCHES = 10_000
SPECIAL = frozenset(r".^$*+?{}[]\|()")  # a pattern without them is a text, which any agent can search for
MORE = "…".encode()


class Grep:
    """A pattern, and whether the case of letters matters."""

    def __init__(self, pattern: str, *, case: bool) -> None:
        self.pattern = pattern
        self.case = case
        self.regex = not SPECIAL.isdisjoint(pattern)
        self.found = False  # whether any line of any job has matched

    def filters(self) -> "LineFilter":
        """Return a filter for one log; raise UsageError for a pattern that is no regular expression."""
        try:
            return LineFilter(self, re.compile(self.pattern, 0 if self.case else re.IGNORECASE))
        except re.error as error:
            raise UsageError(f"--grep: {self.pattern!r}: {error}; expected a regular expression") from None

    async def search(self, client: Client, job: str, request: dict[str, Any]) -> AsyncIterator[LogChunk]:
        """Yield the lines of a job's log that match, as the agent finds them."""
        offset, complete = request["offset"] or 0, False
        while not complete:
            answer = await client.search(
                job,
                self.pattern,
                offset,
                regex=self.regex,
                case=self.case,
                limit=PAGE_MATCHES,
                once=True,
                excerpt=EXCERPT_BYTES,
                streams=request["streams"],
            )
            for match in answer.matches:
                self.found = True
                data = decode_data(match.data, match.encoding)
                line = MORE + data + MORE if match.cut else data
                yield LogChunk(match.offset, match.stream, "", line + b"\n")
            offset, complete = answer.next, answer.complete


class LineFilter:
    """Passes on the lines of a log that match, each as a chunk with the offset and the time of its first byte."""

    def __init__(self, grep: Grep, expression: re.Pattern[str]) -> None:
        self._grep = grep
        self._expression = expression
        # By stream: the line that has no end yet.
        self._held: dict[str, LogChunk | None] = dict.fromkeys(STREAMS)

    def feed(self, chunk: LogChunk) -> Iterator[LogChunk]:
        """Yield the lines that end in a chunk and match."""
        held, self._held[chunk.stream] = self._held[chunk.stream], None
        offset = chunk.offset
        for part in _lines(chunk.data):
            line = LogChunk(offset, chunk.stream, chunk.time, part)
            offset += len(part)
            if held is not None:
                line, held = LogChunk(held.offset, held.stream, held.time, held.data + part), None
            if not part.endswith(b"\n") and len(line.data) <= MAX_LINE_BYTES:
                self._held[chunk.stream] = line
            elif self._matches(line):
                yield line

    def finish(self) -> Iterator[LogChunk]:
        """Yield the lines that have no end."""
        for line in self._held.values():
            if line is not None and self._matches(line):
                yield LogChunk(line.offset, line.stream, line.time, line.data + b"\n")
        self._held = dict.fromkeys(STREAMS)

    def _matches(self, line: LogChunk) -> bool:
        matches = self._expression.search(line.data.removesuffix(b"\n").decode(errors="surrogateescape")) is not None
        self._grep.found |= matches
        return matches


def _lines(data: bytes) -> list[bytes]:
    """Split at newlines alone."""
    *whole, last = data.split(b"\n")
    return [line + b"\n" for line in whole] + ([last] if last else [])
