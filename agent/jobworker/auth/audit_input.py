"""Audit the input that callers write to jobs: the caller, the time and the number of bytes, in few lines."""

import time
from dataclasses import dataclass

from jobworker.auth.audit import Audit
from jobworker.model import Principal

LINE_SECONDS = 60.0  # between two lines of one caller about one job


@dataclass
class _Unwritten:
    """Writes to one job that no line has yet: their number of bytes, and when the last line was written."""

    bytes: int
    at: float


class InputAudit:
    """The writes of one session. The first to a job has a line at once, the others share one each minute."""

    def __init__(self, audit: Audit, address: str) -> None:
        self._audit = audit
        self._address = address
        self._jobs: dict[str, _Unwritten] = {}

    def note(self, principal: Principal, job: str, size: int) -> None:
        """Count a write, and write the line that is due."""
        now = time.monotonic()
        known = self._jobs.get(job)
        if known is not None and now - known.at < LINE_SECONDS:
            known.bytes += size
            return
        self._write(principal, job, size + (known.bytes if known else 0))
        self._jobs[job] = _Unwritten(0, now)

    def settle(self, principal: Principal, job: str | None = None) -> None:
        """Write what is still to be written about one job, or about all."""
        for name in [job] if job else [*self._jobs]:
            if (known := self._jobs.pop(name, None)) and known.bytes:
                self._write(principal, name, known.bytes)

    def _write(self, principal: Principal, job: str, size: int) -> None:
        self._audit.note("allowed", principal, self._address, "stdin.write", job=job, outcome="ok", size=size)
