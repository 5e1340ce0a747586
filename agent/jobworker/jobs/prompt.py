"""The prompt of a job: the last line of its output, if that has no end yet, as plain text."""

import re

from jobworker.logs.reader import Chunk, LogReader

MAX_CHARACTERS = 200  # of a prompt, the last ones
TAIL_BYTES = 1024  # of the output in which it is looked for
# What commands a terminal: a sequence that begins with CSI, one with OSC and its like, and any other escape.
_COMMAND = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_BACKSPACE = re.compile(r"[^\x08]\x08")


def prompt_of(data: bytes) -> str:
    """Return the prompt at the end of these last bytes of an output; "" if a line has just ended."""
    text = _COMMAND.sub("", data.rpartition(b"\n")[2].decode(errors="replace"))
    text = _BACKSPACE.sub("", text.rstrip("\r").rpartition("\r")[2])
    return "".join(char for char in text if char.isprintable())[-MAX_CHARACTERS:]


def read_prompt(reader: LogReader, begin: int) -> str:
    """Return the prompt at the end of a log, of whichever stream; it begins at the offset `begin` or later."""
    at = max(begin, reader.first(), reader.size() - TAIL_BYTES)
    parts = []
    while (part := reader.read(at)) is not None:
        parts.append(part.data if isinstance(part, Chunk) else b"\n")
        at = part.end
    return prompt_of(b"".join(parts))
