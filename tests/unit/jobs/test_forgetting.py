"""The journal takes bounded room: what no agent needs again is freed, and what it needs stays where it was."""

from pathlib import Path

import pytest

from jobworker.host.journal import Journal
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.forgetting import KEEP_BYTES, forgettable
from jobworker.jobs.record import JobRecord, LogRecord, ProcessRecord, new_id
from jobworker.model import Job, JobSpec, State

MIB = 1 << 20


def job(state: State) -> ActiveJob:
    made = Job(id=new_id(), name=None, state=state, spec=JobSpec(argv=["true"]), owner="o", created_at="2026")
    return ActiveJob(JobRecord(job=made, process=ProcessRecord(), log=LogRecord(closed=state.final)))


def test_what_is_not_needed() -> None:
    """All but the newest entries; of a job that runs, those from its launch on; nothing if that is not known."""
    end = 10 * KEEP_BYTES
    old, new, over = job(State.RUNNING), job(State.RUNNING), job(State.EXITED)
    begun = {old.id: 5 * MIB, new.id: end - 1}
    assert forgettable(KEEP_BYTES - 1, {}, []) == 0
    assert forgettable(end, {}, [over]) == 9 * KEEP_BYTES
    assert forgettable(end, begun, [new, over]) == 9 * KEEP_BYTES
    assert forgettable(end, begun, [old, new, over]) == 5 * MIB
    assert forgettable(end, {new.id: end - 1}, [old, new]) == 0


def line(number: int) -> bytes:
    return b'{"event":"closed","id":"%012d","size":%d,"first":0,"truncated":false,"at":1}\n' % (number, number)


def test_positions_stay(tmp_path: Path) -> None:
    """An agent reads on where it was; one without a position reads what is left, without the line that was cut."""
    path = tmp_path / "journal"
    content = b"".join(line(number) for number in range(30_000))
    path.write_bytes(content)
    end = len(content) // 2
    journal = Journal(path, position=sum(len(line(number)) for number in range(25_000)))
    before = path.stat().st_blocks
    journal.forget(end)
    if path.stat().st_blocks == before:
        pytest.skip("this file system frees nothing")
    assert path.stat().st_size == len(content)
    assert path.stat().st_blocks < before * 3 // 4
    assert ids(journal) == [*range(25_000, 30_000)]
    journal.close()
    fresh = Journal(path)
    assert fresh.position > end * 3 // 4
    assert ids(fresh)[-1] == 29_999
    fresh.close()


def ids(journal: Journal) -> list[int]:
    found: list[int] = []
    while entries := journal.read():
        found += [int(entry.id) for entry in entries]
    return found
