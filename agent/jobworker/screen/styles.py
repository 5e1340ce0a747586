"""The colours and attributes of characters, each style as one integer, so that a screen full of them stays small."""

from collections.abc import Sequence
from functools import lru_cache

PLAIN = 0
# A style has two colours of 25 bits and then one bit for each attribute. Colour 0 is the default, 1 to 256 are those
# of the palette, and RGB has the highest bit.
COLOUR_BITS = 25
FOREGROUND = (1 << COLOUR_BITS) - 1
BACKGROUND = FOREGROUND << COLOUR_BITS
RGB = 1 << 24
# By the number that sets it, the bit of bold, faint, italic, underlined, blinking, reverse, hidden, struck.
ATTRIBUTES = {number: 1 << (2 * COLOUR_BITS + place) for place, number in enumerate((1, 2, 3, 4, 5, 7, 8, 9))}
RESETS = {22: (1, 2), 23: (3,), 24: (4,), 25: (5,), 27: (7,), 28: (8,), 29: (9,)}
CLEARED = {number: sum(ATTRIBUTES[each] for each in numbers) for number, numbers in RESETS.items()}


@lru_cache(1024)
def changed(style: int, sequence: str) -> int:
    """Return a style after SGR (`ESC [ sequence m`); what is not known changes nothing."""
    params = sequence.split(";")
    place = 0
    while place < len(params):
        param = params[place]
        place += 1
        if ":" in param:
            style = _with_parts(style, param.split(":"))
            continue
        number = int(param or 0)
        if number == 0:
            style = PLAIN
        elif number in (38, 48):
            colour, used = _extended(params[place : place + 4])
            place += used
            style = _coloured(style, number == 48, colour)
        else:
            style = _simple(style, number)
    return style


def _simple(style: int, number: int) -> int:
    if number in ATTRIBUTES:
        return style | ATTRIBUTES[number]
    if number in CLEARED:
        return style & ~CLEARED[number]
    for first, background, base in ((30, False, 1), (40, True, 1), (90, False, 9), (100, True, 9)):
        if first <= number < first + 8:
            return _coloured(style, background, number - first + base)
    if number in (39, 49):
        return _coloured(style, number == 49, 0)
    return style | ATTRIBUTES[4] if number == 21 else style


def _with_parts(style: int, parts: list[str]) -> int:
    """Apply a parameter that has parts of its own, as 4:3 and 38:2::1:2:3."""
    if parts[0] == "4":
        return style & ~ATTRIBUTES[4] if parts[1] == "0" else style | ATTRIBUTES[4]
    if parts[0] not in ("38", "48"):
        return style
    values = parts[1:]
    if values[0] == "2" and len(values) > 4:  # the second is a colour space
        del values[1]
    return _coloured(style, parts[0] == "48", _extended(values)[0])


def _extended(params: Sequence[str]) -> tuple[int | None, int]:
    """Return the colour of `5;N` or `2;R;G;B`, None if it is none, and how many parameters it takes."""
    if not params or ":" in "".join(params):
        return None, 0
    values = [min(int(param or 0), 255) for param in params]
    if values[0] == 5 and len(values) > 1:
        return values[1] + 1, 2
    if values[0] == 2 and len(values) > 3:
        return RGB | values[1] << 16 | values[2] << 8 | values[3], 4
    return None, len(values)


def _coloured(style: int, background: bool, colour: int | None) -> int:
    if colour is None:
        return style
    if background:
        return style & ~BACKGROUND | colour << COLOUR_BITS
    return style & ~FOREGROUND | colour


def sequence(style: int) -> str:
    """Return what makes a terminal use this style, whatever it used before."""
    numbers = ["0", *(str(number) for number, bit in ATTRIBUTES.items() if style & bit)]
    for first, colour in ((30, style & FOREGROUND), (40, (style & BACKGROUND) >> COLOUR_BITS)):
        if colour & RGB:
            numbers.append(f"{first + 8};2;{colour >> 16 & 255};{colour >> 8 & 255};{colour & 255}")
        elif colour > 16:
            numbers.append(f"{first + 8};5;{colour - 1}")
        elif colour > 8:
            numbers.append(str(first + 60 + colour - 9))
        elif colour:
            numbers.append(str(first + colour - 1))
    return f"\x1b[{';'.join(numbers)}m"
