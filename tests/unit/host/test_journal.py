"""The agent's end of the journal: whole records only, and nothing that it does not know can stop it."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobworker.host.journal import BLOCK_BYTES, Closed, Ended, Journal, Launching, Started, StartFailed

OPENED = b'{"event":"opened","v":1,"pid":1,"boot":"x","at":1}\n'


def launching(job: str) -> bytes:
    return json.dumps({"event": "launching", "id": job, "group": "", "at": 5}).encode() + b"\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    journal = Journal(path)
    yield journal
    journal.close()


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_every_kind_is_read(path: Path, journal: Journal) -> None:
    """Read each kind of record with its fields; leave out that a keeper began to write."""
    lines = [
        {"event": "opened", "v": 1, "pid": 7, "boot": "b", "at": 1},
        {"event": "launching", "id": "a", "group": "/g", "at": 2},
        {"event": "started", "id": "a", "pid": 8, "start": 9, "boottime": 10, "at": 3},
        {"event": "start_failed", "id": "b", "step": "exec", "errno": 2, "at": 4},
        {"event": "ended", "id": "a", "code": None, "signal": 9, "core": True, "boottime": 11, "user": 1.5,
         "system": 0.5, "left": True, "at": 5},
        {"event": "closed", "id": "a", "size": 12, "truncated": True, "at": 6},
    ]  # fmt: skip
    append(path, "".join(json.dumps(line) + "\n" for line in lines).encode())
    assert journal.read() == [
        Launching(2, "a", "/g"),
        Started(3, "a", 8, 9, 10),
        StartFailed(4, "b", "exec", 2),
        Ended(5, "a", None, 9, 11, core=True, user=1.5, system=0.5, left=True),
        Closed(6, "a", 12, truncated=True),
    ]
    assert journal.read() == []


def test_records_come_boot_by_boot(path: Path) -> None:
    """The pids in a record mean something in the boot in which it was written, and in no other."""
    other = OPENED.replace(b'"x"', b'"y"')
    append(path, launching("a") + OPENED + launching("b") + OPENED + launching("c") + other + launching("d"))
    journal = Journal(path, 0, "w")
    read = []
    while records := journal.read():
        read.append((journal.boot, [record.id for record in records]))
    assert read == [("w", ["a"]), ("x", ["b", "c"]), ("y", ["d"])]
    assert journal.position == path.stat().st_size


def test_torn_last_line_waits_until_it_is_whole(path: Path, journal: Journal) -> None:
    """Leave a torn last line alone, and read it when the rest is there."""
    first, second = launching("a"), launching("b")
    append(path, first + second[:-1])
    assert journal.read() == [Launching(5, "a")]
    assert journal.position == len(first)
    assert journal.read() == []
    append(path, second[-1:])
    assert journal.read() == [Launching(5, "b")]
    assert journal.position == len(first + second)


def test_overwritten_tail_is_read_as_it_is_now(path: Path, journal: Journal) -> None:
    """Read the record that took the place of a torn one."""
    append(path, launching("a") + b'{"event":"ended","id":"a","co')
    assert len(journal.read()) == 1
    path.write_bytes(launching("a") + OPENED + launching("b"))
    assert journal.read() == [Launching(5, "b")]


@pytest.mark.parametrize(
    "garbled",
    [
        b"\n",
        b"no json\n",
        b"\x00\x00\x00\x00\n",
        b"[]\n",
        b'{"event":"launching"}\n',
        b'{"event":"launching","id":7,"at":5}\n',
        b'{"event":"launching","id":"\xff\xfe","at":5}\n',
        b'{"event":"\xff\xfe","id":"x","at":5}\n',
        b'{"event":"hibernated","id":"a","at":5}\n',
        b'{"id":"a","at":5}\n',
    ],
)
def test_garbled_line_is_passed_over(
    path: Path, journal: Journal, garbled: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Warn of a line that cannot be read or an event that is not known, and read on behind it."""
    append(path, launching("a") + garbled + launching("b"))
    with caplog.at_level(logging.WARNING):
        assert journal.read() == [Launching(5, "a"), Launching(5, "b")]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert journal.position == path.stat().st_size


def test_unknown_fields_are_ignored(path: Path, journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    """Read a record with fields of a later version, and a keeper of a later version, in silence."""
    append(path, b'{"event":"opened","v":99,"pid":1,"boot":"x","host":{},"at":1}\n')
    append(path, b'{"event":"launching","id":"a","group":"","moon":[1,{"x":null}],"at":5}\n')
    assert journal.read() == [Launching(5, "a")]
    assert not caplog.records


def test_path_that_is_not_utf_8_is_read(path: Path, journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    """The keeper escapes its bytes as lone surrogates, in the midst of other entries."""
    failed = b'{"event":"start_failed","id":"b","step":"exec","errno":2,"detail":"/\\udcff","at":5}\n'
    append(path, launching("a") + failed + launching("c"))
    assert journal.read() == [
        Launching(5, "a"),
        StartFailed(5, "b", "exec", 2, detail=os.fsdecode(b"/\xff")),
        Launching(5, "c"),
    ]
    assert not caplog.records


def test_position_survives(path: Path, journal: Journal) -> None:
    """A new reader continues at the place of the last one."""
    append(path, launching("a"))
    journal.read()
    append(path, launching("b"))
    after = Journal(path, journal.position)
    assert after.read() == [Launching(5, "b")]
    assert after.position == path.stat().st_size
    after.close()


def test_shorter_journal_is_read_again(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A journal that is shorter than the position is read from its start, with a warning."""
    append(path, launching("a"))
    journal = Journal(path, 10_000)
    assert journal.read() == [Launching(5, "a")]
    assert "shorter" in caplog.text
    journal.close()


def test_journal_longer_than_a_block_is_read_in_parts(path: Path, journal: Journal) -> None:
    """Read a long journal in several calls without losing the record at the seam."""
    count = 3 * BLOCK_BYTES // len(launching("0"))
    append(path, b"".join(launching(str(number)) for number in range(count)))
    records, calls = [], 0
    while more := journal.read():
        records += more
        calls += 1
    assert [record.id for record in records] == [str(number) for number in range(count)]
    assert calls > 2


def test_journal_that_is_not_there_yet_is_empty(path: Path, journal: Journal) -> None:
    """Open a journal before the keeper has made it, for its owner only."""
    assert journal.read() == []
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("zeros", [1, 5000, 3 * BLOCK_BYTES])
def test_zeros_in_place_of_records_are_passed_over(path: Path, journal: Journal, zeros: int) -> None:
    """A power cut can leave zeros in place of records, in the middle as well; later records are read."""
    append(path, launching("a") + b"\0" * zeros + b'ne"}\n' + launching("b"))
    found = []
    while records := journal.read():
        found += records
    assert [record.id for record in found] == ["a", "b"]
    assert journal.position == path.stat().st_size


def test_records_of_two_boots_come_apart(path: Path, journal: Journal) -> None:
    """Each call returns records of one boot, with its id; a keeper that starts again in that boot changes nothing."""
    append(path, OPENED + launching("a") + OPENED + launching("b"))
    append(path, OPENED.replace(b'"x"', b'"y"') + launching("c"))
    assert ([record.id for record in journal.read()], journal.boot) == (["a", "b"], "x")
    assert ([record.id for record in journal.read()], journal.boot) == (["c"], "y")
    assert journal.read() == []


def test_nothing_is_read_beyond_an_end(path: Path, journal: Journal) -> None:
    """Read whole records up to what is synced, and the rest later."""
    first, second = launching("a"), launching("b")
    append(path, first + second)
    assert [record.id for record in journal.read(len(first) + 3)] == ["a"]
    assert journal.read(len(first) + 3) == []
    assert [record.id for record in journal.read()] == ["b"]
