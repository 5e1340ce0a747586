"""Text of a spec that is not UTF-8, and how it is shown."""

import os

from jobworker.text import Base64, text_of
from jobworker.words import decoded, shown


def test_what_is_utf_8_stays_a_string() -> None:
    assert text_of("\u20ac") == text_of("\u20ac".encode()) == "\u20ac"
    assert text_of(b"\xff") == text_of(os.fsdecode(b"\xff")) == Base64(b"\xff")
    assert os.fsencode(str(Base64(b"a\xff"))) == b"a\xff"
    assert decoded({"base64": "/w=="}) == os.fsdecode(b"\xff")
    assert (decoded("a b"), shown("a b")) == ("a b", "a b")
