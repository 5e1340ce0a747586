"""Records of jobs that were created or have ended a moment ago: most calls are about these, and need no query.

A job in memory is not looked up here; when it leaves the memory, its newest record is put.
"""

import msgspec

from jobworker.jobs.record import JobRecord

MAX_RECORDS = 500
MAX_BYTES = 4 << 20  # of all records as JSON: a single spec may have as many

_encode = msgspec.json.Encoder().encode


class RecentRecords:
    """The records that were put last, bounded in number and bytes. What is stored of these jobs is the same."""

    def __init__(self) -> None:
        # Records and their sizes by job, the one that was put last at the end.
        self._records: dict[str, tuple[JobRecord, int]] = {}
        self._bytes = 0

    def get(self, job: str) -> JobRecord | None:
        found = self._records.get(job)
        return None if found is None else found[0]

    def put(self, record: JobRecord) -> None:
        """Keep a record, in place of one of the same job and of the oldest ones."""
        known, size = self._records.pop(record.job.id, (None, 0))
        self._bytes -= size
        # Only its spec and a stop are of any size; a record that differs in neither is not measured again.
        if known is None or known.job.spec is not record.job.spec or known.stop is not record.stop:
            size = len(_encode(record))
        self._records[record.job.id] = (record, size)
        self._bytes += size
        while self._bytes > MAX_BYTES or len(self._records) > MAX_RECORDS:
            self.drop(next(iter(self._records)))

    def drop(self, job: str) -> None:
        """Forget a record; one that is not here is no error."""
        _, size = self._records.pop(job, (None, 0))
        self._bytes -= size
