"""The buckets that slow down who asks too often: pure numbers."""

import pytest

from jobworker.rate_limit import KEYS, Rates


def test_a_burst_and_then_the_rate() -> None:
    rates = Rates(2, 3)
    assert [rates.take("a", 0) for _ in range(3)] == [0, 0, 0]
    assert rates.take("a", 0) == pytest.approx(0.5)
    assert rates.take("a", 0.25) == pytest.approx(0.25)
    assert rates.take("a", 0.5) == 0
    assert rates.take("a", 0.5) == pytest.approx(0.5)
    assert [rates.take("a", 100) for _ in range(4)] == [0, 0, 0, pytest.approx(0.5)]


def test_each_key_has_its_own() -> None:
    rates = Rates(1, 1)
    assert (rates.take("a", 0), rates.take("b", 0)) == (0, 0)
    assert rates.take("a", 0) == 1


def test_a_look_takes_nothing() -> None:
    rates = Rates(1, 1)
    assert [rates.wait("a", 0) for _ in range(5)] == [0] * 5
    assert rates.take("a", 0) == 0


def test_what_is_given_back() -> None:
    rates = Rates(1, 2)
    rates.take("a", 0)
    rates.give_back("a", 0)
    rates.give_back("a", 0)  # never more than the burst
    assert [rates.take("a", 0) for _ in range(3)] == [0, 0, 1]


def test_no_limit() -> None:
    rates = Rates(0, 0)
    assert all(rates.take("a", 0) == 0 for _ in range(1000))


def test_the_number_of_keys_is_bounded() -> None:
    """Who comes from a million addresses costs the memory of some thousands."""
    rates = Rates(1, 1)
    for number in range(KEYS * 2):
        rates.take(str(number), 0)
    assert len(rates._buckets) == KEYS
    assert rates.take(str(KEYS * 2 - 1), 0) == 1, "the latest are kept"
