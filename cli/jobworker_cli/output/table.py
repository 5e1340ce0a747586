"""Columns of text: aligned, one line for each row, cut to the width of a terminal."""

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence

from jobworker_cli.output import write
from jobworker_cli.output.sanitise import printable


def lines(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table for stdout."""
    cells = [[printable(cell) or "-" for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    limit = _width()
    for number, row in enumerate(cells):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        if limit and len(line) > limit:
            line = line[: limit - 1] + "…"
        yield write.paint(line, write.DIM, sys.stdout) if number == 0 else line


def pair_lines(pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield `name: value` lines."""
    width = max((len(name) for name, _ in pairs), default=0) + 2
    for name, value in pairs:
        yield f"{printable(name) + ':':{width}}{printable(value)}"


def _width() -> int:
    """Return the columns of the terminal; 0 if stdout is none, or the width is unknown."""
    if sys.stdout is None or not sys.stdout.isatty():
        return 0
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except OSError:
        return shutil.get_terminal_size().columns
