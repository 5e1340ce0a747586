"""Contracts: tests that every provider, authorizer, strategy or policy must pass.

Subclass one, and set the plugin and the input for it::

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
from jobworker.testing.deadlines import scaled
from jobworker.testing.fakes import FakeJob

T = TypeVar("T")
Options = Mapping[str, Any]
DEADLINE = scaled(10.0)  # seconds for one call: a call that takes longer hangs
UNKNOWN = {"no_such_option": 1}  # an option that every strategy and policy must refuse
GRACE = 0.05  # seconds
HUGE = "x" * 1_000_000
ODD = (  # credentials that no well-behaved client sends
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
    """Run a coroutine, in one loop for all as in the agent; raise TimeoutError if it hangs."""

    async def limited() -> T:
        async with asyncio.timeout(DEADLINE):
            return await work

    return _loop().run_until_complete(limited())


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()  # kept: a provider may hold tasks and locks of its loop
    atexit.register(loop.close)
    return loop


def check_principal(principal: Any) -> None:
    """Assert that an agent would accept the principal."""
    assert isinstance(principal, Principal), f"{principal!r}; expected a Principal"
    usable_name(principal.name, "name")
    assert isinstance(principal.roles, list), "roles: expected a list of texts"
    assert all(isinstance(role, str) for role in principal.roles), "roles: expected a list of texts"
    assert principal.expires_at is None or math.isfinite(principal.expires_at), "expires_at: expected seconds or None"


class AuthProviderContract:
    """`accepted` are valid credentials; `refused` are invalid ones that are meant for this provider."""

    provider: ClassVar[AuthProvider]
    accepted: ClassVar[Sequence[Credentials]] = ()
    refused: ClassVar[Sequence[Credentials]] = ()

    def test_its_name(self) -> None:
        assert NAME.fullmatch(self.provider.name)

    def test_what_it_accepts(self) -> None:
        """Valid credentials give a principal, the same each time."""
        assert self.accepted, "accepted: expected at least one"
        for credentials in self.accepted:
            principal = finish(self.provider.authenticate(credentials))
            check_principal(principal)
            assert finish(self.provider.authenticate(credentials)) == principal

    def test_what_it_refuses(self) -> None:
        """Invalid credentials for this provider are refused, and not left to the next provider."""
        for credentials in self.refused:
            with pytest.raises(RpcError) as refused:
                finish(self.provider.authenticate(credentials))
            assert refused.value.code // 100 == 401
            for secret in (credentials.token, credentials.password):
                assert not secret or secret not in refused.value.message, "the message of the error repeats a secret"

    @pytest.mark.parametrize(
        "credentials", ODD, ids=lambda one: f"{one.scheme}-{one.token[:5]}{one.username[:5]}"[:20]
    )
    def test_odd_credentials(self, credentials: Credentials) -> None:
        """They are refused or left to other providers; no other error is raised."""
        try:
            principal = finish(self.provider.authenticate(credentials))
        except RpcError as error:
            assert error.code // 100 == 401  # noqa: PT017
        else:
            assert principal is None, f"a caller with {credentials!r} is accepted; expected None or Unauthenticated"

    def test_many_at_once(self) -> None:
        """Concurrent calls get the same answers as one call at a time."""

        async def ask() -> list[Principal | None]:
            calls = [self.provider.authenticate(credentials) for credentials in self.accepted for _ in range(20)]
            return await asyncio.gather(*calls)

        alone = [finish(self.provider.authenticate(credentials)) for credentials in self.accepted]
        assert finish(ask()) == [principal for principal in alone for _ in range(20)]


class AuthorizerContract:
    """`known` are principals that have grants here."""

    authorizer: ClassVar[Authorizer]
    known: ClassVar[Sequence[Principal]] = ()

    def test_its_name(self) -> None:
        assert NAME.fullmatch(self.authorizer.name)

    def test_known_principals(self) -> None:
        assert self.known, "known: expected at least one"
        for principal in self.known:
            grants = finish(self.authorizer.grants(principal))
            assert isinstance(grants, list | tuple), f"{grants!r}; expected a list of Grant"
            assert all(isinstance(grant, Grant) for grant in grants)

    @pytest.mark.parametrize("name", ["nobody-by-that-name", "*", "root", "'", "x" * 255])
    def test_unknown_principals(self, name: str) -> None:
        """A principal without a role gets no grant of an admin."""
        grants = finish(self.authorizer.grants(Principal(name, "elsewhere")))
        assert not any(grant.admin for grant in grants or ())


class _TakesOptions:
    """The tests that strategies and policies share. `accepted` are valid options, `refused` are invalid."""

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
        """Invalid and unknown options raise ValueError with a message, which the caller reads."""
        for options in (*self.refused, *({**options, **UNKNOWN} for options in self.accepted)):
            try:
                self.subject().check(options)
            except ValueError as error:
                assert str(error), f"check({options!r}): no message; expected what is valid"  # noqa: PT017
            else:
                pytest.fail(f"check({options!r}) accepts what it should refuse; expected ValueError")


class StopStrategyContract(_TakesOptions):
    """`quick` are options of a stop that takes little time; by default the first of `accepted`."""

    strategy: ClassVar[StopStrategy]
    quick: ClassVar[Options | None] = None

    def subject(self) -> StopStrategy:
        return self.strategy

    def options(self, grace: float = GRACE) -> StopOptions:
        return StopOptions("SIGTERM", grace, deepcopy(self.accepted[0] if self.quick is None else self.quick))

    def longest(self, options: StopOptions) -> float:
        return self.strategy.longest(options) if isinstance(self.strategy, LongStopStrategy) else options.grace

    def stop(self, **job: Any) -> FakeJob:
        """Stop a fake job; raise TimeoutError if that takes longer than the agent allows."""

        async def work() -> FakeJob:
            fake, options = FakeJob(**job), self.options()
            async with asyncio.timeout(self.longest(options) + DEADLINE):
                await self.strategy.stop(fake, options)
            return fake

        return _loop().run_until_complete(work())

    def test_a_job_that_ends_at_once(self) -> None:
        """The job has ended when stop() returns."""
        assert self.stop(ends_when_run=True, ends_when_written=True).over

    def test_a_job_that_ends_slowly(self) -> None:
        self.stop(after=GRACE / 2)

    def test_a_job_that_only_sigkill_ends(self) -> None:
        """stop() returns in time; the strategy kills the job, or leaves that to the agent."""
        self.stop(ends_on=("SIGKILL",))

    def test_a_job_that_has_ended(self) -> None:
        async def work() -> None:
            fake = FakeJob()
            fake.end()
            await self.strategy.stop(fake, self.options())

        finish(work())

    def test_its_time(self) -> None:
        """`longest`, if the strategy has it, returns a finite number of seconds for all accepted options."""
        for options in self.accepted:
            longest = self.longest(StopOptions("SIGTERM", GRACE, options))
            assert math.isfinite(longest)
            assert longest >= 0

    def test_it_can_be_interrupted(self) -> None:
        """A strategy that takes too long is cancelled, as the agent does it, and ends."""

        async def work() -> None:
            stop = asyncio.create_task(self.strategy.stop(FakeJob(ends_on=()), self.options(grace=1000)))
            await asyncio.sleep(GRACE)
            stop.cancel()
            await asyncio.wait({stop})
            assert stop.cancelled() or stop.exception() is None

        finish(work())


class TimeoutPolicyContract(_TakesOptions):
    """A policy is a pure function: it returns the same for the same facts."""

    policy: ClassVar[TimeoutPolicy]

    def subject(self) -> TimeoutPolicy:
        return self.policy

    def test_its_answers(self) -> None:
        """due() returns a moment or None for all facts, and does not change its arguments."""
        for options in self.accepted:
            for facts in FACTS:
                given = deepcopy(options)
                due = self.policy.due(given, facts)
                assert due is None or (isinstance(due, int | float) and not math.isnan(due)), f"{due!r} for {facts}"
                assert given == options, "due() changes what it is given"
                assert self.policy.due(given, facts) == due, "the same call returns another result"

    def test_none_is_for_good(self) -> None:
        """After None, due() is not called again: a limit on usage returns when to check next."""
        for options in self.accepted:
            if self.policy.due(options, FRESH) is None:
                for facts in USED:
                    due = self.policy.due(options, facts)
                    assert due is None, (
                        f"{options}: None for a new job, but {due} for {facts}; expected a moment for a new job, too"
                    )


NOW = 1_000_000.0  # seconds on the clock of RunFacts
NOON = 1_900_000_000.0  # seconds since 1970
FRESH = RunFacts(now=NOW, started=NOW, wall=NOON)
USED = (  # jobs that have used far more than any limit in `accepted`
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
    RunFacts(now=NOW, started=NOW - 10, wall=NOON, output_bytes=2, waiting_since=NOW - 5, prompt="? "),
)
