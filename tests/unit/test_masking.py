"""The secrets of a job in its output: every usual way of writing them, wherever the bytes are split."""

import base64
import json
import shlex
from collections.abc import Callable
from itertools import pairwise
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobworker.formats.masking import MASK, Masker, forms

PLAIN = "hunter2-Secret/+&?"
LINES = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n-----END KEY-----"
QUOTED = 'it\'s "quoted" \\ and ütf'


def base64_after(count: int, alphabet: Callable[[bytes], bytes]) -> Callable[[str], bytes]:
    return lambda value: alphabet(b"u" * count + value.encode() + b"rest")


SHAPES: dict[str, Callable[[str], bytes]] = {
    "as it is": str.encode,
    "in a line": lambda value: b"TOKEN=" + value.encode() + b"\n",
    "twice": lambda value: value.encode() * 2,
    "hex": lambda value: value.encode().hex().encode(),
    "HEX": lambda value: value.encode().hex().upper().encode(),
    "URL": lambda value: b"?q=" + quote(value, safe="").encode(),
    "path": lambda value: quote(value).encode(),
    "form": lambda value: quote_plus(value).encode(),
    "JSON": lambda value: json.dumps({"token": value}).encode(),
    "JSON in UTF-8": lambda value: json.dumps({"token": value}, ensure_ascii=False).encode(),
    "shell": lambda value: shlex.quote(value).replace("'\"'\"'", r"'\''").encode(),
    "terminal": lambda value: value.replace("\n", "\r\n").encode(),
    "lines of base64": lambda value: base64.encodebytes(value.encode()),
}
for before in range(4):
    SHAPES[f"base64 after {before}"] = base64_after(before, base64.b64encode)
    SHAPES[f"base64 for URLs after {before}"] = base64_after(before, base64.urlsafe_b64encode)


LEFT = 12  # bytes: more than there is around the secret in any shape


@pytest.mark.parametrize("value", [PLAIN, LINES, QUOTED], ids=["plain", "lines", "quoted"])
@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape(shape: str, value: str) -> None:
    """Nothing of a secret is left in any of 63 shapes."""
    written = SHAPES[shape](value)
    left = Masker(forms([value])).mask(written, final=True)[0]
    assert MASK in left
    assert [part for at in range(len(written)) if len(part := written[at : at + LEFT]) == LEFT and part in left] == []


@settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
@given(
    secret=st.binary(min_size=4, max_size=12).filter(lambda value: b"*" not in value and b"\0" not in value),
    around=st.lists(st.binary(max_size=6), min_size=2, max_size=5),
    cuts=st.lists(st.integers(0, 80), max_size=6),
)
def test_split_anywhere(secret: bytes, around: list[bytes], cuts: list[int]) -> None:
    """In pieces the result is the same as in one; and without the secret, the bytes are what they were."""
    whole = secret.join(around)
    masker = Masker({secret})
    pieces, rest, result = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)], b"", b""
    for begin, end in pairwise(pieces):
        rest += whole[begin:end]
        masked, taken = masker.mask(rest, final=False)
        assert secret not in masked
        result, rest = result + masked, rest[taken:]
    result += masker.mask(rest, final=True)[0]
    assert result == masker.mask(whole, final=True)[0]
    assert secret not in result.replace(MASK, b"")
    other = whole.replace(secret, b"")
    if secret not in other:
        assert masker.mask(other, final=True) == (other, len(other))


def test_secrets_that_overlap() -> None:
    """One that is part of another, begins within it, or is the beginning of it, leaves nothing of either."""
    masker = Masker({b"abcd", b"cdefgh", b"abcd-long", b"bc-1"})
    assert masker.mask(b"<abcdefgh>", final=True)[0] == b"<***>"
    assert masker.mask(b"<abcd-long>", final=True)[0] == b"<***>"
    assert masker.mask(b"<abcd", final=False) == (b"<", 1)
    assert masker.mask(b"<abcd-lo", final=True)[0] == b"<***-lo"
    assert masker.mask(b"<abcd.", final=False) == (b"<***.", 6)
