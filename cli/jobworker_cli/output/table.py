"""Columns of text: aligned, one line for each row, cut to the width of a terminal."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence

from jobworker_cli.output import write
from jobworker_cli.output.sanitise import printable
from jobworker_cli.output.width import cut, pad, width


def lines(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table for stdout."""
    cells = [[printable(cell) or "-" for cell in row] for row in (head, *rows)]
    widths = [max(width(row[column]) for row in cells) for column in range(len(head))]
    limit = terminal_width()
    for number, row in enumerate(cells):
        line = "  ".join(map(pad, row, widths)).rstrip()
        if limit:
            line = cut(line, limit)
        yield write.paint(line, write.DIM, sys.stdout) if number == 0 else line


def pair_lines(pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield `name: value` lines."""
    shown = [(f"{printable(name)}:", printable(value)) for name, value in pairs]
    longest = max((width(name) for name, _ in shown), default=0)
    for name, value in shown:
        yield f"{pad(name, longest)} {value}"


def terminal_width() -> int:
    """Return the columns of the terminal; 0 if stdout is none, or the width is unknown."""
    if sys.stdout is None or not sys.stdout.isatty():
        return 0
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except OSError:
        import shutil  # slow to import, and seldom needed

        return shutil.get_terminal_size().columns
