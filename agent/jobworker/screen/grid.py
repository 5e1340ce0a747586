"""The characters of a screen and their styles, row by row."""

import unicodedata
from functools import lru_cache

from jobworker.screen.styles import BACKGROUND, PLAIN

MAX_COMBINED = 8  # characters in one place: a letter and its accents
BLANK, SECOND_HALF = " ", ""  # an empty place, and the right half of a wide character


@lru_cache(4096)
def width(char: str) -> int:
    """Return how many columns a character takes: 0 for accents and what is not seen, 2 for wide ones."""
    if unicodedata.category(char) in ("Mn", "Me", "Cf", "Cc", "Zl", "Zp"):
        return 1 if char == "\xad" else 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


class Row:
    """One line: a character and a style for each column."""

    __slots__ = ("chars", "styles")

    def __init__(self, cols: int, style: int = PLAIN) -> None:
        self.chars = [BLANK] * cols
        self.styles = [style] * cols

    def write(self, x: int, chars: list[str] | str, style: int) -> None:
        """Replace what stands from a column on; half of a wide character that remains becomes blank."""
        end = x + len(chars)
        if self.chars[x] == SECOND_HALF and x:
            self.chars[x - 1] = BLANK
        self.chars[x:end] = chars
        self.styles[x:end] = [style] * len(chars)
        if end < len(self.chars) and self.chars[end] == SECOND_HALF:
            self.chars[end] = BLANK

    def clear(self, blank: "Row") -> None:
        """Make the row empty, like `blank`."""
        self.chars, self.styles = blank.chars.copy(), blank.styles.copy()

    def erase(self, start: int, end: int, style: int) -> None:
        if start < end:
            self.write(start, BLANK * (end - start), style)

    def insert(self, x: int, count: int, style: int) -> None:
        """Move what stands from a column on to the right; what leaves the row is gone."""
        cols = len(self.chars)
        count = min(count, cols - x)
        self.chars[x:] = [BLANK] * count + self.chars[x : cols - count]
        self.styles[x:] = [style] * count + self.styles[x : cols - count]

    def delete(self, x: int, count: int, style: int) -> None:
        """Remove characters; what stands to the right moves there."""
        count = min(count, len(self.chars) - x)
        self.chars[x:] = self.chars[x + count :] + [BLANK] * count
        self.styles[x:] = self.styles[x + count :] + [style] * count

    def combine(self, x: int, char: str) -> None:
        """Add an accent to the character in a column."""
        if self.chars[x] == SECOND_HALF and x:
            x -= 1
        if len(self.chars[x]) < MAX_COMBINED:
            self.chars[x] += char

    def resize(self, cols: int) -> None:
        missing = cols - len(self.chars)
        if missing > 0:
            self.chars += [BLANK] * missing
            self.styles += [PLAIN] * missing
        else:
            del self.chars[cols:], self.styles[cols:]

    def text(self) -> str:
        return "".join(self.chars).rstrip()


class Grid:
    """All rows of a screen, and the region that scrolls."""

    def __init__(self, rows: int, cols: int) -> None:
        self.cols = cols
        self.rows = [Row(cols) for _ in range(rows)]
        self.top, self.bottom = 0, rows - 1  # the region: its first and last row

    def scroll_up(self, start: int, count: int, style: int) -> None:
        """Remove rows at `start`, and add as many empty ones at the end of the region."""
        count = min(count, self.bottom + 1 - start)
        del self.rows[start : start + count]
        place = self.bottom + 1 - count
        self.rows[place:place] = [Row(self.cols, style & BACKGROUND) for _ in range(count)]

    def scroll_down(self, start: int, count: int, style: int) -> None:
        """Add empty rows at `start`, and remove as many at the end of the region."""
        count = min(count, self.bottom + 1 - start)
        del self.rows[self.bottom + 1 - count : self.bottom + 1]
        self.rows[start:start] = [Row(self.cols, style & BACKGROUND) for _ in range(count)]

    def erase(self, start: int, end: int, style: int) -> None:
        """Make rows empty."""
        blank = Row(self.cols, style & BACKGROUND)
        for y in range(start, end):
            self.rows[y].clear(blank)

    def resize(self, rows: int, cols: int, y: int) -> int:
        """Change the size; return the row of what was in row `y`. Rows above are dropped if those below do not do."""
        self.cols = cols
        for row in self.rows:
            row.resize(cols)
        above = max(0, y + 1 - rows)
        del self.rows[:above], self.rows[rows:]
        self.rows += [Row(cols) for _ in range(rows - len(self.rows))]
        self.top, self.bottom = 0, rows - 1
        return y - above
