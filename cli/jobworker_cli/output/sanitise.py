"""Make text harmless for a terminal: colours pass, every other control character is shown as text.

So are the characters that change the direction of text, and the line ends of Unicode, U+2028 and U+2029: they make a
line look like another one.

Bytes in, bytes out; no file and no terminal.
"""

import codecs
import re

MAX_COLOUR_CHARACTERS = 64  # in the parameters of a colour; a longer sequence is none
_DIRECTION = "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_COLOUR = rf"(\x1b\[[0-9;:]{{0,{MAX_COLOUR_CHARACTERS}}}m)"
_TOKEN = re.compile(rf"{_COLOUR}|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f{_DIRECTION}]")
_LINE_TOKEN = re.compile(rf"{_COLOUR}|[\x00-\x08\x0a-\x1f\x7f-\x9f{_DIRECTION}]")
# What JSON need not escape and a terminal, or a reader of lines, may take for more than text.
_IN_JSON = re.compile(f"[\x7f-\x9f\xad\u200b-\u200d\u2060-\u2065\ufeff\ud800-\udfff{_DIRECTION}]")
_BEGINNING = re.compile(rf"\x1b(?:\[[0-9;:]{{0,{MAX_COLOUR_CHARACTERS}}})?\Z")
RESET = b"\x1b[0m"


def printable(text: str) -> str:
    """Return text on one line, with every control character escaped."""
    return "".join(char if char.isprintable() else _shown(char) for char in text)


def _shown(char: str) -> str:
    return char.encode("unicode_escape").decode()


def harmless(line: str) -> str:
    """Return one line of ours for a terminal: its colours stay, whatever is in the values that it shows."""
    return _LINE_TOKEN.sub(lambda match: match[1] or _shown(match[0]), line)


def escaped_json(text: str) -> str:
    """Return JSON that means the same, in which no character commands a terminal."""
    return _IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


class Sanitiser:
    """Takes the output of a job in pieces, which may split characters and sequences."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._held = ""
        self._coloured = False

    def feed(self, data: bytes) -> bytes:
        """Return what can be written so far."""
        text = self._held + self._decoder.decode(data)
        beginning = _BEGINNING.search(text)
        self._held = beginning[0] if beginning else ""
        return self._harmless(text.removesuffix(self._held) if self._held else text)

    def finish(self) -> bytes:
        """Return the rest, and a reset if there were colours."""
        rest = self._harmless(self._held + self._decoder.decode(b"", final=True))
        self._held = ""
        return rest + (RESET if self._coloured else b"")

    def _harmless(self, text: str) -> bytes:
        return _TOKEN.sub(self._replace, text).encode()

    def _replace(self, match: re.Match[str]) -> str:
        if match[1]:
            self._coloured = True
            return match[1]
        return _shown(match[0])
