"""What is decided about a job that has no end in its folder."""

import pytest

from jobworker.jobs.remote.decide import AGAIN_SECONDS, BEAT_SECONDS, Seen, Verdict, decide

NOW = 1000.0
LONG_AGO = NOW - 100


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        pytest.param(Seen(NOW, True, LONG_AGO, None), Verdict.WAIT, id="silent, and the engine does not answer"),
        pytest.param(Seen(NOW, False, LONG_AGO, None), Verdict.WAIT, id="queued"),
        pytest.param(Seen(NOW, True, NOW - BEAT_SECONDS + 1, LONG_AGO), Verdict.WAIT, id="it lives, forgotten"),
        pytest.param(Seen(NOW, True, LONG_AGO, NOW - AGAIN_SECONDS + 1), Verdict.WAIT, id="not looked at again"),
        pytest.param(Seen(NOW, True, LONG_AGO, NOW + 1), Verdict.WAIT, id="the look began before the word"),
        pytest.param(Seen(NOW, False, NOW, LONG_AGO), Verdict.NEVER_BEGAN, id="forgotten in the queue"),
        pytest.param(Seen(NOW, True, LONG_AGO, LONG_AGO), Verdict.LOST, id="both witnesses"),
    ],
)
def test_decide(seen: Seen, verdict: Verdict) -> None:
    assert decide(seen) == verdict
