"""What control characters and sequences do to a terminal, by their names in the standards of ECMA and DEC."""

from __future__ import annotations

import re
from collections.abc import Callable

from jobworker.screen import styles
from jobworker.screen.display import Display

MAX_TITLE = 256  # characters that are kept
UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # control characters
ALTERNATE = (47, 1047, 1049)
# Private modes that a client needs, to draw the screen and to send what the job expects.
KNOWN_MODES = {1, 5, 7, 9, 12, 25, 66, 1000, 1002, 1003, 1004, 1005, 1006, 1007, 1015, 1016, 2004}
Params = list[str]


def number(params: Params, place: int = 0, default: int = 1) -> int:
    """Return a parameter; one that is absent or 0 is the default."""
    text = params[place] if place < len(params) else ""
    return int(text) or default if text.isdecimal() else default


def set_title(display: Display, text: str) -> None:
    kind, _, title = text.partition(";")
    if kind in ("0", "2"):
        display.title = UNSEEN.sub("", title)[:MAX_TITLE]


# Control characters and short escapes


def backspace(display: Display) -> None:
    display.cursor.x = max(0, min(display.cursor.x, display.cols - 1) - 1)


def carriage_return(display: Display) -> None:
    display.cursor.x = 0


def line_feed(display: Display) -> None:
    if display.newline:
        display.cursor.x = 0
    display.line_feed()


def next_line(display: Display) -> None:
    display.wrap()


def tab(display: Display) -> None:
    after = [stop for stop in display.tabs if stop > display.cursor.x]
    display.cursor.x = max(display.cursor.x, min(min(after, default=display.cols - 1), display.cols - 1))


def set_tab(display: Display) -> None:
    display.tabs.add(min(display.cursor.x, display.cols - 1))


def shift(to: int) -> Callable[[Display], None]:
    def act(display: Display) -> None:
        display.cursor.shifted = to

    return act


def keypad(on: bool) -> Callable[[Display], None]:
    def act(display: Display) -> None:
        display.keypad = on

    return act


# The cursor


def up(display: Display, params: Params) -> None:
    y, top = display.cursor.y, display.grid.top
    display.cursor.y = max(top if y >= top else 0, y - number(params))
    _leave_margin(display)


def down(display: Display, params: Params) -> None:
    y, bottom = display.cursor.y, display.grid.bottom
    display.cursor.y = min(bottom if y <= bottom else display.rows - 1, y + number(params))
    _leave_margin(display)


def _leave_margin(display: Display) -> None:
    display.cursor.x = min(display.cursor.x, display.cols - 1)


def right(display: Display, params: Params) -> None:
    display.cursor.x = min(display.cols - 1, display.cursor.x + number(params))


def left(display: Display, params: Params) -> None:
    display.cursor.x = max(0, min(display.cursor.x, display.cols - 1) - number(params))


def lines_down(display: Display, params: Params) -> None:
    down(display, params)
    display.cursor.x = 0


def lines_up(display: Display, params: Params) -> None:
    up(display, params)
    display.cursor.x = 0


def to_column(display: Display, params: Params) -> None:
    display.cursor.x = min(number(params), display.cols) - 1


def to_row(display: Display, params: Params) -> None:
    display.move(display.cursor.x, number(params) - 1 + _first_row(display))


def to_place(display: Display, params: Params) -> None:
    display.move(number(params, 1) - 1, number(params) - 1 + _first_row(display))


def _first_row(display: Display) -> int:
    return display.grid.top if display.cursor.origin else 0


def tabs_forward(display: Display, params: Params) -> None:
    for _ in range(min(number(params), display.cols)):
        tab(display)


def tabs_back(display: Display, params: Params) -> None:
    for _ in range(min(number(params), display.cols)):
        display.cursor.x = max((stop for stop in display.tabs if stop < display.cursor.x), default=0)


def clear_tabs(display: Display, params: Params) -> None:
    if params[0] == "3":
        display.tabs.clear()
    elif params[0] in ("", "0"):
        display.tabs.discard(display.cursor.x)


# Erase, insert, delete


def erase_display(display: Display, params: Params) -> None:
    y, style = display.cursor.y, display.blank_style
    if params[0] in ("", "0"):
        erase_line(display, [""])
        display.grid.erase(y + 1, display.rows, style)
    elif params[0] == "1":
        display.grid.erase(0, y, style)
        erase_line(display, ["1"])
    elif params[0] == "2":
        display.grid.erase(0, display.rows, style)


def erase_line(display: Display, params: Params) -> None:
    x, row, style = display.cursor.x, display.grid.rows[display.cursor.y], display.blank_style
    if params[0] in ("", "0"):
        row.erase(x, display.cols, style)
    elif params[0] == "1":
        row.erase(0, min(x + 1, display.cols), style)
    elif params[0] == "2":
        row.erase(0, display.cols, style)


def erase_chars(display: Display, params: Params) -> None:
    x = min(display.cursor.x, display.cols - 1)
    display.grid.rows[display.cursor.y].erase(x, min(x + number(params), display.cols), display.blank_style)


def insert_chars(display: Display, params: Params) -> None:
    x = min(display.cursor.x, display.cols - 1)
    display.grid.rows[display.cursor.y].insert(x, number(params), display.blank_style)


def delete_chars(display: Display, params: Params) -> None:
    x = min(display.cursor.x, display.cols - 1)
    display.grid.rows[display.cursor.y].delete(x, number(params), display.blank_style)


def insert_lines(display: Display, params: Params) -> None:
    grid, y = display.grid, display.cursor.y
    if grid.top <= y <= grid.bottom:
        grid.scroll_down(y, number(params), display.cursor.style)


def delete_lines(display: Display, params: Params) -> None:
    grid, y = display.grid, display.cursor.y
    if grid.top <= y <= grid.bottom:
        grid.scroll_up(y, number(params), display.cursor.style)


def scroll_up(display: Display, params: Params) -> None:
    display.grid.scroll_up(display.grid.top, number(params), display.cursor.style)


def scroll_down(display: Display, params: Params) -> None:
    if len(params) == 1:  # with more it is about a mouse
        display.grid.scroll_down(display.grid.top, number(params), display.cursor.style)


def repeat(display: Display, params: Params) -> None:
    if display.last:
        display.text(display.last * min(number(params), display.rows * display.cols))


# Modes


def set_style(display: Display, params: Params) -> None:
    display.cursor.style = styles.changed(display.cursor.style, ";".join(params))


def set_region(display: Display, params: Params) -> None:
    top, bottom = number(params) - 1, min(number(params, 1, display.rows), display.rows) - 1
    if top < bottom:
        display.grid.top, display.grid.bottom = top, bottom
        display.move(0, top if display.cursor.origin else 0)


def modes(on: bool) -> Callable[[Display, Params], None]:
    def act(display: Display, params: Params) -> None:
        if "4" in params:
            display.insert = on
        if "20" in params:
            display.newline = on

    return act


def private_modes(on: bool) -> Callable[[Display, Params], None]:
    def act(display: Display, params: Params) -> None:
        for param in params:
            _private_mode(display, number([param], default=0), on)

    return act


def _private_mode(display: Display, mode: int, on: bool) -> None:
    if mode in ALTERNATE:
        show = display.show_alternate if on else display.show_main
        show(keeps_cursor=mode == 1049)
    elif mode == 1048:
        (display.save_cursor if on else display.restore_cursor)()
    elif mode == 6:
        display.cursor.origin = on
        display.move(0, display.grid.top if on else 0)
    elif mode in KNOWN_MODES:
        (display.modes.add if on else display.modes.discard)(mode)


def soft_reset(display: Display, params: Params) -> None:
    display.insert = display.newline = display.keypad = False
    display.modes -= {1, 5, 66}
    display.modes |= {7, 25}
    cursor, display.grid.top, display.grid.bottom = display.cursor, 0, display.rows - 1
    cursor.origin, cursor.style, cursor.charsets, cursor.shifted = False, styles.PLAIN, ("B", "B"), 0


CONTROLS: dict[str, Callable[[Display], None]] = {
    "\b": backspace,
    "\t": tab,
    "\n": line_feed,
    "\v": line_feed,
    "\f": line_feed,
    "\r": carriage_return,
    "\x0e": shift(1),
    "\x0f": shift(0),
}
ESCAPES: dict[str, Callable[[Display], None]] = {
    "7": lambda display: display.save_cursor(),
    "8": lambda display: display.restore_cursor(),
    "=": keypad(True),
    ">": keypad(False),
    "D": lambda display: display.line_feed(),
    "E": next_line,
    "H": set_tab,
    "M": lambda display: display.reverse_line_feed(),
    "c": lambda display: display.reset(),
    "#8": lambda display: display.align(),
}
SEQUENCES: dict[str, Callable[[Display, Params], None]] = {
    "@": insert_chars,
    "A": up,
    "B": down,
    "C": right,
    "D": left,
    "E": lines_down,
    "F": lines_up,
    "G": to_column,
    "H": to_place,
    "I": tabs_forward,
    "J": erase_display,
    "K": erase_line,
    "L": insert_lines,
    "M": delete_lines,
    "P": delete_chars,
    "S": scroll_up,
    "T": scroll_down,
    "X": erase_chars,
    "Z": tabs_back,
    "`": to_column,
    "a": right,
    "b": repeat,
    "d": to_row,
    "e": down,
    "f": to_place,
    "g": clear_tabs,
    "h": modes(True),
    "l": modes(False),
    "m": set_style,
    "r": set_region,
    "s": lambda display, params: display.save_cursor(),
    "u": lambda display, params: display.restore_cursor(),
    "!p": soft_reset,
    "?h": private_modes(True),
    "?l": private_modes(False),
}
