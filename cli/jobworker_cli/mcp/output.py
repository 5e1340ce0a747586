"""The output of a job in an answer: all of it, or its head and its tail, or a page; never more than there is room."""

import asyncio
import base64
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jobworker.client import Client, LogChunk
from jobworker_cli.mcp import shown
from jobworker_cli.mcp.link import Link

ROOM = 13 << 10  # bytes of output in an answer, in JSON; 3 KiB are left for the rest
MAX_MISSING = 5  # ranges that are listed
END_SECONDS = 3.0  # for the rest of the output after the end of a job
Range = tuple[int, int]


@dataclass(frozen=True)
class Pages:
    """A part of a log: its bytes, the ranges in it that are not kept, and the ends of the part and of the log."""

    chunks: list[LogChunk]
    missing: list[Range]
    next: int
    end: int

    @property
    def data(self) -> bytes:
        return b"".join(chunk.data for chunk in self.chunks)

    def offset_after(self, count: int) -> int:
        """Return the offset in the log after so many bytes of the data."""
        for chunk in self.chunks:
            if count <= len(chunk.data):
                return chunk.offset + count
            count -= len(chunk.data)
        return self.next


async def read(link: Link, job: str, offset: int, count: int, streams: Sequence[str] | None = None) -> Pages:
    """Return the log from an offset on, about `count` bytes of it; raise OffsetOutOfRange."""
    chunks: list[LogChunk] = []
    missing: list[Range] = []
    held = 0
    while True:
        start, room = offset, count - held
        page = await link.repeat(lambda client: client.read(job, start, room, streams))  # noqa: B023  # awaited here
        chunks += page.chunks
        missing += page.gaps
        held += sum(len(chunk.data) for chunk in page.chunks)
        offset = page.next
        if held >= count or offset >= page.end or page.next == start:
            return Pages(chunks, missing, offset, page.end)


@dataclass
class Part:
    """A piece of output as it is shown. `end` is the offset behind it; `note` is about what is no text in it."""

    offset: int
    end: int
    text: str
    note: str = ""
    not_text: bool = False

    @classmethod
    def of(cls, data: bytes, offset: int, end: int) -> "Part":
        text, bad = shown.text_of(data)
        if not shown.is_text(data, bad):
            note = f"{len(data):,} bytes that are not text, beginning with {shown.hex_of(data)} in hex"
            return cls(offset, end, "", f"{note}; read with encoding base64 returns them", not_text=True)
        return cls(offset, end, text, f"what is not text, {bad} of the bytes, is shown as \\xNN" if bad else "")

    def lines(self) -> list[str]:
        return [self.text] * bool(self.text) + [f"[{self.note}]"] * bool(self.note)


@dataclass
class Excerpt:
    """The output from an offset on: one part, or the head and the tail with `between` bytes that are left out."""

    parts: list[Part]
    end: int  # of the log
    missing: list[Range] = field(default_factory=list)
    complete: bool = False  # the job writes no more

    @property
    def between(self) -> int:
        return self.parts[1].offset - self.parts[0].end if len(self.parts) > 1 else 0

    @property
    def next(self) -> int:
        """The offset from which to read on: of what was left out, else of what is written later."""
        return self.parts[0].end

    def plain(self) -> dict[str, Any]:
        """Return the structured form."""
        first = self.parts[0]
        value: dict[str, Any] = {"offset": first.offset, "text": first.text, "next": self.next}
        if len(self.parts) > 1:
            value |= {"between": self.between, "tail": self.parts[1].text, "tail_offset": self.parts[1].offset}
        value |= {"end": self.end, "complete": self.complete}
        if notes := [part.note for part in self.parts if part.note]:
            value |= {"notes": notes, "not_text": any(part.not_text for part in self.parts)}
        if self.missing:
            value["missing"] = [{"from": start, "to": end} for start, end in self.missing[:MAX_MISSING]]
        return value

    def lines(self) -> list[str]:
        """Return the same as text."""
        lines = [f"[bytes {start} to {end} are no longer kept]" for start, end in self.missing[:MAX_MISSING]]
        lines += self.parts[0].lines()
        if len(self.parts) > 1:
            lines.append(f"[{self.between:,} bytes between; read from offset {self.next}]")
            lines += self.parts[1].lines()
        return lines


async def excerpt(link: Link, job: str, offset: int, *, complete: bool) -> Excerpt:
    """Return the output from an offset on, with its middle left out if there is no room; raise OffsetOutOfRange.

    `complete`: the job writes no more.
    """
    head = await read(link, job, offset, ROOM)
    data, begin = head.data, _begin(head, offset)
    if head.next >= head.end and len(shown.prefix(data, ROOM, last=True)) == len(data):
        part = _part(head, shown.prefix(data, ROOM, last=complete), begin)
        return Excerpt([part], head.end, head.missing, complete)
    first = _part(head, shown.prefix(data, ROOM // 2, last=False), begin)
    tail = await read(link, job, max(first.end, head.end - ROOM // 2), ROOM)
    kept = shown.suffix(tail.data, ROOM // 2)
    behind = tail.offset_after(len(tail.data) - len(kept)) if kept else tail.next
    last = Part.of(kept if complete else shown.whole_end(kept), behind, tail.next)
    return Excerpt([first, last], tail.next, list(dict.fromkeys([*head.missing, *tail.missing])), complete)


async def page(
    link: Link, job: str, offset: int, streams: Sequence[str] | None, *, exact: bool, ended: bool
) -> tuple[Excerpt, str]:
    """Return one page of the output, and with `exact` its bytes in base64 in place of text."""
    pages = await read(link, job, offset, ROOM // 4 * 3 if exact else ROOM, streams)
    data, begin = pages.data, _begin(pages, offset)
    last = ended and pages.next >= pages.end
    if exact:
        part, text = Part(begin, pages.next, ""), base64.b64encode(data).decode()
    else:
        part, text = _part(pages, shown.prefix(data, ROOM, last=last), begin), ""
    complete = ended and part.end >= pages.end
    return Excerpt([part], pages.end, pages.missing, complete), text


def _part(pages: Pages, data: bytes, begin: int) -> Part:
    """Return the beginning of pages as a part."""
    end = pages.next if len(data) == len(pages.data) else pages.offset_after(len(data))
    return Part.of(data, begin, end)


def _begin(pages: Pages, offset: int) -> int:
    return pages.chunks[0].offset if pages.chunks else max(offset, min(pages.next, pages.end))


async def until_complete(link: Link, job: str, limit: float = END_SECONDS) -> bool:
    """Wait until the log of an ended job has its last byte; return False if it has not within so many seconds."""

    async def follow(client: Client) -> bool:
        end = (await client.status(job)).log.bytes  # from there on: the rest is read by pages
        async with await client.subscribe(job, end) as rest:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit):
                    async for _ in rest:
                        pass
            return rest.end is not None

    return await link.repeat(follow)


async def until_more(link: Link, job: str, offset: int, streams: Sequence[str] | None, limit: float) -> bool:
    """Return whether the log has something from an offset on, or has ended, within so many seconds."""

    async def follow(client: Client) -> bool:
        async with await client.subscribe(job, offset, streams=streams) as following:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit):
                    async for _ in following:
                        break
                return True
        return False

    return await link.repeat(follow)
