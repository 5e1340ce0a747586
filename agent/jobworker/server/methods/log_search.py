"""`log.search` and `log.lines`: find what is in a log, and read it by the numbers of its lines."""

from typing import Literal

import msgspec

from jobworker.auth.access import Requires
from jobworker.errors import InvalidParams, NotSupported
from jobworker.jobs.log_scans import ANSWER_BYTES
from jobworker.logs.lines import Line
from jobworker.logs.patterns import BadPatternError, NeedsLibraryError, compiled
from jobworker.logs.search import Match, Query
from jobworker.protocol import STREAMS, encode_data, split_text
from jobworker.results import LogLine, LogLines, LogMatch, LogMatches
from jobworker.server.dispatch import Call, method
from jobworker.server.log_subscription import BASE64
from jobworker.server.methods.log import OfLog, log_record, reserve_page, stream_numbers

MAX_MATCHES = 10_000
MAX_EXCERPT_BYTES = 16384
MAX_LINES = 10_000


class SearchLog(OfLog):
    pattern: str
    regex: bool = False
    case: bool = True
    from_: int = msgspec.field(default=0, name="from")
    limit: int = 1000
    once: bool = False
    excerpt: int = 256


class ReadLines(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    id: str
    line: int | None = None
    around: int | None = None
    count: int = 100
    encoding: Literal["auto", "base64"] = "auto"


@method("log.search", SearchLog, Requires.READ)
async def search(call: Call, params: SearchLog) -> LogMatches:
    """Return the matches of a pattern from an offset on, as many as are found in half a second."""
    _check("limit", params.limit, 0, MAX_MATCHES)
    _check("excerpt", params.excerpt, 1, MAX_EXCERPT_BYTES)
    try:
        pattern = compiled(params.pattern, regex=params.regex, case=params.case)
    except BadPatternError as error:
        raise InvalidParams(f"pattern: {error}", field="pattern") from None
    except NeedsLibraryError:
        what = "regex" if params.regex else "case"
        raise NotSupported(
            f"{what}: {str(getattr(params, what)).lower()} needs google-re2 for such a pattern; the agent lacks it",
            hint="install it with `pip install 'jobworker[regex]'`, or search for a plain text",
        ) from None
    reserve_page(call, ANSWER_BYTES)
    await call.seen(params.id)
    query = Query(pattern, params.from_, params.limit, stream_numbers(params), params.excerpt, params.once)
    scans, caller = call.session.services.jobs.log_scans, call.session.caller
    found = await call.session.while_connected(scans.search(params.id, query, caller))
    matches = [_match(each, params.encoding) for each in found.matches]
    return LogMatches(matches, found.count, found.next, found.end, found.complete, found.numbered_from)


@method("log.lines", ReadLines, Requires.READ)
async def lines(call: Call, params: ReadLines) -> LogLines:
    """Return lines from a number on, or around an offset."""
    if params.line is not None and params.around is not None:
        raise InvalidParams("line and around are given; expected one of them", field="around")
    _check("line", 1 if params.line is None else params.line, 1, 1 << 62)
    _check("count", params.count, 1, MAX_LINES)
    reserve_page(call, ANSWER_BYTES)
    await call.seen(params.id)
    line = None if params.around is not None else params.line or 1
    scans, caller = call.session.services.jobs.log_scans, call.session.caller
    reading = scans.lines(params.id, line, params.around or 0, params.count, caller)
    found, complete = await call.session.while_connected(reading)
    read = [_line(params.id, each, params.encoding) for each in found.lines]
    return LogLines(read, complete, found.total, found.end, found.numbered_from)


def _line(job: str, line: Line, encoding: str) -> LogLine:
    records = [log_record(job, part, encoding) for part in line.parts]
    return LogLine(line.number, line.offset, line.end, records, line.cut)


def _match(match: Match, encoding: str) -> LogMatch:
    text, used = split_text(match.excerpt)
    excerpt = match.excerpt
    if encoding != BASE64 and match.cut and match.at + match.length <= used < len(excerpt):
        excerpt = excerpt[:used]  # it ends within a character
    is_text = encoding != BASE64 and used == len(excerpt)
    data, used_encoding = encode_data(excerpt, text if is_text else None)
    return LogMatch(
        match.offset, STREAMS[match.stream], match.line, match.length, data, used_encoding, match.at, match.cut
    )


def _check(field: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidParams(f"{field}: {value}; expected {least} to {most}", field=field)
