"""Which agent, as whom: flags, then the environment, then the local agent."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from jobworker.client import Client, Target
    from jobworker.paths import Home


@dataclass(frozen=True)
class Access:
    """What flags and environment say; without an address it is the local agent."""

    address: str | None = None
    token: str | None = field(default=None, repr=False)
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    @classmethod
    def resolve(
        cls, address: str | None, token: str | None, ca: Path | None, cert: Path | None, key: Path | None
    ) -> "Access":
        """Return the flags, completed from the environment; raise UsageError."""
        environment = os.environ
        address = address or environment.get("JW_ADDRESS") or None
        if address is not None and not address.startswith("wss://"):
            raise click.UsageError(f"address: {address!r}; expected wss://HOST:PORT/rpc: jw speaks TLS only")
        ca, cert, key = ca or _file("JW_CA"), cert or _file("JW_CERT"), key or _file("JW_KEY")
        if key is not None and cert is None:
            raise click.UsageError(f"key: {str(key)!r}; expected --cert or JW_CERT with it")
        return cls(address, token or environment.get("JW_TOKEN") or None, ca, cert, key)

    @property
    def local(self) -> bool:
        return self.address is None

    def require_local(self, command: str) -> None:
        """Raise UsageError where the agent is somewhere else."""
        if not self.local:
            raise click.UsageError(f"{command} is for the local agent; it cannot be used with an address")

    def client(self, *, start: bool = True) -> "Client":
        """Return a client for ``async with``; with `start` a local agent that does not run is started."""
        from jobworker.client import Client
        from jobworker_cli.output import say

        finder = _Finder(self, start)
        client = Client(finder, say)
        finder.sent_away = lambda: client.sent_away
        return client


class _Finder:
    """Finds the agent, at first and again after a lost connection."""

    def __init__(self, access: Access, start: bool) -> None:
        self._access = access
        self._start = start
        self.sent_away: Callable[[], bool] = lambda: False

    def __call__(self) -> "Target":
        from jobworker.client import Target

        access = self._access
        if access.address is not None:
            return Target(access.address, access.token, access.ca, access.cert, access.key)
        # An agent that crashed is started again, one that somebody has ended is waited for.
        found = local_agent(start=self._start and not self.sent_away())
        token, ca = access.token or found.token, access.ca or found.ca
        return Target(found.address, token, ca, access.cert, access.key)


def _file(name: str) -> Path | None:
    """Return the path in a variable of the environment."""
    return Path(os.environ[name]) if os.environ.get(name) else None


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
