"""Search the output of a job: the lines that match, as many as an answer has room for."""

import time
from typing import Any

from jobworker.errors import MethodNotFound, NotSupported
from jobworker.protocol import decode_data
from jobworker_cli.mcp import arguments, shown
from jobworker_cli.mcp.answers import Answer
from jobworker_cli.mcp.link import Link

ROOM = 12 << 10  # bytes of matches in an answer, as structured content
EXCERPT = 300  # bytes of a line
ROW = 60  # bytes that a match takes besides its text
SECONDS = 20.0  # of one search: one call of the agent takes half a second at most


async def search(link: Link, job: str, given: arguments.Search) -> Answer:
    """Return the matching lines from an offset on, and the offset from which to search on; raise JobworkerError."""
    rows: dict[int, dict[str, Any]] = {}  # by offset: a search that goes on may find one again
    room, offset, complete = ROOM, given.offset, False
    deadline = time.monotonic() + SECONDS
    while True:
        page = await _page(link, job, given, offset)
        for match in page["matches"]:
            row = _row(match)
            room -= shown.cost(row["text"]) + ROW
            if room < 0 or len(rows) == given.limit:
                return _answer(job, rows, match["offset"], page["end"], complete=False)
            rows[row["offset"]] = row
        offset, complete = page["next"], page["complete"]
        if complete or time.monotonic() > deadline:
            return _answer(job, rows, offset, page["end"], complete=complete)


async def _page(link: Link, job: str, given: arguments.Search, offset: int) -> Any:
    params: dict[str, Any] = {"pattern": given.pattern, "regex": given.regex, "case": not given.ignore_case}
    params |= {"from": offset, "limit": given.limit + 1, "once": True, "excerpt": EXCERPT}
    if given.stream != "both":
        params["streams"] = [given.stream]
    try:
        return await link.call("log.search", id=job, **params)
    except MethodNotFound:
        raise NotSupported("this agent is older and cannot search", hint="read returns the output by pages") from None
    except NotSupported as error:
        raise NotSupported(error.message, hint="search for a plain text: regex false") from None


def _row(match: dict[str, Any]) -> dict[str, Any]:
    """Return a match as an answer has it: its place, and its line or the part of it around the match."""
    text, _ = shown.text_of(decode_data(match["data"], match["encoding"]))
    row = {"offset": match["offset"], "line": match["line"], "stream": match["stream"], "text": text.rstrip("\r\n")}
    return row | ({"cut": True} if match["cut"] else {})


def _answer(job: str, rows: dict[int, dict[str, Any]], following: int, end: int, *, complete: bool) -> Answer:
    lines = [
        f"{row['line']} (offset {row['offset']}, {row['stream']}): {'…' if 'cut' in row else ''}{row['text']}"
        for row in rows.values()
    ]
    count = f"{len(rows)} matching line{'' if len(rows) == 1 else 's'} in job {job}"
    rest = f"[not searched to the end: search on with offset {following}]"
    text = "\n".join([f"{count}:" if rows else f"{count}.", *lines, *([] if complete else [rest])])
    value = {"job": job, "matches": list(rows.values()), "next": following, "end": end, "complete": complete}
    return Answer(text, value)
