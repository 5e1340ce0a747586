"""Read the audit log: all its files, from the oldest line to the newest."""

import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
    older = {int(file.suffix[1:]): file for file in path.parent.glob(f"{path.name}.*") if file.suffix[1:].isdecimal()}
    for file in [*(older[number] for number in sorted(older, reverse=True)), path]:
        try:
            lines = file.open(encoding="utf-8", errors="replace")
        except FileNotFoundError:  # it was renamed to the next number in this moment
            continue
        with lines:
            for text in lines:
                try:
                    entry = json.loads(text)
                except ValueError:
                    continue
                if isinstance(entry, dict):
                    yield entry
