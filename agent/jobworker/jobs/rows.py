"""Write many rows to SQLite in few steps.

sqlite3 releases the interpreter lock in each step of a statement. The thread then waits for it until the loop, which
answers calls meanwhile, releases it in turn. `executemany` takes a step for each row.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any

MOST_ROWS = 32  # of one statement; a prepared statement for each power of two up to here is kept


def write_rows(db: sqlite3.Connection, statement: str, rows: Sequence[Sequence[Any]]) -> None:
    """Execute a statement with `{rows}` in place of its VALUES for all rows, in order: a power of two at a time."""
    done = 0
    while left := len(rows) - done:
        count = min(MOST_ROWS, 1 << left.bit_length() - 1)
        part = rows[done : done + count]
        places = f"({', '.join('?' * len(part[0]))})"
        db.execute(statement.format(rows=", ".join([places] * count)), [value for row in part for value in row])
        done += count
