"""Contracts: tests that any provider, strategy or policy must pass. Subclass one and say what yours is given.

::

    class TestPolite(StopStrategyContract):
        strategy = Polite()
        accepted = ({}, {"times": 3})
        refused = ({"times": 0},)

They need no fixtures and no plugin of pytest.
"""

import asyncio
import atexit
import functools
import math
from collections.abc import Coroutine, Mapping, Sequence
from copy import deepcopy
from typing import Any, ClassVar, TypeVar

import pytest

from jobworker.errors import RpcError
from jobworker.interfaces import (
    Authorizer,
    AuthProvider,
    Credentials,
    Grant,
    LongStopStrategy,
    Principal,
    RunFacts,
    StopOptions,
    StopStrategy,
    TimeoutPolicy,
    usable_name,
)
from jobworker.plugin.loader import NAME
from jobworker.testing.fakes import FakeJob

T = TypeVar("T")
Options = Mapping[str, Any]
DEADLINE = 10.0  # seconds: what takes longer hangs
UNKNOWN = {"no_such_option": 1}
GRACE = 0.05
HUGE = "x" * 1_000_000
ODD = (
    Credentials("bearer"),
    Credentials("bearer", token="\0"),
    Credentials("bearer", token=HUGE),
    Credentials("bearer", token="\ud800"),
    Credentials("bearer", token="a.b.c"),
    Credentials("basic"),
    Credentials("basic", username="\0", password="\0"),
    Credentials("basic", username=HUGE, password=HUGE),
    Credentials("basic", username="\ud800", password="\ud800"),
    Credentials("basic", username="nobody-by-that-name", password="é" * 100),
    Credentials("certificate", certificate=b"no certificate"),
    Credentials("of-tomorrow"),
)


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine, all of them in one loop as in the agent; fail where it hangs."""

    async def limited() -> T:
        async with asyncio.timeout(DEADLINE):
            return await work

    return _loop().run_until_complete(limited())


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    atexit.register(loop.close)
    return loop


def check_principal(principal: Any) -> None:
    """Assert that an agent would take it for one."""
    assert isinstance(principal, Principal), f"{principal!r}; expected a Principal"
    usable_name(principal.name, "name")
    assert isinstance(principal.roles, list), "roles: expected a list of texts"
    assert all(isinstance(role, str) for role in principal.roles), "roles: expected a list of texts"
    assert principal.expires_at is None or math.isfinite(principal.expires_at), "expires_at: expected seconds or None"


class AuthProviderContract:
    """`accepted` are credentials that are good, `refused` such that are its own and bad."""

    provider: ClassVar[AuthProvider]
    accepted: ClassVar[Sequence[Credentials]] = ()
    refused: ClassVar[Sequence[Credentials]] = ()

    def test_its_name(self) -> None:
        assert NAME.fullmatch(self.provider.name)

    def test_what_it_accepts(self) -> None:
        """Good credentials are somebody's, the same each time."""
        assert self.accepted, "accepted: expected at least one"
        for credentials in self.accepted:
            principal = finish(self.provider.authenticate(credentials))
            check_principal(principal)
            assert finish(self.provider.authenticate(credentials)) == principal

    def test_what_it_refuses(self) -> None:
        """Bad credentials of its own are refused, not left to the next provider."""
        for credentials in self.refused:
            with pytest.raises(RpcError) as refused:
                finish(self.provider.authenticate(credentials))
            assert refused.value.code // 100 == 401
            for secret in (credentials.token, credentials.password):
                assert not secret or secret not in refused.value.message, "what it says repeats a secret"

    @pytest.mark.parametrize(
        "credentials", ODD, ids=lambda one: f"{one.scheme}-{one.token[:5]}{one.username[:5]}"[:20]
    )
    def test_what_nobody_should_send(self, credentials: Credentials) -> None:
        """It is refused or left to others, and nothing else is raised."""
        try:
            found = finish(self.provider.authenticate(credentials))
        except RpcError as error:
            assert error.code // 100 == 401  # noqa: PT017
        else:
            assert found is None, f"it lets in whoever sends {credentials!r}"

    def test_many_at_once(self) -> None:
        """Who asks at the same time gets the same answer."""

        async def ask() -> list[Principal | None]:
            calls = [self.provider.authenticate(each) for each in self.accepted for _ in range(20)]
            return await asyncio.gather(*calls)

        alone = [finish(self.provider.authenticate(each)) for each in self.accepted]
        assert finish(ask()) == [principal for principal in alone for _ in range(20)]


class AuthorizerContract:
    """`known` are principals of which it knows something."""

    authorizer: ClassVar[Authorizer]
    known: ClassVar[Sequence[Principal]] = ()

    def test_its_name(self) -> None:
        assert NAME.fullmatch(self.authorizer.name)

    def test_whom_it_knows(self) -> None:
        assert self.known, "known: expected at least one"
        for principal in self.known:
            grants = finish(self.authorizer.grants(principal))
            assert isinstance(grants, list | tuple), f"{grants!r}; expected a list of Grant"
            assert all(isinstance(grant, Grant) for grant in grants)

    @pytest.mark.parametrize("name", ["nobody-by-that-name", "*", "root", "'", "x" * 255])
    def test_whom_it_does_not_know(self, name: str) -> None:
        """Strangers without a role are made admin of nothing."""
        grants = finish(self.authorizer.grants(Principal(name, "elsewhere")))
        assert not any(grant.admin for grant in grants or ())


class _TakesOptions:
    """What strategies and policies have in common. `accepted` and `refused` are options."""

    accepted: ClassVar[Sequence[Options]] = ({},)
    refused: ClassVar[Sequence[Options]] = ()

    def subject(self) -> StopStrategy | TimeoutPolicy:
        raise NotImplementedError

    def test_its_name(self) -> None:
        assert NAME.fullmatch(self.subject().name)

    def test_what_it_accepts(self) -> None:
        for options in self.accepted:
            given = deepcopy(options)
            self.subject().check(given)
            assert given == options, "check() changes what it is given"

    def test_what_it_refuses(self) -> None:
        """ValueError, with what was expected: the caller reads it. Nor is an option any good that does not exist."""
        for options in (*self.refused, *({**each, **UNKNOWN} for each in self.accepted)):
            try:
                self.subject().check(options)
            except ValueError as error:
                assert str(error), f"check({options!r}) does not say what was expected"  # noqa: PT017
            else:
                pytest.fail(f"check({options!r}) accepts what it should refuse; expected ValueError")


class StopStrategyContract(_TakesOptions):
    """`quick` are options with which a stop takes little time; without, the first that are accepted."""

    strategy: ClassVar[StopStrategy]
    quick: ClassVar[Options | None] = None

    def subject(self) -> StopStrategy:
        return self.strategy

    def options(self, grace: float = GRACE) -> StopOptions:
        return StopOptions("SIGTERM", grace, deepcopy(self.accepted[0] if self.quick is None else self.quick))

    def longest(self, options: StopOptions) -> float:
        return self.strategy.longest(options) if isinstance(self.strategy, LongStopStrategy) else options.grace

    def stop(self, **job: Any) -> FakeJob:
        """Stop a fake job, as long as the agent would let it."""

        async def work() -> FakeJob:
            fake, options = FakeJob(**job), self.options()
            async with asyncio.timeout(self.longest(options) + DEADLINE):
                await self.strategy.stop(fake, options)
            return fake

        return _loop().run_until_complete(work())

    def test_a_job_that_is_willing(self) -> None:
        """It has ended when stop() returns."""
        assert self.stop(ends_when_run=True).over

    def test_a_job_that_ends_slowly(self) -> None:
        self.stop(after=GRACE / 2)

    def test_a_job_that_is_stubborn(self) -> None:
        """In the end it is killed, by the strategy or by the agent after it; stop() returns in time."""
        self.stop(ends_on=("SIGKILL",))

    def test_a_job_that_is_gone(self) -> None:
        async def work() -> None:
            fake = FakeJob()
            fake.end()
            await self.strategy.stop(fake, self.options())

        finish(work())

    def test_its_time(self) -> None:
        """`longest`, where there is one, is a number of seconds for each of the options."""
        for options in self.accepted:
            longest = self.longest(StopOptions("SIGTERM", GRACE, options))
            assert math.isfinite(longest)
            assert longest >= 0

    def test_it_can_be_interrupted(self) -> None:
        """When its time is over the agent cancels it, and goes on without waiting."""

        async def work() -> None:
            stop = asyncio.create_task(self.strategy.stop(FakeJob(ends_on=()), self.options(grace=1000)))
            await asyncio.sleep(GRACE)
            stop.cancel()
            await asyncio.wait({stop})
            assert stop.cancelled() or stop.exception() is None

        finish(work())


class TimeoutPolicyContract(_TakesOptions):
    """A policy is a pure function: the same facts give the same answer."""

    policy: ClassVar[TimeoutPolicy]

    def subject(self) -> TimeoutPolicy:
        return self.policy

    def test_its_answers(self) -> None:
        """A moment or None, whatever the facts; what it is given stays as it was."""
        for options in self.accepted:
            for facts in FACTS:
                given = deepcopy(options)
                due = self.policy.due(given, facts)
                assert due is None or (isinstance(due, int | float) and not math.isnan(due)), f"{due!r} for {facts}"
                assert given == options, "due() changes what it is given"
                assert self.policy.due(given, facts) == due, "it answers otherwise when it is asked again"

    def test_it_does_not_give_up(self) -> None:
        """Who answers None is not asked again: a limit on what a job uses has to name the next moment to look."""
        for options in self.accepted:
            if self.policy.due(options, FRESH) is None:
                for facts in USED:
                    due = self.policy.due(options, facts)
                    assert due is None, (
                        f"{options}: None for a fresh job, but {due} for {facts}, which is never asked"
                    )


NOW = 1_000_000.0
NOON = 1_900_000_000.0
FRESH = RunFacts(now=NOW, started=NOW, wall=NOON)
USED = (
    RunFacts(now=NOW + 100, started=NOW, wall=NOON + 100, output_bytes=1 << 40, last_output=NOW + 99),
    RunFacts(now=NOW + 100, started=NOW, wall=NOON + 100, cpu_seconds=1e6, last_cpu=NOW + 100),
)
FACTS = (
    FRESH,
    RunFacts(now=NOW, started=NOW - 3600, wall=NOON),
    RunFacts(now=NOW, started=0.0, wall=0.0),
    RunFacts(now=NOW, started=NOW - 10, wall=NOON, output_bytes=5, last_output=NOW - 1),
    RunFacts(now=NOW, started=NOW - 10, wall=NOON, cpu_seconds=1e6, last_cpu=NOW, cpus=256),
    RunFacts(now=NOW, started=NOW - 10, wall=NOON + 86400 * 183, paused=True),
    RunFacts(now=NOW, started=NOW - 1e6, wall=4e9),
)
