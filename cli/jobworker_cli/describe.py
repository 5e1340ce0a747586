"""Describe a job: the exit code of `jw`, a sentence about its end, the columns of `jw ps`."""

import errno
import shlex
import signal
from datetime import UTC, datetime

import msgspec
from msgspec import UNSET

from jobworker.model import Exit, Explanation, Job, LimitSpec, Reason, State, Usage
from jobworker.units import bytes_text
from jobworker_cli.failures import RUN_FAILED

TIMED_OUT = 124
NOT_EXECUTABLE = 126
NOT_FOUND = 127
TIME_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))


def exit_code(end: Exit | None) -> int:
    """Return the exit code of `run` and `wait`."""
    if end is None or end.reason == Reason.LOST:
        return RUN_FAILED
    if end.reason == Reason.START_FAILED:
        return start_code(end.step, end.errno)
    if end.reason == Reason.TIMEOUT:
        return TIMED_OUT
    if end.signal is not None:
        return 128 + _number(end.signal)
    return RUN_FAILED if end.code is None else end.code


def start_code(step: str | None, number: int | None) -> int:
    """Return the exit code of shells for a command that could not be executed."""
    if step != "exec":
        return RUN_FAILED
    return NOT_FOUND if number == errno.ENOENT else NOT_EXECUTABLE


def _number(name: str) -> int:
    """Return the number of a signal as the agent names it: SIGTERM, SIGRT+3, signal 33."""
    if name in signal.Signals.__members__:
        return signal.Signals[name]
    if name.startswith("SIGRT"):
        return signal.SIGRTMIN + int(name.removeprefix("SIGRT"))
    return int(name.rpartition(" ")[2])


def remark(end: Exit | None) -> str:
    """Return a remark about an end; "" if the exit code is enough."""
    if end is None:
        return "how it ended is not known"
    plain = end.reason == Reason.FINISHED and end.signal is None
    return "" if plain else end.message


def state(job: Job) -> str:
    """Return state and outcome in a word or two."""
    end = job.exit
    if job.state != State.EXITED or end is None:
        return job.state.value
    outcome = end.signal or ("" if end.code is None else str(end.code))
    why = "exited" if end.reason == Reason.FINISHED else end.reason.value
    return f"{why} {outcome}".rstrip()


def command(job: Job) -> str:
    return str(job.spec.shell) if job.spec.argv is UNSET else shlex.join(job.spec.argv)


def age(job: Job) -> str:
    """Return for how long the job has existed."""
    return span((datetime.now(UTC) - _moment(job.created_at)).total_seconds())


def ran(job: Job) -> str:
    """Return for how long the job has run, or ran."""
    if job.started_at is None:
        return "-"
    until = _moment(job.exited_at) if job.exited_at else datetime.now(UTC)
    return span((until - _moment(job.started_at)).total_seconds())


def span(seconds: float) -> str:
    """Return a duration as text: 3.2s, 14m, 2h5m."""
    if seconds < 60:
        return f"{max(seconds, 0):.1f}s"
    for index, (unit, letter) in enumerate(TIME_UNITS):
        if seconds >= unit:
            text = f"{int(seconds // unit)}{letter}"
            finer = TIME_UNITS[index + 1 :][:1] or ((1, "s"),)
            rest = int(seconds % unit // finer[0][0])
            return text + (f"{rest}{finer[0][1]}" if rest else "")
    return ""


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def lines(job: Job) -> list[tuple[str, str]]:
    """Return names and values of a job."""
    pairs = [
        ("id", job.id),
        ("name", job.name or ""),
        ("state", job.state.value),
        ("exit", job.exit.message if job.exit else ""),
        ("reason", job.exit.reason.value if job.exit else ""),
        ("by", (job.exit.by or "") if job.exit else ""),
        ("command", command(job)),
        ("folder", job.spec.cwd or ""),
        ("owner", job.owner),
        ("pid", str(job.pid or "")),
        ("created", job.created_at),
        ("started", job.started_at or ""),
        ("exited", job.exited_at or ""),
        ("ran", ran(job) if job.started_at else ""),
        ("limits", _limits(job.spec.limits)),
        ("used", used(job.exit.usage) if job.exit and job.exit.usage else ""),
        ("log", f"{job.log.bytes} bytes" + (", truncated" if job.log.truncated else "")),
        ("labels", " ".join(f"{name}={value}" for name, value in job.labels.items())),
    ]
    return [(name, value) for name, value in pairs + _receipt(job.exit) if value]


def _limits(limits: LimitSpec) -> str:
    return ", ".join(f"{name} {value}" for name, value in msgspec.to_builtins(limits).items())


def used(usage: Usage) -> str:
    """Return the usage of a job, as far as it is known."""
    parts = [
        (usage.cpu_seconds, "{:.2f} s CPU"),
        (usage.memory_peak and bytes_text(usage.memory_peak), "{} memory at most"),
        (usage.pids_peak, "{} tasks at most"),
        (usage.io_read_bytes and bytes_text(usage.io_read_bytes), "{} read"),
        (usage.io_write_bytes and bytes_text(usage.io_write_bytes), "{} written"),
    ]
    return ", ".join(text.format(value) for value, text in parts if value)


def story(explanation: Explanation) -> list[str]:
    """Return the lines that explain the state of a job."""
    lines = [explanation.summary]
    for link in explanation.chain:
        by = f" by {link.by}" if link.by else ""
        first, *more = link.detail.splitlines() or [""]
        lines.append(f"{link.time or '-':27} {link.what}{by}" + (f": {first}" if first else ""))
        lines += [f"{'':28}{line}" for line in more]
    return lines


def _receipt(end: Exit | None) -> list[tuple[str, str]]:
    if end is None or end.receipt is None:
        return []
    receipt = end.receipt
    pairs = [("stop", f"{receipt.strategy} by {receipt.method}, proof {receipt.proof}")]
    for step in receipt.steps:
        words = [
            step.time,
            step.action,
            step.signal or "",
            f"to {step.target}" if step.target else "",
            step.detail or "",
        ]
        counts = (("alive", step.alive), ("delivered", step.delivered))
        words += [f"{name} {count}" for name, count in counts if count is not None]
        pairs.append(("step", " ".join(word for word in words if word)))
    pairs += [("survivor", f"{process.get('pid')} ({process.get('name')})") for process in receipt.survivors]
    return pairs
