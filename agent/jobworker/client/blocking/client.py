"""The blocking client of an agent; its methods are those of `verbs` and `commands`."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from jobworker.client.blocking.commands import Commands, new_key
from jobworker.client.blocking.connection import Connection
from jobworker.client.endpoint import Endpoint
from jobworker.errors import JobworkerError
from jobworker.paths import Home, default_home

if TYPE_CHECKING:
    from jobworker.client.blocking.subscription import Subscription
    from jobworker.model import JobSpec


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
    """Return a client for ``with``; without an address, of the local agent.

    `timeout` is how many seconds a call waits for its answer; None: as long as the agent shows that it is there,
    by answering a ping every 20 s. The other arguments are those of `jobworker.client.connect`.
    Raises ConnectionFailed and Unauthenticated on entering.
    """
    if address is None:
        from jobworker.client.local import ensure_local_agent

        home = Home(default_home())
        return Client(lambda: ensure_local_agent(home), lost, timeout)
    endpoint = Endpoint(address, token, ca, cert, key, pin, insecure, username, password)
    return Client(lambda: endpoint, lost, timeout)


class Client(Commands):
    """All methods raise RpcError for an answer with an error and ConnectionFailed if none comes.

    One thread at a time: a call while another thread waits for an answer raises RuntimeError.
    """

    def __init__(
        self,
        find: Callable[[], Endpoint],
        report: Callable[[str], None] = lambda text: None,
        timeout: float | None = None,
    ) -> None:
        self.connection = Connection(find, report, timeout)

    def __enter__(self) -> "Client":
        self.connection.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, Exception):
            self.connection.close()
        else:  # Ctrl-C: do not wait
            self.connection.abort()

    def closed(self) -> None:
        """Return when the agent has closed the connection."""
        self.connection.wait_closed()

    def reconnect(self) -> None:
        """Return when there is a connection again; raise ConnectionFailed after a minute."""
        self.connection.reconnect()

    def call_all(self, calls: Sequence[tuple[str, dict[str, Any]]]) -> Iterator[tuple[int, Any]]:
        """Make calls (method and params) at once; yield the number of each with its result when that comes.

        In place of a result comes the RpcError of an answer with an error. The client is in use until the last.
        """
        return self.connection.call_all(calls)

    def _begin(self, spec: "JobSpec") -> "Subscription":
        key = new_key()
        try:
            return self._run_once(spec, key)
        except Exception:
            raise
        except BaseException:  # Ctrl-C: the job may have been started
            self._undo(spec, key)
            raise

    def _undo(self, spec: "JobSpec", key: str) -> None:
        """Kill the job that an interrupted call has started: with its key, it is the same one."""
        from jobworker.model import StopSpec

        with contextlib.suppress(JobworkerError):
            run = self.run(spec, key)
            self.connection.drop(run.inbox)
            self.stop(run.job.id, StopSpec(strategy="kill"))
