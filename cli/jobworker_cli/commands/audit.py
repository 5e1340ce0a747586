"""`jw audit`: logins, refusals and changes, from the audit log of this host."""

import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from jobworker_cli import options, output
from jobworker_cli.command import command
from jobworker_cli.declare import Option
from jobworker_cli.endpoint import home
from jobworker_cli.output.sanitise import printable


@command
def audit(
    lines: Annotated[int, Option("-n", "--lines", metavar="N", min=0, help="How many of the last entries.")] = 100,
    job: Annotated[str | None, Option("--job", help="Only entries of the job with this id.")] = None,
    principal: Annotated[
        str | None, Option("--principal", help="Only entries of this principal, as token:ann.")
    ] = None,
    denied: Annotated[bool, Option("--denied", help="Only what was refused.")] = False,
    json_: options.Json = False,
) -> None:
    """Show the audit log of the local agent: one line for each login and each change."""
    wanted = {name: value for name, value in (("job", job), ("principal", principal)) if value is not None}
    entries: deque[dict[str, Any]] = deque(maxlen=lines)
    for entry in _entries(home().audit):
        fits = all(entry.get(name) == value for name, value in wanted.items())
        if fits and (not denied or entry.get("decision") in ("denied", "refused")):
            entries.append(entry)
    for entry in entries:
        output.show(entry, [line(entry)], as_json=json_)


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the entries of all files, the oldest first; skip lines that are not JSON objects."""
    older = {int(file.suffix[1:]): file for file in path.parent.glob(f"{path.name}.*") if file.suffix[1:].isdecimal()}
    for file in [*(older[number] for number in sorted(older, reverse=True)), path]:
        if not file.exists():
            continue
        with file.open(encoding="utf-8", errors="replace") as lines:
            for text in lines:
                try:
                    entry = json.loads(text)
                except ValueError:
                    continue
                if isinstance(entry, dict):
                    yield entry


def line(entry: dict[str, Any]) -> str:
    """Return an entry as one line of text."""
    who = entry.get("principal") or "an unknown caller"
    words = [entry.get("time"), entry.get("decision"), who, f"from {entry.get('address')}", entry.get("method")]
    words += [entry.get("job"), entry.get("target"), entry.get("outcome") if entry.get("outcome") != "ok" else None]
    reason = f": {entry['reason']}" if entry.get("reason") else ""
    before = (
        f" (after {entry['unwritten']} lines that were too many to be recorded)" if entry.get("unwritten") else ""
    )
    return printable(" ".join(str(word) for word in words if word) + reason + before)
