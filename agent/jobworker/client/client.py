"""The client of an agent over asyncio; its methods are those of `verbs` and `commands`."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from jobworker.client.commands import Commands, new_key
from jobworker.client.connection import Connection
from jobworker.client.endpoint import Endpoint
from jobworker.client.local import ensure_local_agent
from jobworker.client.subscription import Subscription
from jobworker.errors import JobworkerError
from jobworker.model import JobSpec, StopSpec
from jobworker.paths import Home, default_home

UNDO_SECONDS = 10.0  # for the answer to a cancelled start, and for the end of the job that it has started


def connect(
    address: str | None = None,
    *,
    token: str | None = None,
    ca: Path | None = None,
    lost: Callable[[str], None] = lambda text: None,
    cert: Path | None = None,
    key: Path | None = None,
    pin: str | None = None,
    insecure: bool = False,
    username: str | None = None,
    password: str | None = None,
    timeout: float | None = None,
) -> "Client":
    """Return a client for ``async with``; without an address, of the local agent.

    `ca` is a PEM file with the only CA to trust (None: the system's). `cert` and `key` are a client certificate and
    its key in PEM; without `key` both are in `cert`. `pin` is the fingerprint of the only certificate to trust, as
    "sha256:…". `insecure` skips certificate verification: any server that answers gets the token. `username` and
    `password` replace a token. `lost` is called with a sentence when the connection is lost, when it is back, and
    if a log lacks bytes. `timeout` is how many seconds a call waits for its answer; None: as long as the agent
    shows that it is there, by answering a ping every 20 s.
    Raises ConnectionFailed and Unauthenticated on entering.
    """
    if address is None:
        home = Home(default_home())
        return Client(lambda: ensure_local_agent(home), lost, timeout)
    endpoint = Endpoint(address, token, ca, cert, key, pin, insecure, username, password)
    return Client(lambda: endpoint, lost, timeout)


class Client(Commands):
    """All methods raise RpcError for an answer with an error and ConnectionFailed if none comes.

    A call that is cancelled leaves nothing behind: what it subscribed to is ended.
    """

    def __init__(
        self,
        find: Callable[[], Endpoint],
        report: Callable[[str], None] = lambda text: None,
        timeout: float | None = None,
    ) -> None:
        self.connection = Connection(find, report, timeout)

    async def __aenter__(self) -> "Client":
        await self.connection.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.connection.close()

    async def closed(self) -> None:
        """Return when the agent has closed the connection."""
        await self.connection.closed()

    async def reconnect(self) -> None:
        """Return when there is a connection again; raise ConnectionFailed after a minute."""
        await self.connection.reconnect()

    async def _begin(self, spec: JobSpec) -> Subscription:
        run = asyncio.ensure_future(self._run_once(spec, new_key()))
        try:
            return await asyncio.shield(run)
        except asyncio.CancelledError:
            with contextlib.suppress(TimeoutError, JobworkerError):
                async with asyncio.timeout(UNDO_SECONDS):
                    await self._undo(await run)
            raise

    async def _undo(self, run: Subscription) -> None:
        """Kill the job that a cancelled call has started."""
        self.connection.drop(run.inbox)
        await self.stop(run.job.id, StopSpec(strategy="kill"))
