"""The client of an agent: one method for each verb of the protocol."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from jobworker.client.connection import Connection
from jobworker.client.endpoint import Endpoint
from jobworker.client.events import Events
from jobworker.client.input import JobInput
from jobworker.client.local import ensure_local_agent
from jobworker.client.logs import LogPage
from jobworker.client.subscription import Subscription
from jobworker.model import Explanation, Job, JobSpec, Principal, Stats, StopSpec
from jobworker.paths import Home, default_home
from jobworker.units import Duration


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
) -> "Client":
    """Return a client for ``async with``; without an address, of the local agent.

    `ca` is a PEM file with the only CA to trust (None: the system's). `cert` and `key` are a client certificate and
    its key in PEM; without `key` both are in `cert`. `pin` is the fingerprint of the only certificate to trust, as
    "sha256:…". `insecure` skips certificate verification: any server that answers gets the token. `username` and
    `password` replace a token. `lost` is called with a sentence when the connection is lost, when it is back, and
    if a log lacks bytes.
    Raises ConnectionFailed and Unauthenticated on entering.
    """
    if address is None:
        home = Home(default_home())
        return Client(lambda: ensure_local_agent(home), lost)
    endpoint = Endpoint(address, token, ca, cert, key, pin, insecure, username, password)
    return Client(lambda: endpoint, lost)


class Client:
    """All methods raise RpcError for an answer with an error and ConnectionFailed if none comes."""

    def __init__(self, find: Callable[[], Endpoint], report: Callable[[str], None] = lambda text: None) -> None:
        self.connection = Connection(find, report)

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

    async def call(self, method: str, **params: Any) -> Any:
        """Call any method and return its result as plain data."""
        return await self.connection.call(method, **params)

    # The verbs, as in the protocol

    async def create(self, spec: JobSpec, key: str | None = None) -> Job:
        return await self._job("job.create", spec=msgspec.to_builtins(spec), **_without_none(key=key))

    async def start(self, job: str) -> Job:
        return await self._job("job.start", id=job)

    async def run(self, spec: JobSpec, key: str | None = None) -> Subscription:
        """Create, follow from byte 0 and start, in one step."""
        answer = await self.call("job.run", spec=msgspec.to_builtins(spec), **_without_none(key=key))
        subscription = Subscription(self.connection, msgspec.convert(answer["job"], Job), {})
        self.connection.route(answer["subscription"], subscription.inbox)
        return subscription

    async def stop(self, job: str, stop: StopSpec | None = None) -> Job:
        spec = None if stop is None else msgspec.to_builtins(stop)
        return await self._job("job.stop", id=job, **_without_none(stop=spec))

    async def signal(self, job: str, signal: str, target: str = "all") -> int:
        """Send a signal to the whole tree or to the `main` process; return how many processes received it."""
        return int((await self.call("job.signal", id=job, signal=signal, target=target))["delivered"])

    async def update(self, job: str, **changes: Any) -> Job:
        """Change `timeout`, `idle_timeout`, `timeout_policies`, `labels` or `limits`; None is no limit. Plain data.

        `limits` has the single ones to change, as `{"memory": "2GiB", "pids": None}`. With `force=True` the kernel
        may kill processes of a job that uses more memory than its new limit.
        """
        return await self._job("job.update", id=job, **changes)

    async def pause(self, job: str) -> Job:
        return await self._job("job.pause", id=job)

    async def resume(self, job: str) -> Job:
        return await self._job("job.resume", id=job)

    async def status(self, job: str) -> Job:
        return await self._job("job.status", id=job)

    async def stats(self, job: str, *, processes: bool = False) -> Stats:
        """Return what a job uses now, or has used if it has ended."""
        return msgspec.convert(await self.call("job.stats", id=job, processes=processes), Stats)

    async def explain(self, job: str) -> Explanation:
        return msgspec.convert(await self.call("job.explain", id=job), Explanation)

    async def wait(self, job: str, limit: Duration | None = None) -> Job:
        return await self._job("job.wait", id=job, **_without_none(timeout=limit))

    async def list(
        self, states: Sequence[str] | None = None, labels: dict[str, str] | None = None, limit: int = 100
    ) -> list[Job]:
        """Return the newest jobs, from as many pages as that takes."""
        jobs: list[Job] = []
        cursor: str | None = None
        while len(jobs) < limit:
            params = _without_none(states=states, labels=labels, cursor=cursor)
            answer = await self.call("job.list", limit=limit - len(jobs), **params)
            jobs += msgspec.convert(answer["jobs"], list[Job])
            if (cursor := answer["next"]) is None:
                break
        return jobs

    async def delete(self, job: str, *, force: bool = False) -> None:
        await self.call("job.delete", id=job, force=force)

    async def subscribe(
        self,
        job: str,
        offset: int | None = None,
        *,
        tail: int | None = None,
        since: str | Duration | None = None,
        until: str | Duration | None = None,
        streams: Sequence[str] | None = None,
        follow: bool = True,
        arrivals: bool = False,
    ) -> Subscription:
        """Read a log from `offset`, the last `tail` lines, or a time `since`; by default all of it.

        Times are texts with a zone, or durations: that long ago. With `arrivals` every chunk is a single
        arrival with its own time; otherwise adjacent bytes are one chunk.
        """
        options = _without_none(until=until, streams=streams) | {"follow": follow, "arrivals": arrivals}
        subscription = Subscription(self.connection, await self.status(job), options)
        await subscription.subscribe(**_without_none(offset=offset, tail=tail, since=since))
        return subscription

    async def read(
        self, job: str, offset: int = 0, max_bytes: int = 65536, streams: Sequence[str] | None = None
    ) -> LogPage:
        """Return one page of a log."""
        params = _without_none(streams=streams)
        return LogPage.of(await self.call("log.read", id=job, offset=offset, max_bytes=max_bytes, **params))

    async def write(self, job: str, data: bytes) -> int:
        """Append to the input of a job, in one call; return the end of the input. Waits while the job does not read.

        If the connection is lost before the answer, the data may or may not be written: `input` is exact.
        """
        return int((await self.connection.send("stdin.write", data, id=job))["offset"])

    async def input(self, job: str, offset: int | None = None) -> JobInput:
        """Return the input of a job, to be written from `offset` on; by default from its end."""
        return JobInput(self.connection, job, await self.write(job, b"") if offset is None else offset)

    async def claim_input(self, job: str, *, steal: bool = False) -> JobInput:
        """Become the one writer of a job, until the connection is lost; return its input, to be written from its end.

        Raises NotTheWriter if another client is, unless `steal`; `stdin.release` ends it earlier.
        """
        answer = await self.call("stdin.claim", id=job, steal=steal)
        target = JobInput(self.connection, job, answer["offset"])
        target.lease = answer["lease"]
        return target

    async def close_input(self, job: str) -> None:
        """End the input of a job after what was accepted so far."""
        await self.call("stdin.close", id=job)

    async def events(self, after: int | None = None) -> Events:
        """Follow the events of all jobs after a revision; without one, from now on."""
        events = Events(self.connection, after)
        await events.subscribe()
        return events

    async def whoami(self) -> Principal:
        return msgspec.convert(await self.call("auth.whoami"), Principal)

    async def _job(self, method: str, **params: Any) -> Job:
        return msgspec.convert(await self.call(method, **params), Job)


def _without_none(**params: Any) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}
