"""`log.*`: subscribe to the log of a job, or read a page of it."""

import time
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Literal

import msgspec

from jobworker.auth.access import Requires
from jobworker.errors import InvalidParams, InvalidSpec, RateLimited
from jobworker.jobs.log_cursor import LogRange
from jobworker.logs.reader import BOTH, Chunk, Gap
from jobworker.protocol import STREAMS, encode_data, split_text
from jobworker.results import LogRecord, LogRecords, Subscribed, TerminalSize, TerminalSizes
from jobworker.server.dispatch import Call, method
from jobworker.server.log_frames import chunk_fields
from jobworker.server.log_subscription import BASE64, BINARY, LogSubscription
from jobworker.units import nanoseconds, rfc3339, seconds

DEFAULT_PAGE_BYTES = 65536
MAX_PAGE_BYTES = 1 << 20
Moment = str | int | float  # a time as on the wire, or a duration before now


class OfLog(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    id: str
    streams: list[Literal["stdout", "stderr"]] | None = None
    encoding: Literal["auto", "base64"] = "auto"


class Subscribe(OfLog):
    offset: int | None = None
    tail: int | None = None
    since: Moment | None = None
    until: Moment | None = None
    follow: bool = True
    arrivals: bool = False


class Read(OfLog):
    offset: int = 0
    max_bytes: int = DEFAULT_PAGE_BYTES
    arrivals: bool = False


class Sizes(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    id: str


class Unsubscribe(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    subscription: str


@method("log.subscribe", Subscribe, Requires.READ)
async def subscribe(call: Call, params: Subscribe) -> Subscribed:
    """Send the log from an offset, a number of lines before its end, or a time."""
    await call.seen(params.id)
    cursor = await call.session.services.jobs.logs.cursor(params.id, _where(params), follow=params.follow)
    offset = cursor.offset
    encoding = BINARY if call.session.binary else params.encoding
    scopes = call.permissions.scopes(call.method)
    make = partial(LogSubscription, job=params.id, cursor=cursor, encoding=encoding, scopes=scopes)
    subscription = call.session.subscribe(make, cursor)
    call.after.append(subscription.start)
    return Subscribed(subscription.name, offset)


@method("log.unsubscribe", Unsubscribe, Requires.READ)
async def unsubscribe(call: Call, params: Unsubscribe) -> bool:
    """End a subscription; no notification of it follows the answer."""
    await call.session.unsubscribe(params.subscription, LogSubscription)
    return True


@method("log.read", Read, Requires.READ)
async def read(call: Call, params: Read) -> LogRecords:
    """Return one page from an offset, the offset of the next page, and the end of the log at present."""
    if not 1 <= params.max_bytes <= MAX_PAGE_BYTES:
        message = f"max_bytes: {params.max_bytes}; expected 1 to {MAX_PAGE_BYTES}"
        raise InvalidParams(message, field="max_bytes")
    reserve_page(call, params.max_bytes)
    await call.seen(params.id)
    where = LogRange(offset=params.offset, streams=stream_numbers(params), arrivals=params.arrivals)
    pieces, following, end = await call.session.services.jobs.logs.page(params.id, where, params.max_bytes)
    if pieces and params.encoding != BASE64 and isinstance(last := pieces[-1], Chunk):
        _, used = split_text(last.data)
        if 0 < used < len(last.data):  # the page ends within a character: leave it to the next page
            pieces[-1] = replace(last, data=last.data[:used])
            following = last.offset + used
    records = [log_record(params.id, piece, params.encoding) for piece in pieces]
    return LogRecords(records, following, end)


@method("log.sizes", Sizes, Requires.READ)
async def sizes(call: Call, params: Sizes) -> TerminalSizes:
    """Return the sizes that the job's terminal had, each with the offset of the output that was written for it."""
    await call.seen(params.id)
    found = await call.session.services.jobs.logs.sizes(params.id)
    sizes = [
        TerminalSize(offset, rfc3339(time_ns) if time_ns else None, rows, cols)
        for time_ns, offset, rows, cols in found
    ]
    return TerminalSizes(sizes)


def reserve_page(call: Call, size: int) -> None:
    """Count the bytes of a page until its answer is sent; raise RateLimited if the caller has too many unread."""
    session = call.session
    if session.pending_page_bytes + size > MAX_PAGE_BYTES:
        pending = f"pages of {session.pending_page_bytes} bytes are under way on this connection"
        text = f"{pending}; expected at most {MAX_PAGE_BYTES}"
        raise RateLimited(text, retry_after=0.1)
    session.pending_page_bytes += size

    def sent() -> None:
        session.pending_page_bytes -= size

    call.after.append(sent)


def log_record(job: str, piece: Chunk | Gap, encoding: str) -> LogRecord:
    if isinstance(piece, Gap):
        return LogRecord(job=job, from_=piece.offset, to=piece.end, reason=piece.reason)
    text, used = split_text(piece.data)
    is_text = encoding != BASE64 and used == len(piece.data)
    data, used_encoding = encode_data(piece.data, text if is_text else None)
    return LogRecord(**chunk_fields(job, piece), data=data, encoding=used_encoding)


def _where(params: Subscribe) -> LogRange:
    """Return the part of the log to read; raise InvalidParams."""
    starts = [name for name in ("offset", "tail", "since") if getattr(params, name) is not None]
    if len(starts) > 1:
        raise InvalidParams(f"{' and '.join(starts)} are given; expected at most one of them", field=starts[1])
    if params.tail is not None and params.tail < 0:
        raise InvalidParams(f"tail: {params.tail}; expected a number of lines, 0 or more", field="tail")
    if params.until is not None and params.follow:
        raise InvalidParams(
            "until: it does not go with follow: true, which ends with the job; expected follow: false", field="until"
        )
    return LogRange(
        offset=params.offset or 0,
        tail=params.tail,
        since=_moment(params.since, "since"),
        until=_moment(params.until, "until"),
        streams=stream_numbers(params),
        arrivals=params.arrivals,
    )


def stream_numbers(params: OfLog) -> tuple[int, ...]:
    if params.streams is None:
        return BOTH
    if not params.streams:
        raise InvalidParams("streams: the list is empty; expected stdout, stderr or both", field="streams")
    return tuple(sorted({STREAMS.index(name) for name in params.streams}))


def _moment(value: Moment | None, field: str) -> int | None:
    """Return a wall-clock time in ns; raise InvalidParams."""
    if value is None:
        return None
    try:
        if isinstance(value, str) and "-" in value[1:]:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is None:
                raise ValueError("it has no zone")
            return max(0, nanoseconds(moment))
        return time.time_ns() - int(seconds(value, field) * 1e9)
    except (ValueError, OverflowError, InvalidSpec):
        expected = 'expected a time with its zone, as "2030-01-31T12:00:00Z", or a duration before now, as "10m"'
        raise InvalidParams(f"{field}: {repr(value)[:80]}; {expected}", field=field) from None
