"""Remove the sequences that a terminal answers: the answer would be typed into a job that did not ask for it.

A viewer is not the terminal that the job asks, and what is shown of the past was answered then.
"""

import re

_OSC = rb"[^\x07\x1b]{0,4096}"
QUERY = re.compile(
    rb"\x1b\[(?:[>=?]?[\d;]*[cn]"  # device attributes, status, position of the cursor
    rb"|>[\d;]*q"  # name and version
    rb"|\??[\d;]*\$p"  # whether a mode is set
    rb"|(?:1[1-9]|2[01])[\d;]*t"  # sizes and titles of the window
    rb"|\?[\d;]*u)"  # flags of the keyboard
    rb"|\x1b\](?:4;\d+|1[0-9]|5[02]|5;\d+)" + _OSC + rb"\?(?:\x07|\x1b\\)"  # colours, the font, the clipboard
    rb"|\x1bP[+$]q[^\x1b]{0,4096}\x1b\\"  # settings
    rb"|\x1bZ|\x05"  # identification, and answer-back
)
PARTIAL = re.compile(rb"\x1b(?:\[[>=?]?[\d;]{0,64}\$?|[\]P][^\x07\x1b]{0,256}\x1b?)?\Z")  # may become one


class QueryFilter:
    """Takes output piece by piece; a sequence that is cut between two is held back."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        data = QUERY.sub(b"", self._held + data)
        found = PARTIAL.search(data)
        self._held = found[0] if found else b""
        return data[: len(data) - len(self._held)]

    def finish(self) -> bytes:
        """Return what was held back: no more follows that could complete it."""
        data, self._held = self._held, b""
        return data
