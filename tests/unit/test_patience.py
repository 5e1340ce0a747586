"""How long a client tries again: for all attempts together, until the agent sends something."""

import pytest

from jobworker.client.wire import MAX_PAUSE_SECONDS, RECONNECT_SECONDS, SETTLED_SECONDS, Patience, refusal
from jobworker.errors import ConnectionFailed, MessageRefused, Unauthenticated


def lose(patience: Patience, times: list[float]) -> None:
    """Open and lose connections until the patience ends; keep when each was lost."""
    now = 0.0
    while True:
        patience.opened(now)
        now += 0.1
        times.append(now)
        patience.lost(now)
        now += patience.pause()


def test_connections_that_are_lost_each_time() -> None:
    times: list[float] = []
    with pytest.raises(ConnectionFailed, match="each connection was lost"):
        lose(Patience(), times)
    assert RECONNECT_SECONDS < times[-1] - times[0] < RECONNECT_SECONDS + 2 * MAX_PAUSE_SECONDS
    assert len(times) < 40, "the pauses grow"


def test_what_begins_a_new_minute() -> None:
    """Something that the agent sends, or a connection that lasts."""
    for worked, lasts in ((True, 0.1), (False, SETTLED_SECONDS + 1)):
        patience, now = Patience(), 0.0
        for _ in range(100):
            patience.opened(now)
            if worked:
                patience.worked()
            now += lasts
            patience.lost(now)
            assert not patience.over(now)
            now += patience.pause()
            assert not patience.over(now + RECONNECT_SECONDS / 2)


def test_an_agent_that_is_away() -> None:
    """A failed attempt is the last one after a minute; a later try is made once more."""
    patience = Patience()
    patience.opened(0)
    patience.lost(10)
    assert not patience.over(10 + RECONNECT_SECONDS)
    assert patience.over(11 + RECONNECT_SECONDS)
    patience.lost(10_000)
    assert patience.over(10_000)
    patience.opened(10_001)
    patience.worked()
    patience.lost(10_002)
    assert not patience.over(10_030)


@pytest.mark.parametrize(("code", "kind"), [(1003, MessageRefused), (1009, MessageRefused), (1008, Unauthenticated)])
def test_codes_that_are_final(code: int, kind: type[Exception]) -> None:
    error = refusal(code, "the reason")
    assert isinstance(error, kind)
    assert "the reason" in str(error)


@pytest.mark.parametrize("code", [None, 1000, 1001, 1006, 1011, 1012])
def test_codes_after_which_another_connection_may_help(code: int | None) -> None:
    assert refusal(code, "") is None
