"""Records of format 1, which have nineteen fields side by side; a table of format 2 may still hold some."""

from typing import TypeVar

import msgspec

from jobworker.jobs.identity import Identity
from jobworker.jobs.record import JobRecord, LogRecord, PauseRecord, ProcessRecord, Sent, StopRecord, StopRequest
from jobworker.model import Job, JobSpec, Receipt

T = TypeVar("T", bound=msgspec.Struct)


class RecordV1(msgspec.Struct, frozen=True, kw_only=True):
    """Frozen: what version 1 wrote."""

    job: Job
    key: str | None = None
    asked: JobSpec | None = None
    identity: Identity | None = None
    launching: bool = False
    boot: str = ""
    start: int = 0
    started: int = 0
    group: str = ""
    namespace: bool = False
    init: int = 0
    init_start: int = 0
    left: bool = False
    closed: bool = False
    ending: StopRequest | None = None
    receipt: Receipt | None = None
    sent: Sent | None = None
    frozen: bool = False
    resumed: int = 0
    process: None = None  # so that no record of format 2 is taken for one of format 1

    def upgraded(self) -> JobRecord:
        return JobRecord(
            job=self.job,
            key=self.key,
            asked=self.asked,
            identity=self.identity,
            process=self._group(ProcessRecord),
            stop=StopRecord(self.ending, self.receipt, self.sent),
            pause=self._group(PauseRecord),
            log=self._group(LogRecord),
        )

    def _group(self, kind: type[T]) -> T:
        """Return a group whose fields have the names that they have here; those of later versions have defaults."""
        return kind(**{name: getattr(self, name) for name in kind.__struct_fields__ if hasattr(self, name)})
