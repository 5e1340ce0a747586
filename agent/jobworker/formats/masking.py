"""Replace the secrets of a job in bytes that come in pieces: as they are, and as tools usually write them."""

import binascii
import json
import os
import re
from collections.abc import Iterable, Iterator

MASK = b"***"
UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"  # in addresses
MIN_LINE = 8  # bytes of a line of a secret that is masked by itself
BASE64_LINES = (76, 64)  # characters, of the lines that base64(1) and PEM files have
BASE64_CUT = (0, 2, 3)  # characters at the beginning that depend on what is before, by the bytes before modulo 3


def forms(values: Iterable[str]) -> set[bytes]:
    """Return all byte strings by which the values are recognised; none is shorter than the mask."""
    found = {form for value in values for form in _forms(os.fsencode(value))}
    return {form for form in found if len(form) > len(MASK)}


def _forms(value: bytes) -> Iterator[bytes]:
    yield value
    lines = value.splitlines()
    if len(lines) > 1:
        yield value.rstrip(b"\r\n")
        yield from (line for line in lines if len(line) >= MIN_LINE)
        yield b"\r\n".join(lines)  # as a terminal prints it
    yield from _base64(value)
    yield binascii.hexlify(value)
    yield binascii.hexlify(value).upper()
    for unescaped in (b"", b"/", b" "):
        yield _escaped(value, unescaped).replace(b" ", b"+")
    text = value.decode(errors="surrogateescape")
    yield value.replace(b"'", rb"'\''")  # in quotes of a shell
    for ascii_only in (True, False):
        yield os.fsencode(json.dumps(text, ensure_ascii=ascii_only)[1:-1])


def _escaped(value: bytes, unescaped: bytes) -> bytes:
    """Return the value as in an address; urllib.parse takes a megabyte, which each pump would have."""
    plain = UNRESERVED + unescaped
    return b"".join(bytes((byte,)) if byte in plain else b"%%%02X" % byte for byte in value)


def _base64(value: bytes) -> Iterator[bytes]:
    """Yield the characters that stand for the value in base64, wherever in the encoded data it is."""
    for before, cut in enumerate(BASE64_CUT):
        encoded = binascii.b2a_base64(bytes(before) + value, newline=False)
        whole = encoded[cut : (before + len(value)) * 8 // 6]
        yield whole
        yield whole.translate(bytes.maketrans(b"+/", b"-_"))
        if before == 0:
            for length in BASE64_LINES:
                lines = [whole[at : at + length] for at in range(0, len(whole), length)]
                yield from (line for line in lines[1:] if len(line) >= MIN_LINE)
                yield lines[0] if len(lines) > 1 else b""


class Masker:
    """Masks one stream of bytes."""

    def __init__(self, secrets: set[bytes]) -> None:
        # The longest first: of two that begin at one place, it is the one.
        self._forms = sorted(secrets, key=len, reverse=True)
        self._any = re.compile(b"|".join(map(re.escape, self._forms)))
        self._by_first: dict[int, list[bytes]] = {}
        for form in self._forms:
            self._by_first.setdefault(form[0], []).append(form)
        self._first = re.compile(b"[" + b"".join(map(re.escape, map(bytes, zip(self._by_first)))) + b"]")
        self._longest = len(self._forms[0])

    def mask(self, data: bytes, *, final: bool) -> tuple[bytes, int]:
        """Return the bytes with the secrets in them replaced, and of how many bytes these are the result.

        The rest may be the beginning of a secret: give it again, with what follows. `final`: nothing follows.
        """
        spans = self._spans(data)
        held = len(data) if final else self._held(data)
        for begin, end in spans:
            if begin < held < end:
                held = begin
        parts, place = list[bytes](), 0
        for begin, end in spans:
            if begin < held:
                parts += (data[place:begin], MASK)
                place = end
        parts.append(data[place:held])
        return b"".join(parts), held

    def _spans(self, data: bytes) -> list[tuple[int, int]]:
        """Return where the secrets are, those that overlap as one."""
        spans: list[tuple[int, int]] = []
        place = 0
        while match := self._any.search(data, place):
            begin, end = match.span()
            if spans and begin < spans[-1][1]:
                begin, end = spans[-1][0], max(end, spans[-1][1])
                spans[-1] = begin, end
            else:
                spans.append((begin, end))
            place = match.start() + 1
        return spans

    def _held(self, data: bytes) -> int:
        """Return from which place on the end of the data may be the beginning of a secret."""
        for match in self._first.finditer(data, max(0, len(data) - self._longest + 1)):
            end = data[match.start() :]
            if any(form.startswith(end) and form != end for form in self._by_first[end[0]]):
                return match.start()
        return len(data)
