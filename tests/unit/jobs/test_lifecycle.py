"""The life of a job as a pure function: plain values in, plain values out."""

from typing import Any

import pytest
from msgspec.structs import replace

from jobworker.host.journal import Closed, Ended, InputEnd, Launching, Started, StartFailed
from jobworker.jobs import lifecycle
from jobworker.jobs.lifecycle import advance
from jobworker.jobs.record import JobRecord, ProcessRecord, StopRequest, is_id, new_id
from jobworker.model import Exit, Job, JobSpec, LimitSpec, Reason, Receipt, State, Step

NEW = JobRecord(
    job=Job(
        id="a" * 12,
        name=None,
        state=State.CREATED,
        spec=JobSpec(argv=["prog"], cwd="/there"),
        owner="token:x",
        created_at="2026-01-01T00:00:00.000000Z",
    ),
    process=ProcessRecord(),
)
LAUNCHING = Launching(at=1, id="a" * 12, group="/g")
STARTED = Started(at=2, id="a" * 12, pid=77, start=5, boottime=6)
CLOSED = Closed(at=4, id="a" * 12, size=10)
STOPPED = StopRequest(reason=Reason.STOPPED, by="ann", strategy="graceful")


def ended(**what: Any) -> Ended:
    given: dict[str, Any] = {"at": 3, "id": "a" * 12, "code": 0, "signal": None, "boottime": 9} | what
    return Ended(**given)


def after(*events: Any, record: JobRecord = NEW) -> JobRecord:
    for event in events:
        record = advance(record, event, "boot")
    return record


RUNNING = after(LAUNCHING, STARTED)


def test_from_created_to_exited() -> None:
    """Created, running, exited; live until its output is closed."""
    assert (NEW.active, NEW.process_tree_gone) == (False, False)
    launching = after(LAUNCHING)
    assert (launching.job.state, launching.process.launching, launching.process.group, launching.active) == (
        State.CREATED,
        True,
        "/g",
        True,
    )
    assert (RUNNING.job.state, RUNNING.job.pid, RUNNING.process.start, RUNNING.process.started) == (
        State.RUNNING,
        77,
        5,
        6,
    )
    assert (RUNNING.process.boot, RUNNING.process.launching, RUNNING.job.started_at) == (
        "boot",
        False,
        "1970-01-01T00:00:00.000000Z",
    )
    exited = after(ended(code=3), record=RUNNING)
    assert exited.job.exit == Exit(3, None, Reason.FINISHED, None, "exited with code 3", ran_seconds=0.0)
    assert (exited.job.state, exited.process_tree_gone, exited.log.closed, exited.active) == (
        State.EXITED,
        True,
        False,
        True,
    )
    over = after(CLOSED, record=exited)
    assert (over.job.log.bytes, over.active) == (10, False)


def test_output_may_close_first() -> None:
    """The end of the output and the exit are two facts, in either order."""
    assert after(CLOSED, ended(), record=RUNNING) == after(ended(), CLOSED, record=RUNNING)


@pytest.mark.parametrize(
    "event", [STARTED, ended(code=9), StartFailed(at=5, id="a" * 12, step="exec", errno=2), CLOSED], ids=str
)
def test_what_is_over_stays_as_it_is(event: Any) -> None:
    """An event that was applied before, or comes late, changes nothing."""
    over = after(LAUNCHING, STARTED, ended(code=3), CLOSED)
    assert after(event, record=over) == over


def test_everything_read_twice() -> None:
    """A journal that is read again from its beginning gives the same record."""
    events = (LAUNCHING, STARTED, ended(code=3), CLOSED)
    once = after(*events)
    again = after(*events, record=once)
    assert (again.job, again.process_tree_gone, again.active) == (once.job, once.process_tree_gone, once.active)


@pytest.mark.parametrize(
    ("number", "name"), [(9, "SIGKILL"), (15, "SIGTERM"), (6, "SIGABRT"), (34, "SIGRTMIN"), (40, "SIGRT+6")]
)
def test_signals_by_name(number: int, name: str) -> None:
    """An exit has a code or the name of a signal, never both."""
    exit_ = after(ended(code=None, signal=number, core=True), record=RUNNING).job.exit
    assert exit_ is not None
    assert (exit_.code, exit_.signal, exit_.reason) == (None, name, Reason.FINISHED)
    assert exit_.message.startswith(f"killed by {name} (core dumped)")
    outside = exit_.message.endswith("which jobworker did not send")
    assert outside == (name in ("SIGKILL", "SIGTERM"))


@pytest.mark.parametrize("reason", [Reason.STOPPED, Reason.TIMEOUT, Reason.SHUTDOWN])
def test_an_end_that_was_asked_for(reason: Reason) -> None:
    """A stop is the reason only if a signal of the agent reached the job alive."""
    stopping = lifecycle.stopping(RUNNING, replace(STOPPED, reason=reason))
    assert stopping.job.state == State.STOPPING
    signalled = after(ended(code=None, signal=15, signalled=True), record=stopping).job.exit
    assert signalled is not None
    assert (signalled.reason, signalled.by, signalled.signal) == (reason, "ann", "SIGTERM")
    missed = after(ended(code=3, signalled=False), record=stopping).job.exit
    assert missed is not None
    assert (missed.reason, missed.by, missed.code) == (Reason.FINISHED, None, 3)


def test_out_of_memory() -> None:
    """The kernel is named, and the limit; a stop that had reached it comes first."""
    limited = replace(RUNNING, job=replace(RUNNING.job, spec=JobSpec(argv=["x"], limits=LimitSpec(memory="64MiB"))))
    exit_ = after(ended(code=None, signal=9, oom=True), record=limited).job.exit
    assert exit_ is not None
    assert (exit_.code, exit_.signal, exit_.reason, exit_.by) == (None, "SIGKILL", Reason.OOM, "kernel")
    assert "64MiB" in exit_.message
    stopping = lifecycle.stopping(limited, STOPPED)
    exit_ = after(ended(code=None, signal=9, oom=True, signalled=True), record=stopping).job.exit
    assert exit_ is not None
    assert exit_.reason == Reason.STOPPED


def test_struck_without_an_ending() -> None:
    """A signal that was no stop leaves the reason alone."""
    exit_ = after(ended(code=None, signal=1, signalled=True), record=RUNNING).job.exit
    assert exit_ is not None
    assert exit_.reason == Reason.FINISHED


def test_a_stop_during_the_start_is_not_undone() -> None:
    """`started` does not take a stopping job back to running."""
    stopping = lifecycle.stopping(after(LAUNCHING), STOPPED)
    assert after(STARTED, record=stopping).job.state == State.STOPPING


@pytest.mark.parametrize(
    ("step", "words"), [("cwd", "'/there'"), ("exec", "'prog'"), ("setup", "set up the process"), ("user", "user")]
)
def test_a_start_that_failed(step: str, words: str) -> None:
    """Exited, reason start_failed, without code or signal; the message names step and cause."""
    record = after(LAUNCHING, StartFailed(at=2, id="a" * 12, step=step, errno=2))
    assert (record.job.state, record.process.launching, record.active) == (State.EXITED, False, False)
    assert record.job.exit is not None
    assert (record.job.exit.code, record.job.exit.signal) == (None, None)
    assert record.job.exit.reason == Reason.START_FAILED
    assert words in record.job.exit.message
    assert "No such file or directory" in record.job.exit.message


def test_a_log_that_is_closed_before_the_start_has_failed() -> None:
    """The pump finds the end of the pipes on its own; which entry comes first changes nothing."""
    failed = StartFailed(at=5, id="a" * 12, step="exec", errno=13)
    empty = Closed(at=4, id="a" * 12, size=0)
    assert after(LAUNCHING, empty, failed) == after(LAUNCHING, failed, empty)


def test_the_receipt_of_a_stop() -> None:
    """A stop that is under way writes it; only one that its agent did not survive leaves that to the exit."""
    steps = [Step("2026-01-01T00:00:00.000000Z", "signal", "SIGTERM")]
    stopping = lifecycle.stopping(RUNNING, STOPPED).with_stop(steps=steps)
    exited = after(ended(code=None, signal=15, signalled=True), record=stopping)
    assert exited.job.exit is not None
    assert exited.job.exit.receipt is None
    receipt = Receipt("graceful", "cgroup", "complete", steps)
    assert lifecycle.interrupted(exited).job.exit == replace(exited.job.exit, receipt=receipt)
    left = after(ended(left=True), record=stopping)
    assert lifecycle.interrupted(left) == left
    assert lifecycle.interrupted(RUNNING) == RUNNING


def test_leftovers() -> None:
    """A job with processes left behind is exited; its tree is gone when a receipt says that no process is left."""
    left = after(ended(left=True), CLOSED, record=RUNNING)
    assert (left.job.state, left.process_tree_gone, left.active) == (State.EXITED, False, True)
    survived = lifecycle.stopped(left, Receipt("kill", "sweep", "none", [], [{"pid": 1, "name": "x"}]))
    assert survived.process.left
    gone = lifecycle.stopped(survived, Receipt("kill", "cgroup", "complete"))
    assert (gone.process.left, gone.process_tree_gone) == (False, True)
    assert gone.job.exit is not None
    assert gone.job.exit.receipt == Receipt("kill", "cgroup", "complete")
    assert lifecycle.stopping(left, STOPPED).job.state == State.EXITED


def test_lost() -> None:
    """An unknown exit is `lost`, without a code or a signal; a known exit is not taken back."""
    record = lifecycle.lost(RUNNING, "why", 5)
    assert record.job.exit == Exit(None, None, Reason.LOST, None, "why")
    assert (record.job.state, record.process_tree_gone) == (State.LOST, True)
    assert after(ended(code=0), record=record).job.exit == record.job.exit


def test_ids_sort_by_creation() -> None:
    """Ids are twelve safe characters, all different, in the order in which they were made."""
    ids = [new_id() for _ in range(5000)]
    assert ids == sorted(set(ids))
    assert all(is_id(each) for each in ids)
    assert not any(is_id(each) for each in ("", "a" * 11, "a" * 13, "../../../../", "A" * 12, "aaaaaaaaaaa\0"))


def test_the_count_of_an_input_is_kept() -> None:
    """An exit has it; an end of the input that is noted after the exit, without a count, takes nothing away."""
    record = after(ended(stdin_accepted=9), InputEnd(at=4, id="a" * 12, how="broken"), record=RUNNING)
    assert record.input.accepted == 9
    assert after(InputEnd(at=3, id="a" * 12, how="closed", accepted=5), record=RUNNING).input.accepted == 5
