"""The columns of `jw ps` and the fields of `jw status`: those of a layout, or any of a job by their names."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from jobworker_cli import describe
from jobworker_cli.declare import UsageError

Column = tuple[str, Callable[[describe.Plain], str]]


def _labels(job: describe.Plain) -> str:
    return " ".join(f"{name}={value}" for name, value in job["labels"].items())


# By the names that -o takes.
COLUMNS: dict[str, Callable[[describe.Plain], str]] = {
    "id": lambda job: str(job["id"]),
    "name": lambda job: job["name"] or "",
    "state": describe.state,
    "age": describe.age,
    "ran": describe.ran,
    "node": lambda job: job.get("node") or "",
    "owner": lambda job: str(job["owner"]),
    "pid": lambda job: str(job["pid"] or ""),
    "labels": _labels,
    "command": describe.command,
}
USUAL = ("id", "name", "state", "age", "ran", "command")
WIDE = ("id", "name", "state", "age", "ran", "owner", "pid", "labels", "command")
NARROW = ("id", "state", "command")  # fits where a line is short
MIN_USUAL = 60  # columns of a terminal for the usual ones


def of(layout: str | None, width: int) -> list[Column]:
    """Return titles and functions of the columns for a layout: None, "wide", "name", or names such as "id,exit.code".

    `width` is that of the terminal, 0 if stdout is not one. Raises UsageError.
    """
    names: Sequence[str] = NARROW if 0 < width < MIN_USUAL else USUAL
    if layout == "wide":
        names = WIDE
    elif layout == "name":
        names = ["name"]
    elif layout is not None:
        names = [name.strip() for name in layout.split(",")]
    return [(name.upper(), COLUMNS.get(name) or _field(name)) for name in names]


def _field(name: str) -> Callable[[describe.Plain], str]:
    return lambda job: text(field(job, name))


def field(job: describe.Plain, name: str) -> Any:
    """Return a column, or a field by its path, as "exit.code"; None if the job has none. Raises UsageError."""
    if name in COLUMNS and name not in job:
        return COLUMNS[name](job)
    value: Any = job
    for part in name.split("."):
        if value is None:
            return None
        if not isinstance(value, dict) or (part not in value and value is job):
            raise UsageError(
                f"{name[:80]!r} is no field of a job; expected one of {', '.join(dict.fromkeys([*COLUMNS, *job]))}"
            )
        value = value.get(part)
    return value


def text(value: Any) -> str:
    """Return a value as a text; objects and lists as JSON."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
