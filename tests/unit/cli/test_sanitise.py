"""What is shown of bytes that a terminal would obey: the same on a terminal and in the page, but for colours."""

import json
from pathlib import Path
from typing import Any

import pytest

from jobworker_cli.output.sanitise import Sanitiser, printable

CASES: list[dict[str, Any]] = json.loads(Path(__file__).parents[2].joinpath("data/sanitise.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_colours_pass_and_the_rest_is_shown(case: dict[str, Any]) -> None:
    """However the bytes are cut into pieces."""
    written, shown = case["bytes"].encode("latin-1"), case["terminal"].encode("latin-1")
    whole = Sanitiser()
    assert whole.feed(written) + whole.finish() == shown
    bytewise = Sanitiser()
    assert b"".join(bytewise.feed(bytes([byte])) for byte in written) + bytewise.finish() == shown


def test_a_line_of_ours_holds_nothing_that_is_obeyed() -> None:
    assert printable("a\nb\x1b[31m\u202e\x9b é") == r"a\nb\x1b[31m\u202e\x9b é"
