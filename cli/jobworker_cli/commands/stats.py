"""`jw stats`, `jw top`: the resource usage of jobs, once or every second."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from jobworker.errors import JobNotFound
from jobworker.model import State, Stats
from jobworker.units import bytes_text
from jobworker_cli import options, output
from jobworker_cli.command import command
from jobworker_cli.declare import Argument, Context
from jobworker_cli.output import table
from jobworker_cli.resolve import job_id, job_ids, list_all
from jobworker_cli.retry import retry

if TYPE_CHECKING:
    from jobworker.client.blocking import Client

RUNNING = [State.RUNNING, State.PAUSED, State.STOPPING]
INTERVAL_SECONDS = 1.0  # between two samples
CLEAR = "\x1b[H\x1b[2J"  # clears a terminal, so that it shows only the newest table
HEAD = ("ID", "NAME", "STATE", "CPU%", "CPU", "MEMORY", "PEAK", "LIMIT", "TASKS", "READ", "WRITTEN")
TOP_HEAD = ("PID", "NAME", "CPU%", "CPU", "MEMORY", "THREADS", "COMMAND")


class Shares:
    """CPU time as a share of one CPU since the sample before."""

    def __init__(self) -> None:
        self._before: dict[Any, tuple[float, float]] = {}

    def of(self, what: Any, cpu_seconds: float | None) -> str:
        """Return the share in percent; "" for the first sample."""
        if cpu_seconds is None:
            return ""
        now = time.monotonic()
        then, used = self._before.get(what, (now, cpu_seconds))
        self._before[what] = now, cpu_seconds
        return f"{max(cpu_seconds - used, 0) / (now - then) * 100:.1f}" if now > then else ""


@command
def stats(
    ctx: Context,
    jobs: Annotated[list[str] | None, Argument(metavar="[JOB...]", help="Default: all jobs that run.")] = None,
    watch: options.Watch = False,
    json_: options.Json = False,
) -> int:
    """Show the CPU, memory, tasks and disk usage of jobs; for a job that has ended, its totals."""
    shares = Shares()
    with ctx.obj.blocking() as client:
        found, code = job_ids(client, jobs or [])
        ids = [*found.values()]
        if jobs and not ids:
            return code
        while True:
            usages = retry(client, lambda: _look(client, ids))
            _show(usages, [_row(usage, shares) for usage in usages], HEAD, watch, json_)
            if not watch or (ids and all(usage.state.final for usage in usages)):
                return code
            time.sleep(INTERVAL_SECONDS)


def _look(client: "Client", named: Sequence[str]) -> list[Stats]:
    """Return the usage of these jobs, or of all that run without those deleted meanwhile."""
    usages = []
    for job in named or [job["id"] for job in list_all(client, RUNNING)]:
        try:
            usages.append(client.stats(job))
        except JobNotFound:
            if named:
                raise
    return usages


def _row(usage: Stats, shares: Shares) -> Sequence[str]:
    limit = usage.limits.memory
    return (
        usage.id,
        usage.name or "",
        usage.state.value,
        shares.of(usage.id, usage.cpu_seconds),
        _seconds(usage.cpu_seconds),
        _bytes(usage.memory),
        _bytes(usage.memory_peak),
        "" if limit is None else _bytes(limit) if isinstance(limit, int) else limit,
        "" if usage.pids is None else str(usage.pids),
        _bytes(usage.io_read_bytes),
        _bytes(usage.io_write_bytes),
    )


@command
def top(ctx: Context, job: options.JobArgument, watch: options.Watch = False, json_: options.Json = False) -> None:
    """Show the processes of a job, most CPU time first."""
    shares = Shares()
    with ctx.obj.blocking() as client:
        name = job_id(client, job)
        while True:
            usage = retry(client, lambda: client.stats(name, processes=True))
            _show([usage], _process_rows(usage, shares), TOP_HEAD, watch, json_)
            if not watch or usage.state.final:
                return
            time.sleep(INTERVAL_SECONDS)


def _process_rows(usage: Stats, shares: Shares) -> list[Sequence[str]]:
    return [
        (
            str(process["pid"]),
            process["name"],
            shares.of((process["pid"], process["name"]), process["cpu_seconds"]),
            _seconds(process["cpu_seconds"]),
            _bytes(process["memory"]),
            str(process["threads"]),
            process["command"] or "",
        )
        for process in usage.processes or []
    ]


def _show(usages: list[Stats], rows: list[Sequence[str]], head: Sequence[str], watch: bool, as_json: bool) -> None:
    if as_json:
        for usage in usages:
            output.emit_json(msgspec.to_builtins(usage))
        return
    if watch and sys.stdout is not None and sys.stdout.isatty():
        output.put(sys.stdout, CLEAR.encode())
    for line in table.lines(head, rows):
        output.emit(line)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}s"


def _bytes(value: int | None) -> str:
    return "" if value is None else bytes_text(value)
