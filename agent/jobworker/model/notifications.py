"""The params of the notifications of subscriptions."""

from msgspec import Struct, field

from jobworker.model.job import Exit, JobSummary, State


class JobEvent(Struct, frozen=True):
    """What happened to a job, and the job as it was then; `by` is the caller or part that caused it.

    `event` is `created`, `queued` (for an executor; also when why it waits has changed), `started`, `updated`,
    `paused`, `resumed`, `deadline_near`, `limit_failed` (a time limit that cannot be applied), `stopping`,
    `exited` (also for a job that was lost or not started), `stopped` (the stop is over: `exit` has its
    receipt), `writer` (its input was claimed or released), `waiting` (it waits for its input, or does no
    longer), `late_exit` (a lost job has ended after all, and stays lost), `answered` (a time limit wrote to its
    input) or `deleted`. The params of `job.event` have the name of the subscription as well.
    """

    revision: int
    time: str
    event: str
    by: str | None
    detail: str
    job: JobSummary


class EventGap(Struct, frozen=True):
    """The params of `event.gap`: events after revision `from` and up to `to` are no longer kept."""

    subscription: str
    from_: int = field(name="from")
    to: int


class LogGap(Struct, frozen=True):
    """The params of `log.gap`: bytes that the log does not have, with the reason; it continues at `to`."""

    subscription: str
    job: str
    from_: int = field(name="from")
    to: int
    reason: str


class LogEnd(Struct, frozen=True):
    """The params of `log.end`, the last notification of a subscription; `truncated`: some output was never kept."""

    subscription: str
    job: str
    offset: int
    state: State
    exit: Exit | None
    truncated: bool = False
