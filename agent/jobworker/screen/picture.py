"""A screen as text, and as the output that draws it on another display."""

from jobworker.screen.display import USUAL, Display
from jobworker.screen.grid import Row
from jobworker.screen.styles import PLAIN, sequence


def drawn(display: Display) -> str:
    """Return the output that makes a new terminal of this size show the same, and be in the same modes."""
    parts = ["\x1b[?1049h"] if display.main is not None else []
    parts.append("\x1b[H\x1b[2J")
    for y, row in enumerate(display.grid.rows):
        if text := _drawn_row(row):
            parts.append(f"\x1b[{y + 1}H{text}")
    grid, cursor = display.grid, display.cursor
    if (grid.top, grid.bottom) != (0, display.rows - 1):
        parts.append(f"\x1b[{grid.top + 1};{grid.bottom + 1}r")
    x, y = min(cursor.x, display.cols - 1), cursor.y
    parts.append(f"\x1b[{y + 1};{x + 1}H")
    parts.append(sequence(cursor.style))
    parts += [f"\x1b({cursor.charsets[0]}", f"\x1b){cursor.charsets[1]}", "\x0e" if cursor.shifted else "\x0f"]
    parts += [f"\x1b[?{mode}h" for mode in sorted(display.modes - USUAL)]
    parts += [f"\x1b[?{mode}l" for mode in sorted(USUAL - display.modes)]
    parts += ["\x1b="] if display.keypad else []
    parts += ["\x1b[4h"] if display.insert else []
    return "".join(parts)


def _drawn_row(row: Row) -> str:
    """Return the characters of a row with what changes their style; "" for an empty row."""
    end = len(row.chars)
    while end and row.chars[end - 1] == " " and row.styles[end - 1] == PLAIN:
        end -= 1
    parts: list[str] = []
    style = -1
    for x in range(end):
        if row.chars[x] and row.styles[x] != style:
            style = row.styles[x]
            parts.append(sequence(style))
        parts.append(row.chars[x])
    return "".join(parts) + ("\x1b[m" if parts else "")
