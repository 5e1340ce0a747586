"""A terminal as xterm is one, as far as a screen shows it: takes the output of programs, and holds what is seen."""

import codecs

from jobworker.screen.actions import CONTROLS, ESCAPES, SEQUENCES, set_title
from jobworker.screen.display import Display
from jobworker.screen.parser import Parser


class Terminal(Display):
    """A display that takes output: bytes, cut anywhere."""

    def __init__(self, rows: int, cols: int) -> None:
        super().__init__(rows, cols)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._parser = Parser(self)

    def feed(self, data: bytes) -> None:
        self._parser.feed(self._decoder.decode(data))

    # What the parser finds besides text

    def control(self, char: str) -> None:
        if action := CONTROLS.get(char):
            action(self)

    def escape(self, between: str, final: str) -> None:
        if between in ("(", ")"):
            charsets = [*self.cursor.charsets]
            charsets["()".index(between)] = final
            self.cursor.charsets = (charsets[0], charsets[1])
        elif action := ESCAPES.get(between + final):
            action(self)

    def sequence(self, private: str, params: str, final: str) -> None:
        """Do what `ESC [` asks for; `final` with what stands before it, as "m" or "!p"."""
        if action := SEQUENCES.get(private + final):
            action(self, params.split(";"))

    def command(self, text: str) -> None:
        """Take an operating system command: only the title is of interest."""
        set_title(self, text)
