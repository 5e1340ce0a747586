"""Which agent, as whom: flags, then the environment, then a context, then the local agent."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from jobworker.client import Client, Target
    from jobworker.paths import Home
    from jobworker_cli.contexts import Context


@dataclass(frozen=True)
class Access:
    """What flags and environment say; without an address it is a context's agent, or the local one.

    `context` is the one that was asked for by name.
    """

    address: str | None = None
    token: str | None = field(default=None, repr=False)
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    pin: str | None = None
    insecure: bool = False
    context: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def resolve(
        cls,
        address: str | None,
        token: str | None,
        ca: Path | None,
        cert: Path | None,
        key: Path | None,
        pin: str | None,
        insecure: bool,
        context: str | None,
    ) -> "Access":
        """Return the flags, completed from the environment; raise UsageError.

        What the environment says is meant for the agent that it names: `--context` passes over all of it.
        """
        if context and address:
            raise click.UsageError("address and context: both are given; expected one of them")
        environment = {} if context else os.environ
        address = address or environment.get("JW_ADDRESS") or None
        if address is None:
            context = context or environment.get("JW_CONTEXT") or None
        if address is not None:
            usable_address(address)
        if ca is None and pin is None:
            ca, pin = _file(environment, "JW_CA"), environment.get("JW_PIN") or None
        cert, key = cert or _file(environment, "JW_CERT"), key or _file(environment, "JW_KEY")
        if key is not None and cert is None:
            raise click.UsageError(f"key: {str(key)!r}; expected --cert or JW_CERT with it")
        token = token or environment.get("JW_TOKEN") or None
        insecure = insecure or environment.get("JW_INSECURE") == "1"
        return cls(address, token, ca, cert, key, usable_pin(pin), insecure, context)

    @classmethod
    def of(cls, context: "Context", *, insecure: bool = False) -> "Access":
        """Return exactly what a context says."""
        ca, cert, key = (None if path is None else Path(path) for path in (context.ca, context.cert, context.key))
        return cls(
            context.address,
            context.token,
            ca,
            cert,
            key,
            context.pin,
            insecure,
            username=context.username,
            password=context.password,
        )

    def complete(self) -> "Access":
        """Return it with the address of its context, and what nobody has said otherwise; raise JobworkerError.

        The context's credentials go with its address, and with no other.
        """
        found = None if self.address is not None else self._context()
        if found is None:
            return self
        given = Access.of(found, insecure=self.insecure)
        if self.token is not None:
            given = replace(given, token=self.token, username=None, password=None)
        if self.ca is not None or self.pin is not None:
            given = replace(given, ca=self.ca, pin=self.pin)
        return given if self.cert is None else replace(given, cert=self.cert, key=self.key)

    def _context(self) -> "Context | None":
        from jobworker_cli import contexts

        if self.context == contexts.LOCAL:
            return None
        found = contexts.read()
        name = self.context or found.current
        return None if name is None else found.get(name)

    @property
    def local(self) -> bool:
        return self.complete().address is None

    def require_local(self, command: str, *, whatever_is_current: bool = False) -> None:
        """Raise UsageError where the agent is somewhere else."""
        from jobworker_cli.contexts import LOCAL

        named = self.address is not None or self.context not in (None, LOCAL)
        if named or not (whatever_is_current or self.local):
            raise click.UsageError(
                f"{command} is for the local agent; it cannot be used with an address or with a context of another"
            )

    def client(self, *, start: bool = True) -> "Client":
        """Return a client for ``async with``; with `start` a local agent that does not run is started."""
        from jobworker.client import Client
        from jobworker_cli.output import say

        access = self.complete()
        if access.insecure:
            say(f"nobody vouches for {access.address or 'the agent'} (insecure): whoever answers is told the token")
        finder = _Finder(access, start)
        client = Client(finder, say)
        finder.shut_down = lambda: client.connection.agent_shut_down
        return client


class _Finder:
    """Finds the agent, at first and again after a lost connection."""

    def __init__(self, access: Access, start: bool) -> None:
        self._access = access
        self._start = start
        self.shut_down: Callable[[], bool] = lambda: False

    def __call__(self) -> "Target":
        from jobworker.client import Target

        access = self._access
        if access.address is None:
            # An agent that crashed is started again, one that somebody has ended is waited for.
            found = local_agent(start=self._start and not self.shut_down())
            ca = access.ca or (None if access.pin else found.ca)
            access = replace(access, address=found.address, token=access.token or found.token, ca=ca)
        return Target(
            access.address or "",
            access.token,
            access.ca,
            access.cert,
            access.key,
            access.pin,
            access.insecure,
            access.username,
            access.password,
        )


def usable_address(address: str) -> str:
    """Return it; raise UsageError."""
    if not address.startswith("wss://"):
        raise click.UsageError(f"address: {address!r}; expected wss://HOST:PORT/rpc: jw speaks TLS only")
    return address


def usable_pin(pin: str | None) -> str | None:
    """Return a fingerprint as it is compared; raise UsageError."""
    if pin is None:
        return None
    from jobworker.client.trust import normal_pin

    try:
        return normal_pin(pin)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _file(environment: Mapping[str, str], name: str) -> Path | None:
    """Return the path in a variable of the environment."""
    return Path(environment[name]) if environment.get(name) else None


def home() -> "Home":
    """Return the state folder of the local agent."""
    from jobworker.paths import Home, default_home

    return Home(default_home())


def local_agent(*, start: bool) -> "Target":
    """Return how to reach the local agent; raise StartError, or ConnectionFailed where none is to be started."""
    from jobworker.client.local import agent_pid, ensure_local_agent, local_target
    from jobworker.errors import ConnectionFailed
    from jobworker_cli.output import say

    place = home()
    if start:
        return ensure_local_agent(place, say)
    if agent_pid(place) is None:
        raise ConnectionFailed(f"no agent runs on {place.path}", hint="jw agent start")
    return local_target(place)
