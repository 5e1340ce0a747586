"""Token buckets that slow down callers: pure numbers, no clock."""

import pytest

from jobworker.rate_limit import MAX_KEYS, RateLimiter


def test_a_burst_and_then_the_rate() -> None:
    """After the burst a key gets tokens at the rate, and never more than the burst again."""
    limiter = RateLimiter(2, 3)
    assert [limiter.allows("a", 0) for _ in range(4)] == [True, True, True, False]
    assert limiter.retry_after("a", 0) == pytest.approx(0.5)
    assert not limiter.allows("a", 0.25)
    assert limiter.retry_after("a", 0.25) == pytest.approx(0.25)
    assert limiter.allows("a", 0.5)
    assert not limiter.allows("a", 0.5)
    assert limiter.retry_after("a", 0.5) == pytest.approx(0.5)
    assert [limiter.allows("a", 100) for _ in range(4)] == [True, True, True, False]


def test_each_key_has_its_own_bucket() -> None:
    limiter = RateLimiter(1, 1)
    assert limiter.allows("a", 0)
    assert limiter.allows("b", 0)
    assert not limiter.allows("a", 0)
    assert limiter.retry_after("a", 0) == 1


def test_retry_after_takes_no_token() -> None:
    limiter = RateLimiter(1, 1)
    assert [limiter.retry_after("a", 0) for _ in range(5)] == [0] * 5
    assert limiter.allows("a", 0)


def test_a_refund_never_exceeds_the_burst() -> None:
    limiter = RateLimiter(1, 2)
    limiter.allows("a", 0)
    limiter.refund("a", 0)
    limiter.refund("a", 0)
    assert [limiter.allows("a", 0) for _ in range(3)] == [True, True, False]
    assert limiter.retry_after("a", 0) == 1


def test_a_rate_of_zero_is_no_limit() -> None:
    limiter = RateLimiter(0, 0)
    assert all(limiter.allows("a", 0) for _ in range(1000))


def test_the_number_of_keys_is_bounded() -> None:
    """A caller with a million addresses costs the memory of some thousands."""
    limiter = RateLimiter(1, 1)
    for number in range(MAX_KEYS * 2):
        limiter.allows(str(number), 0)
    assert len(limiter._buckets) == MAX_KEYS
    assert not limiter.allows(str(MAX_KEYS * 2 - 1), 0), "the latest keys are kept"
