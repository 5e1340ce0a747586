"""Show bytes of a log as text that fits into an answer: cut between characters, with what is no text escaped."""

import json
import re

HEX_BYTES = 64  # shown of output that is not text
MAX_BAD = 0.1  # more of it that is no text, and it is not shown as text
# Commands of terminals are shown as text, as in \x1b[31m, so that no terminal obeys them.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|[\ud800-\udfff]")
_HARMLESS = frozenset("\x1b\x07\x08\x0b\x0c")  # usual in the output of programs that write to terminals
_LONGEST = 4  # bytes of a character in UTF-8


def text_of(data: bytes) -> tuple[str, int]:
    """Return bytes as text, and how many of them are no text; these and control characters are shown as \\xNN."""
    decoded = data.decode(errors="surrogateescape")
    bad = sum(found not in _HARMLESS for found in _CONTROL.findall(decoded))
    return _CONTROL.sub(_escaped, decoded), bad


def _escaped(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number - 0xDC00 if number >= 0xD800 else number:02x}"


def is_text(data: bytes, bad: int) -> bool:
    """Return whether bytes, of which `bad` are no text, are to be shown as text."""
    return bad <= len(data) * MAX_BAD


def hex_of(data: bytes) -> str:
    """Return the beginning of bytes that are not text."""
    return data[:HEX_BYTES].hex(" ")


def cost(text: str) -> int:
    """Return the size of a text in JSON, in bytes: never less than as text."""
    return len(json.dumps(text, ensure_ascii=False).encode()) - 2


def prefix(data: bytes, room: int, *, last: bool) -> bytes:
    """Return the longest beginning that costs at most `room` and ends between two characters.

    `last`: nothing follows the data, so that all of it may be shown whatever it ends with.
    """
    low, high = 0, min(len(data), room)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _fits(data[:middle], room) else (low, middle - 1)
    return data if last and low == len(data) else whole_end(data[:low])


def suffix(data: bytes, room: int) -> bytes:
    """Return the longest end that costs at most `room` and begins between two characters."""
    low, high = 0, min(len(data), room)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _fits(data[-middle:], room) else (low, middle - 1)
    return data if low == len(data) else whole_begin(data[len(data) - low :])


def _fits(data: bytes, room: int) -> bool:
    text, bad = text_of(data)
    return not is_text(data, bad) or cost(text) <= room


def whole_end(data: bytes) -> bytes:
    """Return bytes without a character at their end of which more is to come."""
    for length in range(1, min(_LONGEST, len(data) + 1)):
        byte = data[-length]
        if byte >= 0xC0:  # the first byte of a character
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data[:-length] if length < needed and len(data) > length else data
        if byte < 0x80:
            break
    return data


def whole_begin(data: bytes) -> bytes:
    """Return bytes without the rest of a character at their beginning."""
    for length in range(min(_LONGEST, len(data))):
        if data[length] & 0xC0 != 0x80:
            return data[length:]
    return data
