"""Which agent to use: flags, then the environment, then a context, then the local agent."""

import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from jobworker.client.endpoint import Endpoint, normal_address, normal_token
from jobworker.paths import Home, contexts_file, default_home
from jobworker_cli import LOCAL_CONTEXT, output
from jobworker_cli.declare import UsageError

if TYPE_CHECKING:
    from jobworker.client import Client
    from jobworker.client.blocking import Client as BlockingClient


class Choice:
    """The agent chosen by flags and environment; the rest comes from a context, if one is in use."""

    def __init__(self, given: Endpoint, context: str | None = None, flagged: bool = False) -> None:
        self.given = given
        # The context that was named. None: the one in use.
        self.context = context
        # Whether flags name an agent or a context, and not the environment.
        self.flagged = flagged

    def endpoint(self) -> Endpoint:
        """Return the endpoint, completed from its context; without an address, the local agent.

        The credentials of a context are sent to its own address only. Raises JobworkerError and UsageError.
        """
        context = None if self.given.address is not None else self._context()
        return self.given if context is None else context.override(self.given)

    def _context(self) -> Endpoint | None:
        if self.several():
            raise UsageError(f"context: {self.context!r} are several, for `jw ps` alone; expected one of them")
        if self.context == LOCAL_CONTEXT or (self.context is None and not _has_contexts()):
            return None
        from jobworker_cli import contexts

        stored = contexts.read()
        name = self.context or stored.current
        return None if name is None else stored.get(name)

    def several(self) -> "list[tuple[str, Choice]]":
        """Return a choice for each context if several are named, as `prod,stage`; else none."""
        names = [*dict.fromkeys(name for name in (self.context or "").split(",") if name)]
        if self.given.address is not None or len(names) < 2:
            return []
        return [(name, Choice(self.given, name, self.flagged)) for name in names]

    @property
    def local(self) -> bool:
        return self.endpoint().address is None

    def require_local(self, command: str, *, ignore_current: bool = False) -> None:
        """Raise UsageError if another agent is chosen; `ignore_current`: by a flag.

        Then neither the environment nor the context in use count.
        """
        if self.flagged and (self.given.address is not None or self.context not in (None, LOCAL_CONTEXT)):
            raise UsageError(f"{command} is for the local agent; it cannot be used with --address or --context")
        if ignore_current or self.local:
            return
        chosen = "JW_ADDRESS" if self.given.address is not None else "JW_CONTEXT" if self.context else ""
        why = f"{chosen} is set, for another agent" if chosen else "the context in use is of another agent"
        raise UsageError(f"{command} is for the local agent, and {why}; jw -c local {command[3:]} ignores that")

    def client(self, *, start: bool = True) -> "Client":
        """Return a client for ``async with``; with `start` a local agent that does not run is started."""
        from jobworker.client import Client

        find = self._finder(lambda: start and not client.connection.agent_shut_down)
        client = Client(find, output.note)
        return client

    def blocking(self, *, start: bool = True) -> "BlockingClient":
        """Return the same without asyncio, for ``with``."""
        with fast_imports():
            from jobworker.client.blocking import Client

            if not self.local:
                import websockets.client  # noqa: F401  # as a port needs it; a Unix socket does not

        find = self._finder(lambda: start and not client.connection.agent_shut_down)
        client = Client(find, output.note)
        return client

    def _finder(self, may_start: Callable[[], bool]) -> Callable[[], Endpoint]:
        """Return what a client calls before it connects: it may start a local agent, once it crashed.

        One that was shut down is waited for.
        """
        endpoint = self.endpoint()
        if endpoint.insecure:
            output.note(
                f"the certificate of {endpoint.address or 'the agent'} is not verified (insecure): "
                "any server that answers gets your token"
            )
        if endpoint.address is not None:
            return lambda: endpoint
        return lambda: local_agent(start=may_start()).override(endpoint)


@contextmanager
def fast_imports() -> Iterator[None]:
    """Import without garbage collection, and without importlib.metadata: a third of the time of websockets.

    Its module `version` imports importlib.metadata and, in a release, does not use it. This is for the one thread
    of `jw`: another one could not import that module meanwhile.
    """
    name = "importlib.metadata"
    stand_in = name not in sys.modules
    if stand_in:
        sys.modules[name] = ModuleType(name)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        if stand_in:
            del sys.modules[name]


def choose(flags: Endpoint, context: str | None) -> Choice:
    """Return the flags, completed from the environment; raise UsageError.

    The environment is meant for the agent that it names: `--context` ignores all of it.
    """
    if context and flags.address:
        raise UsageError("address and context: both are given; expected one of them")
    named = context is not None
    environment = {} if context else os.environ
    address = flags.address or environment.get("JW_ADDRESS") or None
    if address is None:
        context = context or environment.get("JW_CONTEXT") or None
    else:
        address = usable_address(address)
    ca, pin = flags.ca, flags.pin
    if ca is None and pin is None:
        ca, pin = _file(environment, "JW_CA"), environment.get("JW_PIN") or None
    cert, key = flags.cert or _file(environment, "JW_CERT"), flags.key or _file(environment, "JW_KEY")
    if key is not None and cert is None:
        raise UsageError(f"key: {str(key)!r}; expected --cert or JW_CERT with it")
    token = flags.token or environment.get("JW_TOKEN") or None
    token = None if token is None else usable_token(token)
    insecure = flags.insecure or environment.get("JW_INSECURE") == "1"
    flagged = flags.address is not None or named
    return Choice(Endpoint(address, token, ca, cert, key, usable_pin(pin), insecure), context, flagged)


def usable_address(address: str) -> str:
    """Return it without blanks around it; raise UsageError."""
    try:
        return normal_address(address)
    except ValueError as error:
        raise UsageError(str(error)) from None


def usable_token(text: str) -> str:
    """Return a token that an HTTP header can hold; raise UsageError, which does not show it."""
    try:
        return normal_token(text)
    except ValueError as error:
        raise UsageError(str(error)) from None


def usable_pin(pin: str | None) -> str | None:
    """Return a fingerprint in lower case and without colons; raise UsageError."""
    if pin is None:
        return None
    from jobworker.client.trust import normal_pin

    try:
        return normal_pin(pin)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _file(environment: Mapping[str, str], name: str) -> Path | None:
    """Return the path in a variable of the environment."""
    return Path(environment[name]) if environment.get(name) else None


def _has_contexts() -> bool:
    """Whether there is a file with contexts, or one that cannot be reached: `contexts` explains that."""
    try:
        contexts_file().lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass
    return True


def home() -> Home:
    """Return the state folder of the local agent."""
    return Home(default_home())


def local_agent(*, start: bool) -> Endpoint:
    """Return the endpoint of the local agent; raise StartError, or without `start` ConnectionFailed if none runs."""
    from jobworker.client.local import agent_pid, ensure_local_agent, local_endpoint
    from jobworker.errors import ConnectionFailed

    state = home()
    if start:
        return ensure_local_agent(state, output.note)
    if agent_pid(state) is None:
        raise ConnectionFailed(f"no agent runs on {state.path}", hint="jw agent start")
    return local_endpoint(state)
