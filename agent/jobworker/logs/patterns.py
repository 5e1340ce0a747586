"""What is searched for in a log: a text, or a regular expression that takes time linear in the text."""

import importlib
from typing import Any, Protocol

MAX_PATTERN_BYTES = 1024
MAX_PROGRAM = 1000  # instructions of a compiled expression: the worst take that many steps for each byte
MAX_MEMORY_BYTES = 4 << 20  # of the automaton of an expression
MULTILINE = "(?m)"  # before each expression: ^ and $ are the ends of a line
NOWHERE = (-1, -1)


class BadPatternError(ValueError):
    """A pattern that cannot be searched for; its text has why, and what was expected."""


class NeedsLibraryError(Exception):
    """A pattern for which the library of regular expressions is needed, and missing."""


class Pattern(Protocol):
    """Finds matches, which have at least one byte and lie within one line."""

    def prepare(self, text: bytes) -> bytes:
        """Return what `find` has to be called with; it has the length of the text."""

    def find(self, prepared: bytes, start: int) -> tuple[int, int]:
        """Return where the first match from `start` on begins and ends; NOWHERE if there is none."""

    def count(self, prepared: bytes, start: int, stop: int) -> int | None:
        """Return how many matches begin from `start` on and before `stop`; None if only `find` can count them."""


class _Text:
    """A text, as its bytes."""

    def __init__(self, needle: bytes) -> None:
        self._needle = needle

    def count(self, prepared: bytes, start: int, stop: int) -> int | None:
        return prepared.count(self._needle, start, stop + len(self._needle) - 1)

    def prepare(self, text: bytes) -> bytes:
        return text

    def find(self, prepared: bytes, start: int) -> tuple[int, int]:
        at = prepared.find(self._needle, start)
        return (at, at + len(self._needle)) if at >= 0 else NOWHERE


class _FoldedText(_Text):
    """A text of ASCII characters in any case."""

    def __init__(self, needle: bytes) -> None:
        super().__init__(needle.lower())

    def prepare(self, text: bytes) -> bytes:
        return text.lower()


class _Expression:
    """A regular expression of RE2, over text in UTF-8; bytes that are no characters match nothing."""

    def __init__(self, compiled: Any, needle: bytes = b"") -> None:
        """`needle` is what the expression means, if that is nothing but a text."""
        self._compiled = compiled
        self._needle = needle

    def count(self, prepared: bytes, start: int, stop: int) -> int | None:
        return prepared.count(self._needle, start, stop + len(self._needle) - 1) if self._needle else None

    def prepare(self, text: bytes) -> bytes:
        return text

    def find(self, prepared: bytes, start: int) -> tuple[int, int]:
        while start <= len(prepared) and (found := self._compiled.search(prepared, start)) is not None:
            begin, end = found.span()
            if end > begin:
                return begin, end
            start = end + 1
        return NOWHERE


def compiled(pattern: str, *, regex: bool, case: bool) -> Pattern:
    """Return a pattern to search for; raise BadPatternError or NeedsLibraryError."""
    needle = pattern.encode(errors="surrogatepass")
    if not 0 < len(needle) <= MAX_PATTERN_BYTES:
        raise BadPatternError(f"it has {len(needle)} bytes; expected 1 to {MAX_PATTERN_BYTES}")
    if not regex and b"\n" in needle:
        raise BadPatternError("it has a line end; expected text within one line")
    re2 = _library()
    if re2 is not None:
        expression = _expression(re2, pattern if regex else re2.escape(pattern), case=case)
        return _Expression(expression, needle if case and not regex else b"")
    if regex or not (case or pattern.isascii()):
        raise NeedsLibraryError
    return _Text(needle) if case else _FoldedText(needle)


def _library() -> Any:
    """Return the library of regular expressions, which also finds a text fastest; None if it is not installed."""
    try:
        return importlib.import_module("re2")
    except ImportError:
        return None


def _expression(re2: Any, pattern: str, *, case: bool) -> Any:
    options = re2.Options()
    options.case_sensitive = case
    options.never_nl = True  # a match never goes beyond its line
    options.never_capture = True
    options.log_errors = False
    options.max_mem = MAX_MEMORY_BYTES
    try:
        expression = re2.compile(MULTILINE + pattern, options)
    except (re2.error, UnicodeError) as error:
        why = error.args[0] if error.args else "it cannot be read"
        why = why.decode(errors="replace") if isinstance(why, bytes) else str(why)
        why = why.replace(MULTILINE, "")  # the caller has not written it
        raise BadPatternError(f"{why}; expected a regular expression in the syntax of RE2") from None
    finally:
        re2.purge()  # its cache would keep the automata of the last 128
    if max(expression.programsize, expression.reverseprogramsize) > MAX_PROGRAM:
        raise BadPatternError(f"it has over {MAX_PROGRAM} steps when it is compiled; expected fewer repetitions")
    if expression.search(b"") is not None:
        raise BadPatternError("it matches the empty text; expected one that matches a character at least")
    return expression
