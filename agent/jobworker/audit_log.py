"""Read the audit log: all its files, from the oldest line to the newest, and check that none was changed.

Each line has the digest of the line before it, so a line that is changed, removed or put in breaks the chain.
"""

import hashlib
import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

MAX_LINE = 65536  # bytes, more than a line of the log can have
DENIED = ("denied", "refused")  # decisions


def newest(
    path: Path, limit: int, *, job: str | None = None, principal: str | None = None, denied: bool = False
) -> list[dict[str, Any]]:
    """Return the newest entries about a job, of a principal, or of what was denied, the oldest of them first."""
    wanted = {name: value for name, value in (("job", job), ("principal", principal)) if value is not None}
    found: deque[dict[str, Any]] = deque(maxlen=limit)
    for entry in entries(path):
        fits = all(entry.get(name) == value for name, value in wanted.items())
        if fits and (not denied or entry.get("decision") in DENIED):
            found.append(entry)
    return list(found)


def entries(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the entries of all files, the oldest first; skip lines that are not JSON objects."""
    for _, _, line in _lines(path):
        if (entry := _entry(line)) is not None:
            yield entry


class Break(NamedTuple):
    """A place at which the chain is broken: the line does not name the digest of the line before it."""

    file: str
    line: int
    time: str  # of the line, "" if it cannot be read


class Verdict(NamedTuple):
    """What the chain shows: how many lines are linked, its breaks, and the digest of the last line."""

    linked: int
    unlinked: int  # older lines, of a version that wrote no digests
    breaks: list[Break]
    last: str


def verify(path: Path) -> Verdict:
    """Check the chain over all files. What came before the oldest line that is kept cannot be checked."""
    linked, unlinked, breaks, before = 0, 0, list[Break](), ""
    for file, number, line in _lines(path):
        entry = _entry(line) or {}
        named = entry.get("before")
        if named is None and not linked and entry:
            unlinked += 1
        elif before and named != before:
            breaks.append(Break(file.name, number, str(entry.get("time", ""))))
        else:
            linked += 1
        before = digest(line)
    return Verdict(linked, unlinked, breaks, before)


def digest(line: bytes) -> str:
    """Return the digest of a line, without its end, as the next line names it."""
    return hashlib.sha256(line.rstrip(b"\n")).hexdigest()[:32]


def last_line(path: Path) -> bytes:
    """Return the last line that was written, of whichever file; b"" if there is none."""
    for file in (path, path.with_name(f"{path.name}.1")):
        try:
            with file.open("rb") as lines:
                lines.seek(max(0, file.stat().st_size - MAX_LINE))
                if found := lines.read().splitlines():
                    return found[-1]
        except FileNotFoundError:
            continue
    return b""


def _lines(path: Path) -> Iterator[tuple[Path, int, bytes]]:
    """Yield the lines of all files, the oldest first, with their files and numbers."""
    older = {int(file.suffix[1:]): file for file in path.parent.glob(f"{path.name}.*") if file.suffix[1:].isdecimal()}
    for file in [*(older[number] for number in sorted(older, reverse=True)), path]:
        try:
            lines = file.open("rb")
        except FileNotFoundError:  # it was renamed to the next number in this moment
            continue
        with lines:
            for number, line in enumerate(lines, 1):
                yield file, number, line


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line.decode(errors="replace"))
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
