"""The throttle of logins by itself: what costs a token, and which token comes back."""

import asyncio

import pytest

from jobworker.auth.throttle import LoginThrottle
from jobworker.config import Limits
from jobworker.errors import RateLimited, RpcError, Unauthenticated
from jobworker.interfaces import Credentials

ADDRESS = "192.0.2.7:1"


def credentials(token: str, address: str = ADDRESS) -> list[Credentials]:
    return [Credentials("bearer", token=token, address=address)]


async def attempt(throttle: LoginThrottle, token: str, outcome: RpcError | None = None) -> None:
    """Attempt a login that ends with an error, or succeeds."""
    async with throttle.attempt(credentials(token)):
        if outcome is not None:
            raise outcome


async def test_a_failed_login_costs_a_token_and_a_successful_one_none() -> None:
    throttle = LoginThrottle(Limits(failed_logins=1))
    for number in range(5):
        await attempt(throttle, f"valid {number}")
    with pytest.raises(Unauthenticated):
        await attempt(throttle, "wrong", Unauthenticated("wrong"))
    with pytest.raises(RateLimited) as refused:
        await attempt(throttle, "another")
    assert 0 < refused.value.data["retry_after"] <= 60
    await attempt(throttle, "valid 0")
    async with throttle.attempt(credentials("another", "192.0.2.8:1")):
        pass  # another network has tokens of its own


async def test_a_check_that_is_refused_for_its_rate_costs_no_token() -> None:
    """A refusal by the limit of connections does not count as a failed login."""
    throttle = LoginThrottle(Limits(failed_logins=1))
    for _ in range(3):
        with pytest.raises(RateLimited, match="connections"):
            await attempt(throttle, "valid", RateLimited("too many connections", retry_after=1))


async def test_known_credentials_that_fail_are_known_no_longer() -> None:
    """They cost a token from then on, as their failure does."""
    throttle = LoginThrottle(Limits(failed_logins=1))
    await attempt(throttle, "revoked")
    with pytest.raises(Unauthenticated):
        await attempt(throttle, "revoked", Unauthenticated("revoked"))
    with pytest.raises(RateLimited):
        await attempt(throttle, "revoked")


async def test_a_caller_without_a_token_waits_for_attempts_under_way() -> None:
    """It gets the token that a successful login gives back, and is refused after one that failed."""
    throttle = LoginThrottle(Limits(failed_logins=1))
    for outcome in (None, Unauthenticated("wrong")):
        checked = asyncio.Event()

        async def first(outcome: RpcError | None = outcome, checked: asyncio.Event = checked) -> None:
            async with throttle.attempt(credentials(f"first {outcome}")):
                await checked.wait()
                if outcome is not None:
                    raise outcome

        one = asyncio.create_task(first())
        await asyncio.sleep(0)  # it has taken the token
        two = asyncio.create_task(attempt(throttle, f"second {outcome}"))
        await asyncio.sleep(0)
        assert not two.done()
        checked.set()
        results = await asyncio.gather(one, two, return_exceptions=True)
        assert [type(result) for result in results] == (
            [type(None), type(None)] if outcome is None else [Unauthenticated, RateLimited]
        )
