"""`jw ps`: list jobs, once or every second."""

import sys
import time
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Annotated, Any

from jobworker_cli import columns, describe, options, output
from jobworker_cli.command import command
from jobworker_cli.declare import Context, Option, UsageError
from jobworker_cli.output import table
from jobworker_cli.pairs import pairs
from jobworker_cli.resolve import FINAL, NOT_FINAL, list_all
from jobworker_cli.retry import retry

FILTERS = ("state", "name", "owner", "label")
STATES = (*NOT_FINAL, *FINAL)
INTERVAL_SECONDS = 1.0  # between two tables of --watch
CLEAR = "\x1b[H\x1b[2J"  # clears a terminal, so that it shows only the newest table


@command
def ps(
    ctx: Context,
    every: Annotated[bool, Option("-a", "--all", help="Also jobs that have ended.")] = False,
    state: Annotated[
        list[str] | None, Option("--state", metavar="STATE", help="Only in this state, as exited.")
    ] = None,
    label: Annotated[
        list[str] | None, Option("-l", "--label", also=["--selector"], metavar="K[=V]", help="Only with this label.")
    ] = None,
    name: Annotated[str | None, Option("--name", metavar="GLOB", help="Only with such a name, as 'web-*'.")] = None,
    owner: Annotated[str | None, Option("--owner", metavar="O", help="Only of this owner, as token:alice.")] = None,
    filters: Annotated[
        list[str] | None,
        Option("-f", "--filter", metavar="K=V", help="The same: state=exited, name=web, owner=…, label=app=web."),
    ] = None,
    last: Annotated[
        int | None,
        Option("-n", "--last", metavar="N", min=0, help="Only the newest N, also if they have ended."),
    ] = None,
    layout: Annotated[
        str | None,
        Option("-o", "--output", metavar="FORMAT", help="wide, name, json, or fields: id,owner,exit.code."),
    ] = None,
    watch: Annotated[bool, Option("-w", "--watch", help="Repeat every second, until Ctrl-C.")] = False,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> int:
    """List the jobs that have not ended, newest first; of several agents with -c A,B."""
    wanted = _wanted(state, label, name, owner, filters)
    look = _look(wanted, every=every or last is not None, last=last)
    if several := ctx.obj.several():
        from jobworker_cli import across  # seldom needed

        if watch:
            raise UsageError("--watch: is for one context; expected -c with one name")
        jobs, code = across.list_jobs(several, look)
        _show(jobs, layout, as_json=json_, quiet=quiet)
        return code
    with ctx.obj.blocking() as client:
        while True:
            jobs = retry(client, lambda: look(client))
            if watch and not json_ and sys.stdout is not None and sys.stdout.isatty():
                output.put(sys.stdout, CLEAR.encode())
            _show(jobs, layout, as_json=json_, quiet=quiet)
            if not watch:
                return 0
            time.sleep(INTERVAL_SECONDS)


def _show(jobs: list[dict[str, Any]], layout: str | None, *, as_json: bool, quiet: bool) -> None:
    """Print jobs; those of several agents have a context, which then is the first column."""
    chosen = columns.of(None if as_json else layout, table.terminal_width())
    if jobs and "context" in jobs[0] and layout in (None, "wide"):
        chosen = [("CONTEXT", lambda job: str(job["context"])), *chosen]
    head = [title for title, _ in chosen]
    rows = ([show(job) for _, show in chosen] for job in jobs)  # made only if they are printed
    lines = (row[0] for row in rows) if layout == "name" else table.lines(head, rows)
    output.show({"jobs": jobs, "next": None}, lines, as_json=as_json, quiet=quiet, ids=[job["id"] for job in jobs])


def _wanted(
    state: list[str] | None, label: list[str] | None, name: str | None, owner: str | None, filters: list[str] | None
) -> list[tuple[str, str]]:
    """Return names and values of all filters; raise UsageError."""
    wanted = [_filter(text) for text in filters or []]
    wanted += [_filter(f"state={value}") for value in state or []] + [("label", text) for text in label or []]
    return wanted + [(key, value) for key, value in (("name", name), ("owner", owner)) if value is not None]


def _filter(text: str) -> tuple[str, str]:
    """Return name and value of a filter; raise UsageError."""
    name, equals, value = text.partition("=")
    name = {"status": "state"}.get(name, name)
    if name not in FILTERS or not equals:
        raise UsageError(f"--filter: {text[:80]!r}; expected one of {', '.join(f'{each}=…' for each in FILTERS)}")
    if name == "state" and value not in STATES:
        raise UsageError(f"{value[:40]!r} is no state of a job; expected one of {', '.join(STATES)}")
    return name, value


def _look(wanted: list[tuple[str, str]], *, every: bool, last: int | None) -> Callable[[Any], list[dict[str, Any]]]:
    """Return a function that lists the jobs: the agent chooses by state, label and owner, `jw` by the rest."""
    states = sorted({value for name, value in wanted if name == "state"}) or (None if every else NOT_FINAL)
    labels = pairs("--label", [value for name, value in wanted if name == "label" and "=" in value])
    owners = [value for name, value in wanted if name == "owner"][-1:]
    rest = [each for each in wanted if each[0] == "name" or (each[0] == "label" and "=" not in each[1])]

    def look(client: Any) -> list[dict[str, Any]]:
        most = None if rest else last
        jobs = list_all(client, states, labels, most, **({"owner": owners[0]} if owners else {}))
        return [job for job in jobs if all(_fits(job, *each) for each in rest)][:last]

    return look


def _fits(job: describe.Plain, name: str, value: str) -> bool:
    return value in job["labels"] if name == "label" else fnmatchcase(job["name"] or "", value)
