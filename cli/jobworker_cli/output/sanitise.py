"""Make text harmless for a terminal: colours pass, every other control character is shown as text.

Bytes in, bytes out; no file and no terminal.
"""

import codecs
import re

MAX_COLOUR_CHARACTERS = 64  # in the parameters of a colour; a longer sequence is none
_TOKEN = re.compile(rf"(\x1b\[[0-9;:]{{0,{MAX_COLOUR_CHARACTERS}}}m)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_BEGINNING = re.compile(rf"\x1b(?:\[[0-9;:]{{0,{MAX_COLOUR_CHARACTERS}}})?\Z")
_RESET = b"\x1b[0m"


def printable(text: str) -> str:
    """Return text on one line, with every control character escaped."""
    return "".join(char if char.isprintable() else _shown(char) for char in text)


def _shown(char: str) -> str:
    return char.encode("unicode_escape").decode()


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
        return rest + (_RESET if self._coloured else b"")

    def _harmless(self, text: str) -> bytes:
        return _TOKEN.sub(self._replace, text).encode()

    def _replace(self, match: re.Match[str]) -> str:
        if match[1]:
            self._coloured = True
            return match[1]
        return _shown(match[0])
