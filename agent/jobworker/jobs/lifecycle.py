"""The life of a job as pure functions: each takes a record and what happened, and returns the next record."""

from msgspec.structs import replace

from jobworker.host.journal import (
    Closed,
    Ended,
    InputEnd,
    JournalEntry,
    Launching,
    Lost,
    Started,
    StartFailed,
    Truncated,
)
from jobworker.host.process_tree import PROOFS, RUNNER
from jobworker.jobs.record import JobRecord, RemoteRecord, StopRequest
from jobworker.jobs.start_failure import explain_start_failure
from jobworker.model import Exit, LogInfo, Queued, Reason, Receipt, State, Step, Usage
from jobworker.signal_names import name_of
from jobworker.units import bytes_text, rfc3339

REASON_TEXT = {
    Reason.STOPPED: "stopped by {by}",
    Reason.TIMEOUT: "its time was up ({by})",
    Reason.SHUTDOWN: "ended because the agent was shut down",
}

ENGINE_REASONS = {  # by the word of an engine that has ended a job
    "TIMEOUT": Reason.TIMEOUT,
    "DEADLINE": Reason.TIMEOUT,
    "OUT_OF_MEMORY": Reason.OOM,
}

FROM_OUTSIDE = {"SIGTERM", "SIGINT", "SIGHUP", "SIGKILL", "SIGQUIT"}  # signals that usually come from another process


def advance(record: JobRecord, event: JournalEntry, boot: str) -> JobRecord:
    """Return the record after an entry of the journal; an entry that was applied before changes nothing."""
    match event:
        case Launching(group=group, namespace=namespace):
            if record.job.state != State.CREATED:
                return record
            return record.with_process(launching=True, group=group, namespace=namespace, boot=boot)
        case Started():
            return started(record, event, boot)
        case StartFailed():
            return start_failed(record, event)
        case Ended():
            return ended(record, event)
        case Lost(why=why, at=at):
            return lost(record, why, at)
        case InputEnd(how=how, accepted=accepted):
            # A keeper of an earlier version knows no count any more when it notes this after the exit.
            return record.with_input(ended=how, accepted=record.input.accepted if accepted is None else accepted)
        case Truncated():
            return record.with_job(log=replace(record.job.log, truncated=True))
        case Closed(size=size, truncated=truncated, first=first):
            job = replace(record.job, log=LogInfo(size, first, truncated))
            return replace(record, job=job, log=replace(record.log, closed=True))


def queued(record: JobRecord, remote: RemoteRecord) -> JobRecord:
    """Return the record of a created job that is about to be submitted to the engine of an executor."""
    return replace(record, remote=remote).with_job(state=State.QUEUED, queued=Queued())


def refused(record: JobRecord, message: str, now: int) -> JobRecord:
    """Return the record of a queued job that the engine does not run."""
    exit_ = Exit(None, None, Reason.START_FAILED, None, message, step="submit")
    return _never_ran(record, exit_, now)


def withdrawn(record: JobRecord, now: int) -> JobRecord:
    """Return the record of a job that was stopped while it was queued, and can no longer be started."""
    request = record.stop.request
    reason, by = (Reason.STOPPED, None) if request is None else (request.reason, request.by)
    why = (request and request.message) or REASON_TEXT[reason].format(by=by)
    exit_ = Exit(None, None, reason, by, f"{why}: it was queued, and never ran")
    return _never_ran(record, exit_, now)


def _never_ran(record: JobRecord, exit_: Exit, now: int) -> JobRecord:
    record = record.with_job(state=State.EXITED, queued=None, exited_at=rfc3339(now), exit=exit_)
    return record.with_log(closed=True).with_remote(over=True)


def started(record: JobRecord, event: Started, boot: str) -> JobRecord:
    if record.job.state.final:
        return record
    begins = record.job.state in (State.CREATED, State.QUEUED)
    state = State.RUNNING if begins else record.job.state
    process = replace(
        record.process,
        launching=False,
        boot=boot,
        start=event.start,
        started=event.boottime,
        group=record.process.group if event.group is None else event.group,
        init=event.init,
        init_start=event.init_start,
    )
    job = replace(record.job, state=state, pid=event.pid, started_at=rfc3339(event.at), queued=None)
    return replace(record, job=job, process=process)


def start_failed(record: JobRecord, event: StartFailed) -> JobRecord:
    if record.job.state.final:
        return record
    message = explain_start_failure(record, event.step, event.errno, event.detail)
    exit_ = Exit(None, None, Reason.START_FAILED, None, message, step=event.step, errno=event.errno)
    record = record.with_job(
        state=State.EXITED, writer=None, waiting=None, queued=None, exited_at=rfc3339(event.at), exit=exit_
    )
    record = record.with_remote(over=True)
    return record.with_process(launching=False, left=bool(record.process.init)).with_log(closed=True)


def ended(record: JobRecord, event: Ended) -> JobRecord:
    if record.job.state.final:
        return record
    request = record.stop.request if event.signalled else None
    name = None if event.signal is None else name_of(event.signal)
    how = f"exited with code {event.code}" if name is None else f"killed by {name}"
    if event.core:
        how += " (core dumped)"
    if event.oom and request is None:
        message = f"{how}: its memory was at the limit of {record.job.spec.limits.memory}{_peak(event.usage)}"
        exit_ = Exit(None, name, Reason.OOM, "kernel", message)
    elif request is None and event.by:
        reason = ENGINE_REASONS.get(event.word, Reason.STOPPED)
        why = f"ended by {event.by}" + (f" ({event.word})" if event.word else "")
        exit_ = Exit(event.code, name, reason, event.by, f"{why}: {how}")
    elif request is None:
        by = record.stop.sent.by if record.stop.sent is not None and record.stop.sent.signal == name else None
        if by:
            how += f", sent by {by}"
        elif name in FROM_OUTSIDE and not event.signalled:
            how += ", which jobworker did not send"
        exit_ = Exit(event.code, name, Reason.FINISHED, by, how)
    else:
        why = request.message or REASON_TEXT[request.reason].format(by=request.by)
        exit_ = Exit(event.code, name, request.reason, request.by, f"{why}: {how}", record.stop.receipt)
    exit_ = replace(exit_, usage=event.usage, ran_seconds=_ran_seconds(record, event))
    if event.stdin_unread is not None:
        exit_ = replace(exit_, stdin_unread=event.stdin_unread)
    job = replace(record.job, state=State.EXITED, writer=None, waiting=None, exited_at=rfc3339(event.at), exit=exit_)
    process = replace(record.process, launching=False, left=event.left)
    record = replace(record, job=job, process=process)
    if event.stdin_accepted is not None:
        record = replace(record, input=replace(record.input, accepted=event.stdin_accepted))
    if record.stop.receipt is not None:
        record = record.with_stop(receipt=None)
    return record if event.left else tree_gone(record, event.at)


def _ran_seconds(record: JobRecord, event: Ended) -> float | None:
    """Return how long the job ran, on CLOCK_BOOTTIME; None if its start is not known."""
    started = record.process.started
    return round((event.boottime - started) / 1e9, 3) if started and event.boottime >= started else None


def _peak(usage: Usage | None) -> str:
    """Return the peak of the whole job's memory, in parentheses; "" if it was not counted."""
    if usage is None or usage.memory_peak is None or usage.source.get("memory") == "rusage":
        return ""
    return f" (peak {bytes_text(usage.memory_peak)})"


def paused(record: JobRecord) -> JobRecord:
    return record.with_pause(frozen=True).with_job(state=State.PAUSED, waiting=None)


def resumed(record: JobRecord, boottime: int) -> JobRecord:
    """Return the record of a job that is no longer frozen; a job that is being stopped stays so."""
    state = State.RUNNING if record.job.state == State.PAUSED else record.job.state
    return record.with_pause(frozen=False, resumed=boottime).with_job(state=state)


def stopping(record: JobRecord, request: StopRequest) -> JobRecord:
    """Return the record of a job whose stop begins."""
    state = record.job.state if record.job.state.final else State.STOPPING
    return record.with_stop(request=request).with_job(state=state, waiting=None)


def stopped(record: JobRecord, receipt: Receipt) -> JobRecord:
    """Return the record after a stop, with its receipt, which names the survivors."""
    exit_ = record.job.exit
    if exit_ is None:
        record = record.with_stop(receipt=receipt)
    else:
        record = record.with_job(exit=replace(exit_, receipt=receipt))
    return record.with_stop(steps=[]).with_process(left=bool(receipt.survivors))


def tree_gone(record: JobRecord, at: int) -> JobRecord:
    """Return the record of an ended job whose tree is gone; a receipt with survivors is completed."""
    exit_ = record.job.exit
    if exit_ is not None and exit_.receipt is not None and exit_.receipt.survivors:
        steps = [*exit_.receipt.steps, Step(rfc3339(at), "gone")]
        receipt = replace(exit_.receipt, proof=PROOFS[exit_.receipt.method], steps=steps, survivors=[])
        record = record.with_job(exit=replace(exit_, receipt=receipt))
    return record.with_process(left=False) if record.process.left else record


def interrupted(record: JobRecord) -> JobRecord:
    """Return the record of a job that ended while no stop is under way.

    If an agent died within a stop and the job ended then, the receipt has the steps up to that.
    """
    exit_, request, steps = record.job.exit, record.stop.request, record.stop.steps
    if not record.process_tree_gone or exit_ is None or exit_.receipt is not None or not steps or request is None:
        return record
    method = "namespace" if record.process.init else "cgroup" if record.process.group else "sweep"
    method = RUNNER if record.remote is not None else method
    receipt = Receipt(request.strategy, method, PROOFS[method], steps)
    return record.with_job(exit=replace(exit_, receipt=receipt))


def found_running(record: JobRecord, pid: int, start: int, now: int, boottime: int) -> JobRecord:
    """Return the record of a launch that succeeded, but whose keeper died before it could write that."""
    record = record.with_job(state=State.RUNNING, pid=pid, started_at=rfc3339(now))
    return record.with_process(launching=False, start=start, started=boottime)


def lost(record: JobRecord, why: str, now: int, *, closed: bool = False) -> JobRecord:
    """Return the record of a job whose exit status cannot be known any more; its namespace may still exist.

    `closed`: no process of it is left, and no output will come.
    """
    record = record.with_log(closed=closed or record.log.closed)
    record = record.with_remote(over=closed)
    if record.job.state.final:
        return record.with_process(left=record.process.left and not closed)
    left = bool(record.process.init) and not closed
    exit_ = Exit(None, None, Reason.LOST, None, why)
    record = record.with_job(
        state=State.LOST, writer=None, waiting=None, queued=None, exited_at=rfc3339(now), exit=exit_
    )
    return record.with_process(launching=False, left=left)
