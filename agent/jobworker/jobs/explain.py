"""Explain why a job is in its state: what happened to it in order, and one sentence that sums it up."""

from datetime import datetime

from msgspec import UNSET

from jobworker.model import ChainLink, Explanation, Job, JobEvent, Reason, Receipt, State
from jobworker.words import command_line, shown

STDERR_LINES = 5  # the last lines of stderr that are shown
EVENT_TEXT = {  # for the events that leave nothing in the record
    "updated": "changed",
    "queued": "queued",
    "paused": "paused",
    "resumed": "resumed",
    "writer": "another writer",
    "waiting": "waits for its input",
    "answered": "answered",
    "late_exit": "ended after it was taken for lost",
    "deadline_near": "near its time limit",
    "limit_failed": "time limit not enforced, after a fault",
}
JITTER_SECONDS = 1.0  # by which times of agent and keeper may be out of order without a clock that was set
COMMAND_CHARACTERS = 100  # of the command in the summary


def explain(
    job: Job,
    stopping_by: str | None,
    receipt: Receipt | None,
    events: list[JobEvent],
    stderr: bytes,
    blocked: str,
    doubt: str = "",
) -> Explanation:
    """Return what happened to a job.

    `stopping_by`: the caller of the stop that is under way; `receipt`: of a stop that the main process outlived;
    `stderr`: the last bytes that the job wrote to it; `blocked`: why its log takes no output now;
    `doubt`: why it is not known what its executor makes of it now.
    """
    before, after, began = _changes(job, events)
    steps = _stop_links(receipt, stopping_by) if receipt is not None else []
    if job.exit is not None:
        steps += _stop_links(job.exit.receipt, job.exit.by)
    chain = before + _merged(after, steps, began)
    if first := job.log.first_offset:
        detail = f"the first {first} of {job.log.bytes} bytes are no longer kept"
        chain.append(ChainLink("", "output dropped", None, detail))
    if job.log.truncated:
        chain.append(ChainLink("", "output lost", None, "the log does not hold all that the job wrote"))
    if doubt:
        chain.append(ChainLink("", "engine unreachable", None, doubt))
    if blocked:
        chain.append(ChainLink("", "output waits", None, blocked))
    if lines := stderr.decode(errors="replace").splitlines()[-STDERR_LINES:]:
        chain.append(ChainLink("", "last lines of stderr", None, "\n".join(lines)))
    text = summary(job, stopping_by) + (_proof(receipt) if receipt else "") + (f" But {blocked}." if blocked else "")
    text += f" But {doubt}." if doubt else ""
    return Explanation(job.id, text, chain)


def _process(job: Job) -> str:
    return f"pid {job.pid}" + (f" on {job.node}" if job.node else "")


def _changes(job: Job, events: list[JobEvent]) -> tuple[list[ChainLink], list[ChainLink], str]:
    """Return the changes of a job in order of their revisions: before its stop began, and since; the end is since.

    The third value is when that stop began; "" if it is not known, or if the job had ended by then.

    Times do not give the order: the clock may have been set. Events of the first changes may no longer be kept.
    """
    before = [ChainLink(job.created_at, "created", job.owner, command(job))]
    if job.started_at is not None:
        started = ChainLink(job.started_at, "started", "agent", _process(job))
        if all(event.event != "started" for event in events):
            before.append(started)
    after: list[ChainLink] = []
    links, began, ended = before, "", False
    for event in events:
        ended = ended or event.event == "exited"
        if event.event == "stopping":
            links = after
            began = "" if ended else event.time
        if event.event == "started" and job.started_at is not None:
            links.append(started)
        elif event.event in EVENT_TEXT:
            over = event.event == "waiting" and event.job.waiting is None
            text = "waits no longer" if over else EVENT_TEXT[event.event]
            links.append(ChainLink(event.time, text, event.by, event.detail))
    if job.exit is not None:
        after.append(ChainLink(job.exited_at or "", job.state.value, job.exit.by, job.exit.message))
    return before, after, began


def _merged(changes: list[ChainLink], steps: list[ChainLink], began: str) -> list[ChainLink]:
    """Return the changes since a stop began and the steps of that stop as one list, each of them in its own order.

    Both begin when the stop does, at `began`. What comes after the clock was set back comes after what was before.
    """
    keyed = [(_set_back(links, began), links) for links in (steps, changes)]
    pairs = [(times, link) for all_times, links in keyed for times, link in zip(all_times, links, strict=True)]
    return [link for _, link in sorted(pairs, key=lambda pair: pair[0])]


def _set_back(links: list[ChainLink], began: str) -> list[tuple[int, str]]:
    """Return for each link how often the clock was set back since `began`, and its time; both never decrease."""
    keys: list[tuple[int, str]] = []
    count, last = 0, began
    for link in links:
        if last and link.time and seconds_between(link.time, last) > JITTER_SECONDS:
            count, last = count + 1, link.time
        last = max(last, link.time)
        keys.append((count, last))
    return keys


def _stop_links(receipt: Receipt | None, by: str | None) -> list[ChainLink]:
    if receipt is None:
        return []
    links = []
    for step in receipt.steps:
        counts = [
            f"{count} {what}"
            for what, count in (("alive", step.alive), ("got it", step.delivered))
            if count is not None
        ]
        what = f"{step.signal} to {step.target}" if step.action == "signal" else step.action.replace("_", " ")
        detail = ", ".join(counts) if step.action == "signal" else step.detail or ""
        links.append(ChainLink(step.time, what, by if step.action in ("signal", "asked") else "agent", detail))
    return links


def summary(job: Job, stopping_by: str | None) -> str:
    """Return where the job is and why, in a sentence or two."""
    words = command(job)
    what = f"`{words}`" if len(words) <= COMMAND_CHARACTERS else f"`{words[:COMMAND_CHARACTERS]}…`"
    if job.exit is None:
        if job.state == State.STOPPING:
            return f"{what} is being stopped by {stopping_by or 'an unknown caller'}."
        if job.state == State.QUEUED:
            why = f": {job.queued.reason}" if job.queued is not None and job.queued.reason else ""
            return f"{what} is in the queue of its executor{why}."
        return f"{what} " + {State.CREATED: "was created and not started."}.get(job.state, f"is {job.state}.")
    if job.exit.reason == Reason.START_FAILED:
        return f"{what} was not started: {job.exit.message}."
    seconds = _ran_seconds(job)
    ran = "" if seconds is None else f" after {seconds:.1f} s"
    text = f"{what} {'was lost' if job.state == State.LOST else 'ended'}{ran}: {job.exit.message}."
    return text + (_proof(job.exit.receipt) if job.exit.receipt else "")


def _ran_seconds(job: Job) -> float | None:
    """Return how long the job ran: as it was measured, else by the wall clock, unless that was set back."""
    if job.exit is not None and job.exit.ran_seconds is not None:
        return job.exit.ran_seconds
    if not job.started_at or not job.exited_at:
        return None
    seconds = seconds_between(job.started_at, job.exited_at)
    return seconds if seconds >= 0 else None


def _proof(receipt: Receipt) -> str:
    if receipt.survivors:
        pids = ", ".join(str(process.get("pid")) for process in receipt.survivors)
        return f" These processes of its tree live on: {pids}."
    sure = "for certain" if receipt.proof == "complete" else "as far as a search can find"
    return f" Nothing of its tree is left, {sure} ({receipt.method})."


def command(job: Job) -> str:
    return shown(str(job.spec.shell)) if job.spec.argv is UNSET else command_line(job.spec.command())


def seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()
