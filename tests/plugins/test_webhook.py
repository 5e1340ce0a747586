"""The distribution `jobworker-webhook` in an agent; its own tests are beside it."""

import importlib
import re
import time
from pathlib import Path
from typing import Any

import pytest
from tests.torture.outcome import SEED, judge
from tests.torture.webhooks import PLUGIN, receiver_and_agent_die

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "notifications.md"


@pytest.mark.slow
async def test_no_event_is_lost(tmp_path: Path) -> None:
    """Whatever dies, the receiver or the agent: each event is posted until it is taken."""
    outcome = await receiver_and_agent_die(tmp_path / "webhooks", SEED, 20, 5)
    judge(outcome)
    assert outcome.kills == 5


def test_the_receiver_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """It accepts what the plugin signs, and nothing that was changed, is old, or has another key."""
    monkeypatch.syspath_prepend(PLUGIN.parent)
    signature = importlib.import_module("jobworker_webhook").signature
    names: dict[str, Any] = {}
    exec(re.findall(r"(?ms)^```python\n(.*?)^```", PAGE.read_text())[0], names)
    key, body, now = b"k" * 32, b'{"id": "1-1"}', int(time.time())
    header = signature(key, now, body)
    assert names["is_genuine"](key, header, body)
    assert not names["is_genuine"](key, header, body + b" ")
    assert not names["is_genuine"](b"l" * 32, header, body)
    assert not names["is_genuine"](key, signature(key, now - 400, body), body)
