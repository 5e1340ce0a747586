"""The journal as a power cut leaves it, before the next keeper writes to it."""

import json
from pathlib import Path

import pytest

from jobworker.keeper.journal import Journal

WHOLE = b'{"event":"opened","v":1,"pid":1,"boot":"x","at":1}\n'


@pytest.mark.parametrize(
    "tail", [b"", b'{"event":"ended","id":"a",', b"\0" * 300, b'{"event":"en' + b"\0" * 200_000, b"\0" * 65536]
)
@pytest.mark.parametrize("head", [WHOLE, b""])
def test_what_follows_the_last_whole_line_is_cut_off(tmp_path: Path, head: bytes, tail: bytes) -> None:
    """Torn lines and zeros, however long, go; the next record stands on a line of its own."""
    path = tmp_path / "journal"
    path.write_bytes(head + tail)
    Journal(str(path)).append({"event": "opened"})
    text = path.read_bytes()
    assert text.startswith(head)
    assert json.loads(text[len(head) :])["event"] == "opened"
