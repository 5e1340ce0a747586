"""Describe a job: the exit code of `jw`, a sentence about its end, the columns of `jw ps`.

Jobs, exits and explanations are those of the wire, as plain data: their types take longer to import than a command
runs, and an agent newer than `jw` may send words that the types do not know.
"""

import errno
import signal
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jobworker.units import bytes_text
from jobworker.words import command_line, decoded, shown
from jobworker_cli import output
from jobworker_cli.failures import RUN_FAILED

if TYPE_CHECKING:
    from jobworker.client import Subscription
    from jobworker.model import Job

MISSING = 123  # `run` and `logs`: all is well but for bytes of the output that are missing
TIMED_OUT = 124
NOT_EXECUTABLE = 126
NOT_FOUND = 127
Plain = Mapping[str, Any]
TIME_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))


def exit_code(end: Plain | None) -> int:
    """Return the exit code of `run` and `wait`."""
    if end is None or end["reason"] == "lost":
        return RUN_FAILED
    if end["reason"] == "start_failed":
        return start_code(end.get("step"), end.get("errno"))
    if end["reason"] == "timeout":
        return TIMED_OUT
    if end["signal"] is not None:
        return 128 + _number(end["signal"])
    code = end["code"]
    return code if isinstance(code, int) and 0 <= code <= 255 else RUN_FAILED  # 256 would end as 0


def missing_code(subscription: "Subscription") -> int:
    """Return the exit code for what was missing in a log that was followed to its end."""
    end = subscription.end
    return MISSING if subscription.gaps or (end is not None and end.truncated) else 0


def not_searched(job: "Job", offset: int) -> str:
    """Return what a search from an offset has not seen, as it is no longer in the log; "" if it has seen all."""
    if (dropped := job.log.first_offset - offset) > 0:
        return f"{dropped} bytes of the output of job {job.id} were not searched: dropped"
    return f"bytes of the output of job {job.id} were not searched: they are missing" if job.log.truncated else ""


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


def remark(end: Plain | None) -> str:
    """Return a remark about an end; "" if the exit code is enough."""
    if end is None:
        return "how it ended is not known"
    plain = end["reason"] == "finished" and end["signal"] is None
    return "" if plain else str(end["message"])


def ended(job: Plain) -> int:
    """Note how a job ended, if its exit code is not enough; return that code."""
    end = job["exit"]
    if words := remark(end):
        output.note(f"job {job['id']}: {words}")
    return exit_code(end)


def state(job: Plain) -> str:
    """Return state and outcome in a word or two."""
    end = job["exit"]
    if job["state"] != "exited" or end is None:
        return f"{job['state']} (waits)" if job.get("waiting") else str(job["state"])
    outcome = end["signal"] or ("" if end["code"] is None else str(end["code"]))
    why = "exited" if end["reason"] == "finished" else end["reason"]
    return f"{why} {outcome}".rstrip()


def command(job: Plain) -> str:
    """Return what it executes, as one line."""
    spec = job["spec"]
    return command_line(map(decoded, spec["argv"])) if "argv" in spec else shown(decoded(spec.get("shell", "")))


def age(job: Plain) -> str:
    """Return for how long the job has existed."""
    return span((datetime.now(UTC) - _moment(job["created_at"])).total_seconds())


def ran(job: Plain) -> str:
    """Return for how long the job has run, or ran."""
    if job["started_at"] is None:
        return "-"
    if (measured := (job["exit"] or {}).get("ran_seconds")) is not None:
        return span(measured)  # the times are of a clock that may have been set
    until = _moment(job["exited_at"]) if job["exited_at"] else datetime.now(UTC)
    return span((until - _moment(job["started_at"])).total_seconds())


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


def lines(job: Plain) -> list[tuple[str, str]]:
    """Return names and values of a job."""
    end, log = job["exit"] or {}, job["log"]
    pairs = [
        ("id", job["id"]),
        ("name", job["name"]),
        ("state", job["state"]),
        ("exit", end.get("message")),
        ("reason", end.get("reason")),
        ("by", end.get("by")),
        ("command", command(job)),
        ("folder", shown(decoded(job["spec"].get("cwd") or ""))),
        ("owner", job["owner"]),
        ("executor", job["spec"].get("executor", {}).get("name")),
        ("node", job.get("node")),
        ("pid", job["pid"]),
        ("created", job["created_at"]),
        ("started", job["started_at"]),
        ("exited", job["exited_at"]),
        ("ran", ran(job) if job["started_at"] else ""),
        ("limits", _limits(job["spec"].get("limits", {}))),
        ("used", used(end.get("usage") or {})),
        ("log", _log(log)),
        ("writer", _writer(job)),
        ("waits", _waiting(job)),
        ("queued", queued(job)),
        ("labels", " ".join(f"{name}={value}" for name, value in job["labels"].items())),
    ]
    return [(name, str(value)) for name, value in pairs + _receipt(end.get("receipt")) if value]


def _writer(job: Plain) -> str:
    writer = job.get("writer")
    return f"{writer['by']} since {writer['since']}" if writer else ""


def queued(job: Plain) -> str:
    """Return why a job is in the queue of its executor, and until when; "" if it is in none, or that is not known."""
    waits = job.get("queued") or {}
    starts = waits.get("starts")
    first = f"first by {_moment(starts).astimezone():%H:%M}" if starts else ""
    return shown(", ".join(filter(None, (str(waits.get("reason") or ""), first))))


def _waiting(job: Plain) -> str:
    waiting = job.get("waiting")
    if not waiting:
        return ""
    prompt = f": {shown(waiting['prompt'])}" if waiting["prompt"] else ""
    return f"for input since {waiting['since']}{prompt}"


def _log(log: Plain) -> str:
    first = log.get("first_offset")
    dropped = f", of which the first {first} are no longer kept" if first else ""
    return f"{log['bytes']} bytes{dropped}" + (", truncated" if log["truncated"] else "")


def _limits(limits: Plain) -> str:
    return ", ".join(f"{name} {value}" for name, value in limits.items())


def used(usage: Plain) -> str:
    """Return the usage of a job, as far as it is known."""
    sizes = (("memory_peak", "memory at most"), ("io_read_bytes", "read"), ("io_write_bytes", "written"))
    parts = {name: f"{bytes_text(usage[name])} {words}" for name, words in sizes if usage.get(name)}
    if usage.get("cpu_seconds"):
        parts["cpu_seconds"] = f"{usage['cpu_seconds']:.2f} s CPU"
    if usage.get("pids_peak"):
        parts["pids_peak"] = f"{usage['pids_peak']} tasks at most"
    order = ("cpu_seconds", "memory_peak", "pids_peak", "io_read_bytes", "io_write_bytes")
    return ", ".join(parts[name] for name in order if name in parts)


def story(explanation: Plain) -> list[str]:
    """Return the lines that explain the state of a job."""
    lines = [str(explanation["summary"])]
    for link in explanation["chain"]:
        by = f" by {link['by']}" if link["by"] else ""
        first, *more = link["detail"].splitlines() or [""]
        lines.append(f"{link['time'] or '-':27} {link['what']}{by}" + (f": {first}" if first else ""))
        lines += [f"{'':28}{line}" for line in more]
    return lines


def _receipt(receipt: Plain | None) -> list[tuple[str, Any]]:
    if receipt is None:
        return []
    pairs = [("stop", f"{receipt['strategy']} by {receipt['method']}, proof {receipt['proof']}")]
    for step in receipt["steps"]:
        target = f"to {step['target']}" if step.get("target") else None
        words = [step["time"], step["action"], step.get("signal"), target, step.get("detail")]
        counts = ((name, step.get(name)) for name in ("alive", "delivered"))
        words += [f"{name} {count}" for name, count in counts if count is not None]
        pairs.append(("step", " ".join(word for word in words if word)))
    pairs += [("survivor", f"{process.get('pid')} ({process.get('name')})") for process in receipt["survivors"]]
    return pairs
