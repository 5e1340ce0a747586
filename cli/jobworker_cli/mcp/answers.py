"""What a tool answers: text for a model, and the same as structured content. Each has at most 16 KiB."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jobworker.errors import JobNotFound, JobworkerError, KeyConflict, RpcError, StdinClosed
from jobworker_cli import describe
from jobworker_cli.mcp.output import ROOM, Excerpt
from jobworker_cli.mcp.shown import cost
from jobworker_cli.output.sanitise import printable

MAX_ANSWER = 16 << 10  # bytes of each form
MAX_MESSAGE = 300  # characters of a sentence from the agent
MAX_NAME = 100
MAX_COMMAND = 160
Plain = Mapping[str, Any]
# What a model can do next, in place of what a person would type.
HINTS: dict[type[Exception], str] = {
    JobNotFound: "list returns the jobs",
    KeyConflict: "give another command another key; wait and read return that job",
    StdinClosed: "run the command again with stdin true, and write before its input ends",
}


@dataclass
class Answer:
    """The result of a tool; `structured` has the same as `text`."""

    text: str
    structured: dict[str, Any] = field(default_factory=dict)
    failed: bool = False

    def bounded(self) -> "Answer":
        """Return the same within the limit. What is beyond it is cut: an excerpt and a list end before that."""
        data = self.text.encode(errors="backslashreplace")
        text = data.decode() if len(data) <= MAX_ANSWER else _cut(data)
        kept = (
            self.structured
            if size(self.structured) <= MAX_ANSWER
            else {"error": {"message": "the structured answer is too large; see the text"}}
        )
        return Answer(text, kept, self.failed)


def size(value: Any) -> int:
    """Return the bytes of a value as JSON."""
    return len(json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace"))


def _cut(data: bytes) -> str:
    end = b"\n[cut]"
    return data[: MAX_ANSWER - len(end)].decode(errors="ignore") + end.decode()


def clipped(text: str, length: int) -> str:
    """Return text on one line, and its beginning only if it is long."""
    line = printable(text)
    return line if len(line) <= length else line[: length - 1] + "…"


def job_of(job: Plain) -> dict[str, Any]:
    """Return the structured form of a job."""
    value: dict[str, Any] = {"job": job["id"], "state": job["state"]}
    if job["name"]:
        value["name"] = clipped(job["name"], MAX_NAME)
    if (end := job["exit"]) is not None:
        value["exit"] = {name: end[name] for name in ("code", "signal", "reason", "by")}
        value["exit"]["message"] = clipped(end["message"], MAX_MESSAGE)
        value["ran_seconds"] = end.get("ran_seconds")
    elif job["pid"] is not None:
        value["pid"] = job["pid"]
    if job.get("node"):
        value["node"] = job["node"]
    if why := describe.queued(job):
        value["queued"] = clipped(why, MAX_MESSAGE)
    return value


def sentence(job: Plain) -> str:
    """Return the state of a job in words."""
    name = f" ({clipped(job['name'], MAX_NAME)})" if job["name"] else ""
    end, state = job["exit"], job["state"]
    begin = f"Job {job['id']}{name}"
    if end is None:
        ran = f" for {describe.ran(job)}" if job["started_at"] else ""
        where = f" on {job['node']}" if job.get("node") else ""
        why = f": {clipped(queued, MAX_MESSAGE)}" if (queued := describe.queued(job)) else ""
        return f"{begin} is {state}{ran}{where}{why}."
    after = f" after {describe.ran(job)}" if job["started_at"] else ""
    if end["reason"] == "finished" and end["signal"] is None:
        return f"{begin} exited with code {end['code']}{after}."
    return f"{begin} has ended{after}: {clipped(end['message'] or end['reason'], MAX_MESSAGE)}."


def of_job(job: Plain, output: Excerpt, first: str = "", **more: Any) -> Answer:
    """Return the state of a job with its output; `first` is a sentence to begin with."""
    written = f"Output, {output.end:,} bytes so far:" if not output.complete else f"Output, {output.end:,} bytes:"
    lines = [*([first] if first else []), sentence(job)]
    lines += [written, *output.lines()] if output.lines() else ["It has written nothing."]
    if job["exit"] is None:
        lines.append(f"[it runs on: wait waits for its end, read with offset {output.next} returns what follows]")
    elif not output.complete:
        lines.append(f"[more output may follow: read from offset {output.next}]")
    if job["log"]["truncated"]:
        lines.append("[some of its output was lost and is not in its log]")
    return Answer("\n".join(lines), job_of(job) | more | {"output": output.plain()})


def of_screen(screen: Plain) -> Answer:
    """Return what a terminal shows; of a large one, the rows at the bottom that there is room for."""
    rows = [printable(row) for row in screen["text"]]
    while rows and not rows[-1]:
        del rows[-1]
    while cost("\n".join(rows)) > ROOM:
        del rows[0]
    cursor = {name: screen["cursor"][name] for name in ("row", "col")}
    value = {name: screen[name] for name in ("rows", "cols", "offset", "exact")}
    value |= {"job": screen["id"], "title": clipped(screen["title"], MAX_NAME), "cursor": cursor}
    first = f"The screen of job {screen['id']}, {screen['rows']} rows of {screen['cols']} columns"
    first += f", cursor in row {cursor['row']}, column {cursor['col']}, counted from 0"
    first += ":" if screen["exact"] else "; parts of it may be old, as not all output was kept:"
    return Answer("\n".join([first, *rows]), value | {"text": "\n".join(rows)})


def of_error(error: Exception) -> Answer:
    """Return an error as an answer from which a model learns what to do next."""
    if not isinstance(error, JobworkerError):
        text = clipped(f"{type(error).__name__}: {error}", MAX_MESSAGE)
        return Answer(f"Error inside jw mcp: {text}", {"error": {"message": text}}, failed=True)
    message = clipped(error.message, 4 * MAX_MESSAGE)
    hint = clipped(HINTS.get(type(error), error.hint), MAX_MESSAGE)
    described: dict[str, Any] = {"message": message} | ({"hint": hint} if hint else {})
    if isinstance(error, RpcError):
        described |= {"code": error.code} | ({"reason": error.reason} if error.reason else {})
        if isinstance(job := error.data.get("job"), str):
            described["job"] = job
    return Answer(f"Error: {message}" + (f"\nHint: {hint}" if hint else ""), {"error": described}, failed=True)
