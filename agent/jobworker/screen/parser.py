"""Cut the output of programs into text, control characters and sequences; what never ends takes no memory."""

import re
from typing import Protocol

MAX_STRING = 1024  # characters of a title or another string that is looked at whole
TOKEN = re.compile(
    r"([^\x00-\x1f\x7f-\x9f]+)"
    r"|([\x00-\x1a\x1c-\x1f\x7f-\x9f])"
    r"|\x1b\[([<-?]?)([\d;:]{0,128})([ -/]{0,2}[@-~])"
    r"|\x1b([ -/]{0,2})([0-OQ-WYZ\\`-jl-~])"
    rf"|\x1b\]([^\x07\x1b]{{0,{MAX_STRING}}})(?:\x07|\x1b\\)"
)
LINES = re.compile(r"(?:[^\x00-\x1f\x7f-\x9f]*\r\n)+")  # most output is that
BEGUN = re.compile(r"\x1b(?:\[[<-?]?[\d;:]{0,128}[ -/]{0,2}|[ -/]{0,2})\Z")  # more output may complete it
STRING = re.compile(r"\x1b[\]PX^_k]")
STRING_END = re.compile(r"\x07|\x1b\\|[\x18\x1a]|(?=\x1b[^\\])")
BROKEN = re.compile(r"\x1b(?:\[[<-?\d;:]*)?")  # a sequence with parameters that no program sends, or none at all


class Target(Protocol):
    """What acts on that which was found."""

    def lines(self, lines: list[str]) -> None: ...
    def text(self, text: str) -> None: ...
    def control(self, char: str) -> None: ...
    def escape(self, between: str, final: str) -> None: ...
    def sequence(self, private: str, params: str, final: str) -> None: ...
    def command(self, text: str) -> None: ...


class Parser:
    """Takes output in pieces, which may end anywhere."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._held = ""  # the begin of a sequence that the next piece may complete
        self._in_string = False  # a string goes on that is too long to be looked at

    def feed(self, text: str) -> None:
        text = self._held + text
        self._held = ""
        place = self._end_of_string(text, 0) if self._in_string else 0
        target, match, match_lines = self._target, TOKEN.match, LINES.match
        while place < len(text):
            if lines := match_lines(text, place):
                place = lines.end()
                target.lines(lines[0].split("\r\n")[:-1])
                continue
            found = match(text, place)
            if found is None:
                place = self._odd(text, place)
                continue
            place = found.end()
            kind = found.lastindex
            if kind == 1:
                target.text(found[1])
            elif kind == 2:
                target.control(found[2])
            elif kind == 5:
                target.sequence(found[3], found[4], found[5])
            elif kind == 7:
                target.escape(found[6], found[7])
            else:
                target.command(found[8])

    def _odd(self, text: str, place: int) -> int:
        """Handle an ESC that begins no whole sequence; return where to go on."""
        if BEGUN.match(text, place):
            self._held = text[place:]
            return len(text)
        if not STRING.match(text, place):
            broken = BROKEN.match(text, place)
            return broken.end() if broken else place + 1
        if len(text) - place < MAX_STRING and not STRING_END.search(text, place + 2):
            self._held = text[place:]
            return len(text)
        return self._end_of_string(text, place + 2)

    def _end_of_string(self, text: str, place: int) -> int:
        """Return where a string that is skipped ends; in the next piece, if not here."""
        found = STRING_END.search(text, place)
        self._in_string = found is None
        if found is not None:
            return found.end()
        self._held = "\x1b" if text.endswith("\x1b") else ""  # perhaps half of the end
        return len(text)
