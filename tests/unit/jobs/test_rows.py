"""Rows that are written in few steps are the rows that were given."""

import sqlite3

import pytest

from jobworker.jobs.rows import MOST_ROWS, write_rows

UPSERT = "INSERT INTO t VALUES {rows} ON CONFLICT (id) DO UPDATE SET value = excluded.value"


@pytest.mark.parametrize("count", [0, 1, 2, 3, MOST_ROWS - 1, MOST_ROWS, 2 * MOST_ROWS + 5])
def test_each_row_once(count: int) -> None:
    """All are there after an insertion, all are changed after another, and all are deleted."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, value TEXT) WITHOUT ROWID")
    db.execute("INSERT INTO t VALUES (-1, 'other')")
    for value in ("a", "b"):
        rows = [(number, f"{value}{number}") for number in range(count)]
        write_rows(db, UPSERT, rows)
        assert db.execute("SELECT * FROM t ORDER BY id").fetchall() == [(-1, "other"), *rows]
    write_rows(db, "DELETE FROM t WHERE id IN (VALUES {rows})", [(number,) for number in range(count)])
    assert db.execute("SELECT * FROM t").fetchall() == [(-1, "other")]
    db.close()
