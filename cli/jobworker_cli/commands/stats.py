"""`jw stats`, `jw top`: what jobs use, once or every second."""

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import typer

from jobworker.client import Client
from jobworker.errors import JobNotFound
from jobworker.model import State, Stats, bytes_text
from jobworker_cli import options, output
from jobworker_cli.command import command
from jobworker_cli.commands.look import again
from jobworker_cli.output import table
from jobworker_cli.resolve import job_id, list_all

RUNNING = [State.RUNNING, State.PAUSED, State.STOPPING]
INTERVAL_SECONDS = 1.0  # seconds between two looks
CLEAR = "\x1b[H\x1b[2J"  # of a terminal, which then shows the newest table alone
HEAD = ("ID", "NAME", "STATE", "CPU%", "CPU", "MEMORY", "PEAK", "LIMIT", "TASKS", "READ", "WRITTEN")
TOP_HEAD = ("PID", "NAME", "CPU%", "CPU", "MEMORY", "THREADS", "COMMAND")


class Shares:
    """CPU time as a share of one CPU since the look before."""

    def __init__(self) -> None:
        self._before: dict[Any, tuple[float, float]] = {}

    def of(self, what: Any, cpu_seconds: float | None) -> str:
        """Return it in percent; "" at the first look."""
        if cpu_seconds is None:
            return ""
        now = time.monotonic()
        then, used = self._before.get(what, (now, cpu_seconds))
        self._before[what] = now, cpu_seconds
        return f"{max(cpu_seconds - used, 0) / (now - then) * 100:.1f}" if now > then else ""


@command
async def stats(
    ctx: typer.Context,
    jobs: Annotated[list[str] | None, typer.Argument(metavar="[JOB...]", help="Without any: all that run.")] = None,
    watch: options.Watch = False,
    json_: options.Json = False,
) -> None:
    """Show what jobs use: CPU, memory, tasks, disk; of one that has ended what it had used."""
    shares = Shares()
    async with ctx.obj.client() as client:
        ids = [await job_id(client, text) for text in dict.fromkeys(jobs or [])]
        while True:
            found = await again(client, lambda: _look(client, ids))
            _show(found, [_row(one, shares) for one in found], HEAD, watch, json_)
            if not watch or (ids and all(one.state.final for one in found)):
                return
            await asyncio.sleep(INTERVAL_SECONDS)


async def _look(client: Client, named: Sequence[str]) -> list[Stats]:
    """Return what these jobs use, or all that run; of these one that was deleted meanwhile is left out."""
    found = []
    for job in named or [job["id"] for job in await list_all(client, RUNNING)]:
        try:
            found.append(await client.stats(job))
        except JobNotFound:
            if named:
                raise
    return found


def _row(one: Stats, shares: Shares) -> Sequence[str]:
    limit = one.limits.memory
    return (
        one.id,
        one.name or "",
        one.state.value,
        shares.of(one.id, one.cpu_seconds),
        _seconds(one.cpu_seconds),
        _bytes(one.memory),
        _bytes(one.memory_peak),
        "" if limit is None else _bytes(limit) if isinstance(limit, int) else limit,
        "" if one.pids is None else str(one.pids),
        _bytes(one.io_read_bytes),
        _bytes(one.io_write_bytes),
    )


@command
async def top(
    ctx: typer.Context, job: options.JobArgument, watch: options.Watch = False, json_: options.Json = False
) -> None:
    """Show the processes of a job, those with the most CPU time first."""
    shares = Shares()
    async with ctx.obj.client() as client:
        name = await job_id(client, job)
        while True:
            found = await again(client, lambda: client.stats(name, processes=True))
            _show([found], _process_rows(found, shares), TOP_HEAD, watch, json_)
            if not watch or found.state.final:
                return
            await asyncio.sleep(INTERVAL_SECONDS)


def _process_rows(found: Stats, shares: Shares) -> list[Sequence[str]]:
    return [
        (
            str(one["pid"]),
            one["name"],
            shares.of((one["pid"], one["name"]), one["cpu_seconds"]),
            _seconds(one["cpu_seconds"]),
            _bytes(one["memory"]),
            str(one["threads"]),
            one["command"] or "",
        )
        for one in found.processes or []
    ]


def _show(found: list[Stats], rows: list[Sequence[str]], head: Sequence[str], watch: bool, as_json: bool) -> None:
    if as_json:
        for one in found:
            output.emit_json(msgspec.to_builtins(one))
        return
    if watch and sys.stdout is not None and sys.stdout.isatty():
        output.put(sys.stdout, CLEAR.encode())
    for line in table.lines(head, rows):
        output.emit(line)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}s"


def _bytes(value: int | None) -> str:
    return "" if value is None else bytes_text(value)
