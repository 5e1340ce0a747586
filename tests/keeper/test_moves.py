"""When the keeper steps into cgroups: in a stream of launches, unless the kernel makes it wait too often."""

from collections.abc import Callable

import pytest

from jobworker.keeper.moves import FORKS_BETWEEN, HOT_SECONDS, STREAM_LAUNCHES, STREAM_SECONDS, Moves

WAIT = 0.012  # for an RCU grace period
Pass = Callable[[float], None]


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Pass:
    """A clock that only the test moves on."""
    now = [1000.0]
    monkeypatch.setattr("jobworker.keeper.moves.time.monotonic", lambda: now[0])

    def wait(seconds: float) -> None:
        now[0] += seconds

    return wait


def launches(watched: Moves, wait: Pass, gaps: list[float], cost: float) -> list[bool]:
    """Launch after each of these gaps; return which launches stepped into their cgroup, at this cost if not hot."""
    stepped: list[bool] = []
    for gap in gaps:
        wait(gap)
        worth = watched.are_worth_it()
        if worth:
            hot = bool(stepped) and stepped[-1] and gap < HOT_SECONDS
            wait(0.0 if hot else cost)
            watched.stepped_in(0.0 if hot else cost)
            watched.stepped_out()
        stepped.append(worth)
    return stepped


def test_a_single_launch_never_steps_in(wait: Pass) -> None:
    assert not any(launches(Moves(), wait, [0.1] * 50, WAIT))


def test_a_stream_steps_in(wait: Pass) -> None:
    """After a few launches, and then with each that comes before the kernel is cold again."""
    stepped = launches(Moves(), wait, [0.1, *[0.004] * 100], WAIT)
    assert stepped == [False] * STREAM_LAUNCHES + [True] * (101 - STREAM_LAUNCHES)


def test_a_stream_that_waits_each_time_forks(wait: Pass) -> None:
    """If the launches are too far apart, most of them fork; now and then one tries again."""
    gap = (HOT_SECONDS + STREAM_SECONDS) / 2
    stepped = launches(Moves(), wait, [gap] * 40 * FORKS_BETWEEN, WAIT)
    assert 0 < sum(stepped) < len(stepped) / 4


def test_a_stream_on_a_host_that_others_keep_hot_steps_in(wait: Pass) -> None:
    """What counts is what a step has cost, not what it may cost."""
    gap = (HOT_SECONDS + STREAM_SECONDS) / 2
    stepped = launches(Moves(), wait, [gap] * 100, 0.0001)
    assert all(stepped[STREAM_LAUNCHES:])
