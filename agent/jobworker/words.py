"""Show arguments and paths, which may have bytes that are not UTF-8, as a shell takes them."""

import base64
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

_BYTES = re.compile("[\udc80-\udcff]")  # surrogates, which stand for the bytes 0x80 to 0xff


def command_line(words: Iterable[str]) -> str:
    """Return the words as one line, in which a shell finds the same words."""
    return " ".join(map(quoted, words))


def quoted(word: str) -> str:
    """Return a word for a shell: `$'caf\\xe9'` if it has bytes that are not UTF-8."""
    return f"$'{_escaped(word)}'" if _BYTES.search(word) else shlex.quote(word)


def shown(path: str) -> str:
    """Return a path for people: as it is, or for a shell if it has bytes that are not UTF-8."""
    return quoted(path) if _BYTES.search(path) else path


def decoded(value: Any) -> str:
    """Return a string of a spec, or of its `{"base64": …}` as plain data; surrogates stand for bytes."""
    if isinstance(value, Mapping) and isinstance(data := value.get("base64"), str):
        return base64.b64decode(data).decode(errors="surrogateescape")
    return str(value)


def _escaped(word: str) -> str:
    text = re.sub(r"[\\']", r"\\\g<0>", word)
    text = _BYTES.sub(lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", text)
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    """Return the escape of bash: its `\\x85` is a byte, not the character."""
    return char.encode("unicode_escape").decode() if char.isascii() else f"\\U{ord(char):08x}"
