"""The state of a terminal: what is shown, the cursor, the modes; and the steps that change it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from jobworker.screen.grid import SECOND_HALF, Grid, width
from jobworker.screen.styles import BACKGROUND, PLAIN

# The characters that stand for the letters from "`" on while lines are drawn.
LINES = str.maketrans("`abcdefghijklmnopqrstuvwxyz{|}~", "◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·")
USUAL = frozenset({7, 25})  # modes that are on in a new terminal: lines wrap, and the cursor is visible


@dataclass
class Cursor:
    """The place of the next character, and how it looks. If `x` is the number of columns, the line wraps first."""

    x: int = 0
    y: int = 0
    style: int = PLAIN
    origin: bool = False  # rows are counted from the top of the region
    charsets: tuple[str, str] = ("B", "B")  # "0": letters draw lines
    shifted: int = 0  # which of the two is in use


class Display:
    """The main and the alternate screen, modes, title."""

    def __init__(self, rows: int, cols: int) -> None:
        self.rows, self.cols = rows, cols
        self.title = ""
        self.reset()

    def reset(self) -> None:
        """Be as a new terminal, with the title that it has."""
        self.grid = Grid(self.rows, self.cols)
        self.main: Grid | None = None  # what is shown again after the alternate screen; None: it is shown
        self.cursor = Cursor()
        self.saved = Cursor()
        self.left: Cursor | None = None  # the cursor of the main screen when the alternate one was last shown
        self.modes = set(USUAL)  # private modes that are on, by number
        self.insert = self.newline = self.keypad = False
        self.tabs = set(range(8, self.cols, 8))
        self.last = ""  # the last character that was written, to be repeated

    def resize(self, rows: int, cols: int) -> None:
        """Change the size; lines are cut, not wrapped again."""
        if (rows, cols) == (self.rows, self.cols):
            return
        if self.main is not None:
            left = self.left or self.cursor
            self.left = replace(left, y=self.main.resize(rows, cols, min(left.y, self.rows - 1)))
        y = self.grid.resize(rows, cols, self.cursor.y)
        self.tabs |= set(range((self.cols + 7) // 8 * 8, cols, 8))
        self.rows, self.cols = rows, cols
        self.cursor = replace(self.cursor, x=min(self.cursor.x, cols), y=y)
        self.saved = replace(self.saved, x=min(self.saved.x, cols - 1), y=min(self.saved.y, rows - 1))

    def lines(self, lines: list[str]) -> None:
        """Write whole lines. Those that have left the screen again at the end need not be written."""
        grid = self.grid
        if len(lines) > 2 * self.rows and (grid.top, grid.bottom) == (0, self.rows - 1):
            self.cursor.x, self.cursor.y = 0, self.rows - 1
            lines = lines[-self.rows :]
        for line in lines:
            if line:
                self.text(line)
            self.cursor.x = 0
            self.line_feed()

    def text(self, text: str) -> None:
        """Write characters, none of which is a control character."""
        if self.cursor.charsets[self.cursor.shifted] == "0":
            text = text.translate(LINES)
        self.last = text[-1]
        if text.isascii() and not self.insert:
            self._write_narrow(text)
        else:
            for char in text:
                self._write_char(char)

    # Steps

    def _write_narrow(self, text: str) -> None:
        """Write characters of one column each, as many at once as fit into the row."""
        cursor = self.cursor
        place = 0
        while place < len(text):
            if cursor.x >= self.cols:
                if 7 not in self.modes:
                    self.grid.rows[cursor.y].write(self.cols - 1, text[-1], cursor.style)
                    return
                self.wrap()
            part = text[place : place + self.cols - cursor.x]
            self.grid.rows[cursor.y].write(cursor.x, part, cursor.style)
            cursor.x += len(part)
            place += len(part)

    def _write_char(self, char: str) -> None:
        cursor, columns = self.cursor, width(char)
        if not columns:
            if cursor.x:
                self.grid.rows[cursor.y].combine(min(cursor.x, self.cols) - 1, char)
            return
        if columns > self.cols:
            return
        if cursor.x + columns > self.cols:
            if 7 in self.modes:
                self.wrap()
            else:
                cursor.x = self.cols - columns
        row = self.grid.rows[cursor.y]
        if self.insert:
            row.insert(cursor.x, columns, cursor.style & BACKGROUND)
        row.write(cursor.x, [char, SECOND_HALF][:columns], cursor.style)
        cursor.x += columns

    def wrap(self) -> None:
        self.cursor.x = 0
        self.line_feed()

    def line_feed(self) -> None:
        """Move down; at the end of the region, scroll."""
        if self.cursor.y == self.grid.bottom:
            self.grid.scroll_up(self.grid.top, 1, self.cursor.style)
        elif self.cursor.y < self.rows - 1:
            self.cursor.y += 1

    def reverse_line_feed(self) -> None:
        if self.cursor.y == self.grid.top:
            self.grid.scroll_down(self.grid.top, 1, self.cursor.style)
        elif self.cursor.y:
            self.cursor.y -= 1

    def move(self, x: int, y: int) -> None:
        """Set the cursor; with the origin mode it stays within the region."""
        grid = self.grid
        low, high = (grid.top, grid.bottom) if self.cursor.origin else (0, self.rows - 1)
        self.cursor.x = max(0, min(x, self.cols - 1))
        self.cursor.y = max(low, min(y, high))

    def save_cursor(self) -> None:
        self.saved = replace(self.cursor)

    def restore_cursor(self) -> None:
        self.cursor = replace(self.saved)
        self.cursor.y = min(self.cursor.y, self.rows - 1)

    def show_alternate(self, *, keeps_cursor: bool) -> None:
        """Show the alternate screen, which is empty then."""
        if self.main is None:
            if keeps_cursor:
                self.left = replace(self.cursor)
            self.main, self.grid = self.grid, Grid(self.rows, self.cols)

    def show_main(self, *, keeps_cursor: bool) -> None:
        """Show the main screen; the cursor goes back also if it was shown already, as in other terminals."""
        if self.main is not None:
            self.grid, self.main = self.main, None
        if keeps_cursor and self.left is not None:
            self.cursor = replace(self.left, y=min(self.left.y, self.rows - 1))

    def align(self) -> None:
        """Fill the screen with E, as some programs do to test a terminal."""
        for row in self.grid.rows:
            row.write(0, "E" * self.cols, PLAIN)
        self.cursor.x = self.cursor.y = 0

    @property
    def blank_style(self) -> int:
        """What erased places look like: they have the background of now."""
        return self.cursor.style & BACKGROUND

    def shown(self) -> list[str]:
        """Return the rows as text, without spaces at the end."""
        return [row.text() for row in self.grid.rows]
