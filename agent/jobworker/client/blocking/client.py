"""The blocking client of an agent: one method for each verb of the protocol.

The types of `jobworker.model` are imported when a method first returns one, since `call` needs none of them.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from jobworker.client.blocking.connection import Connection
from jobworker.client.endpoint import Endpoint
from jobworker.paths import Home, default_home

if TYPE_CHECKING:
    from jobworker.client.blocking.input import JobInput
    from jobworker.client.blocking.subscription import Events, Subscription
    from jobworker.client.logs import LogPage
    from jobworker.model import Explanation, Job, JobSpec, Principal, Stats, StopSpec
    from jobworker.units import Duration

T = TypeVar("T")


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


class Client:
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

    def call(self, method: str, **params: Any) -> Any:
        """Call any method and return its result as plain data."""
        return self.connection.call(method, **params)

    def call_all(self, calls: "Sequence[tuple[str, dict[str, Any]]]") -> "Iterator[tuple[int, Any]]":
        """Make calls (method and params) at once; yield the number of each with its result when that comes.

        In place of a result comes the RpcError of an answer with an error. The client is in use until the last.
        """
        return self.connection.call_all(calls)

    # The verbs, as in the protocol

    def create(self, spec: "JobSpec", key: str | None = None) -> "Job":
        return self._job("job.create", spec=spec, **_without_none(key=key))

    def start(self, job: str) -> "Job":
        return self._job("job.start", id=job)

    def run(self, spec: "JobSpec", key: str | None = None) -> "Subscription":
        """Create, follow from byte 0 and start, in one step."""
        from jobworker.client.blocking.subscription import Subscription
        from jobworker.model import Job

        answer = self.call("job.run", spec=spec, **_without_none(key=key))
        subscription = Subscription(self.connection, _typed(answer["job"], Job), {})
        self.connection.route(answer["subscription"], subscription.inbox)
        return subscription

    def stop(self, job: str, stop: "StopSpec | None" = None) -> "Job":
        return self._job("job.stop", id=job, **_without_none(stop=stop))

    def signal(self, job: str, signal: str, target: str = "all") -> int:
        """Send a signal to the whole tree or to the `main` process; return how many processes received it."""
        return int(self.call("job.signal", id=job, signal=signal, target=target)["delivered"])

    def update(self, job: str, **changes: Any) -> "Job":
        """Change `timeout`, `idle_timeout`, `timeout_policies`, `labels` or `limits`; None is no limit. Plain data.

        `limits` has the single ones to change, as `{"memory": "2GiB", "pids": None}`. With `force=True` the kernel
        may kill processes of a job that uses more memory than its new limit.
        """
        return self._job("job.update", id=job, **changes)

    def pause(self, job: str) -> "Job":
        return self._job("job.pause", id=job)

    def resume(self, job: str) -> "Job":
        return self._job("job.resume", id=job)

    def status(self, job: str) -> "Job":
        return self._job("job.status", id=job)

    def stats(self, job: str, *, processes: bool = False) -> "Stats":
        """Return what a job uses now, or has used if it has ended."""
        from jobworker.model import Stats

        return _typed(self.call("job.stats", id=job, processes=processes), Stats)

    def explain(self, job: str) -> "Explanation":
        from jobworker.model import Explanation

        return _typed(self.call("job.explain", id=job), Explanation)

    def wait(self, job: str, limit: "Duration | None" = None) -> "Job":
        return self._job("job.wait", id=job, **_without_none(timeout=limit))

    def list(
        self, states: Sequence[str] | None = None, labels: dict[str, str] | None = None, limit: int = 100
    ) -> "list[Job]":
        """Return the newest jobs, from as many pages as that takes."""
        from jobworker.model import Job

        jobs: list[Any] = []
        cursor: str | None = None
        while len(jobs) < limit:
            params = _without_none(states=states, labels=labels, cursor=cursor)
            answer = self.call("job.list", limit=limit - len(jobs), **params)
            jobs += answer["jobs"]
            if (cursor := answer["next"]) is None:
                break
        return [_typed(job, Job) for job in jobs]

    def delete(self, job: str, *, force: bool = False) -> None:
        self.call("job.delete", id=job, force=force)

    def subscribe(
        self,
        job: str,
        offset: int | None = None,
        *,
        tail: int | None = None,
        since: "str | Duration | None" = None,
        until: "str | Duration | None" = None,
        streams: Sequence[str] | None = None,
        follow: bool = True,
        arrivals: bool = False,
    ) -> "Subscription":
        """Read a log from `offset`, the last `tail` lines, or a time `since`; by default all of it.

        Times are texts with a zone, or durations: that long ago. With `arrivals` every chunk is a single
        arrival with its own time; otherwise adjacent bytes are one chunk.
        """
        from jobworker.client.blocking.subscription import Subscription

        options = _without_none(until=until, streams=streams) | {"follow": follow, "arrivals": arrivals}
        subscription = Subscription(self.connection, self.status(job), options)
        subscription.subscribe(**_without_none(offset=offset, tail=tail, since=since))
        return subscription

    def read(
        self, job: str, offset: int = 0, max_bytes: int = 65536, streams: Sequence[str] | None = None
    ) -> "LogPage":
        """Return one page of a log."""
        from jobworker.client.logs import LogPage

        params = _without_none(streams=streams)
        return LogPage.of(self.call("log.read", id=job, offset=offset, max_bytes=max_bytes, **params))

    def write(self, job: str, data: bytes) -> int:
        """Append to the input of a job, in one call; return the end of the input. Waits while the job does not read.

        If the connection is lost before the answer, the data may or may not be written: `input` is exact.
        """
        return int(self.connection.send("stdin.write", data, id=job)["offset"])

    def input(self, job: str, offset: int | None = None) -> "JobInput":
        """Return the input of a job, to be written from `offset` on; by default from its end."""
        from jobworker.client.blocking.input import JobInput

        return JobInput(self.connection, job, self.write(job, b"") if offset is None else offset)

    def claim_input(self, job: str, *, steal: bool = False) -> "JobInput":
        """Become the one writer of a job, until the connection is lost; return its input, to be written from its end.

        Raises NotTheWriter if another client is, unless `steal`; `stdin.release` ends it earlier.
        """
        from jobworker.client.blocking.input import JobInput

        answer = self.call("stdin.claim", id=job, steal=steal)
        target = JobInput(self.connection, job, answer["offset"])
        target.lease = answer["lease"]
        return target

    def close_input(self, job: str) -> None:
        """End the input of a job after what was accepted so far."""
        self.call("stdin.close", id=job)

    def events(self, after: int | None = None) -> "Events":
        """Follow the events of all jobs after a revision; without one, from now on."""
        from jobworker.client.blocking.subscription import Events

        events = Events(self.connection, after)
        events.subscribe()
        return events

    def whoami(self) -> "Principal":
        from jobworker.model import Principal

        return _typed(self.call("auth.whoami"), Principal)

    def _job(self, method: str, **params: Any) -> "Job":
        from jobworker.model import Job

        return _typed(self.call(method, **params), Job)


def _typed(value: Any, kind: type[T]) -> T:
    import msgspec

    return msgspec.convert(value, kind)


def _without_none(**params: Any) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}
