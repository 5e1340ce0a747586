"""The events of all jobs as a client follows them, and the revision where to continue after a lost connection."""

from collections.abc import Callable
from typing import Any

import msgspec

from jobworker.model import EventGap, JobEvent


class EventFollower:
    """The events of jobs after `revision`, which advances with each event.

    `gaps` are the ranges of revisions passed so far whose events the agent no longer keeps.
    """

    def __init__(self, revision: int | None, report: Callable[[str], None]) -> None:
        self.revision = revision
        self.gaps: list[EventGap] = []
        self._report = report

    def params(self) -> dict[str, Any]:
        """Return the params of event.subscribe: after the last revision that was seen, or from now on."""
        return {} if self.revision is None else {"from": self.revision}

    def take(self, method: str, params: dict[str, Any]) -> JobEvent | None:
        """Advance by a notification, and return its event if it has one."""
        if method == "job.event":
            event = msgspec.convert(params, JobEvent)
            self.revision = event.revision
            return event
        if method == "event.gap":
            self.gaps.append(gap := msgspec.convert(params, EventGap))
            self.revision = gap.to
            self._report(f"the events of the revisions {gap.from_ + 1} to {gap.to} are no longer kept")
        return None
