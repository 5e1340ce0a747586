"""The contract of secret providers: `contracts` has those of the other kinds, and how to use one."""

import asyncio
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import ClassVar

import pytest

from jobworker.errors import JobworkerError
from jobworker.formats.secrets import MAX_BYTES
from jobworker.interfaces import Principal, SecretProvider
from jobworker.plugin.loader import NAME
from jobworker.testing.contracts import HUGE, finish

MAX_MESSAGE = 500  # characters of an error that a caller is shown
ODD = (  # names that no secret has, and that are no names but for a provider that passes them on
    *(
        "",
        " ",
        ".",
        "..",
        "../secret",
        "/etc/passwd",
        "a/../../b",
        "a//b",
        "-x",
        "--help",
        "$(id)",
        "`id`",
        "%2e%2e/x",
    ),
    *("\0", "a\0b", "a\nb", "\ud800", "no-such-secret-by-that-name", HUGE),
)


class SecretProviderContract:
    """`values` are secrets that the provider has, by name; `absent` are names of which it has none.

    `principal` may use them all, and each of `forbidden` none.
    """

    provider: ClassVar[SecretProvider]
    values: ClassVar[Mapping[str, str]] = {}
    absent: ClassVar[Sequence[str]] = ()
    principal: ClassVar[Principal] = Principal("ann", "token", ["admin"])
    forbidden: ClassVar[Sequence[Principal]] = ()

    def refusal(self, name: str, principal: Principal) -> str:
        """Return the message with which a secret is refused; fail if it is returned, or has a part of a value."""
        with pytest.raises(JobworkerError) as refused:
            finish(self.provider.secret(name, deepcopy(principal)))
        message = str(refused.value.message)
        assert message, f"{name[:80]!r}: no message; expected the reason"
        for value in self.values.values():
            assert value not in message, f"{name[:80]!r}: the message has the value of a secret"
        return message

    def test_its_name(self) -> None:
        assert NAME.fullmatch(self.provider.name)

    def test_what_it_has(self) -> None:
        """A secret is a text that a job can have; each call returns the same, and changes no argument."""
        assert self.values, "values: expected at least one"
        for name, value in self.values.items():
            principal = deepcopy(self.principal)
            for _ in range(2):
                assert finish(self.provider.secret(name, principal)) == value
            assert principal == self.principal, "secret() changes the principal"
            assert "\0" not in value
            assert len(value.encode()) <= MAX_BYTES

    def test_what_it_does_not_have(self) -> None:
        """It raises JobworkerError with the reason, and returns nothing that stands for a value."""
        for name in self.absent:
            self.refusal(name, self.principal)

    @pytest.mark.parametrize("name", ODD, ids=range(len(ODD)))
    def test_odd_names(self, name: str) -> None:
        """They are refused in few words: no path leaves the store, and no name is a command."""
        assert len(self.refusal(name, self.principal)) <= MAX_MESSAGE

    def test_who_may_not(self) -> None:
        """The same message for a name that exists and one that does not: it does not reveal which there are."""
        for principal in self.forbidden:
            there = {self.refusal(name, principal).replace(name, "") for name in self.values}
            absent = {self.refusal(name, principal).replace(name, "") for name in self.absent}
            assert len(there | absent) == 1

    def test_many_at_once(self) -> None:
        """Concurrent calls get each its own value."""
        names = [*self.values] * 10

        async def ask() -> list[str]:
            return await asyncio.gather(*(self.provider.secret(name, self.principal) for name in names))

        assert finish(ask()) == [self.values[name] for name in names]
