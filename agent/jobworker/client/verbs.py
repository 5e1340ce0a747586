"""The methods of a client: one for each method of the protocol, with its params and its result as types.

`blocking/verbs.py` is made of this file by `docs/generate.py`. The types are imported when a method first needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar

from jobworker.client import wire
from jobworker.client.lazy import Lazy
from jobworker.errors import WaitTimeout
from jobworker.units import seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Unpack

    from jobworker import model, results
    from jobworker.client.connection import Connection
    from jobworker.client.events import Events
    from jobworker.client.input import JobInput
    from jobworker.client.logs import LogPage
    from jobworker.client.subscription import Subscription
    from jobworker.model import JobSpec, StopSpec, TimeoutSpec
    from jobworker.units import Duration, Rate, Size
else:
    model, results = Lazy("jobworker.model"), Lazy("jobworker.results")

T = TypeVar("T")


class LimitChanges(TypedDict, total=False):
    """The limits to change: an absent one stays, None removes it."""

    cpus: float | None
    memory: Size | None
    pids: int | None
    io_read: Rate | None
    io_write: Rate | None


class Changes(TypedDict, total=False):
    """What to change of a job; with `force` the kernel may kill processes of a job above its new memory limit."""

    timeout: Duration | None
    idle_timeout: Duration | None
    timeout_policies: Sequence[TimeoutSpec | dict[str, Any]]
    labels: Mapping[str, str]
    limits: LimitChanges
    force: bool


class Verbs:
    """All methods raise RpcError for an answer with an error, ConnectionFailed if none comes, BadAnswer for rubbish.

    A job is given by its id.
    """

    connection: Connection

    async def call(self, method: str, **params: Any) -> Any:
        """Call any method and return its result as plain data."""
        return await self.connection.call(method, **params)

    async def _ask(self, kind: type[T], method: str, **params: Any) -> T:
        """Call a method with the params that are not None; return its result as this type."""
        return wire.typed(kind, method, await self.connection.call(method, **_given(**params)))

    # Jobs

    async def create(self, spec: JobSpec, key: str | None = None) -> model.Job:
        """Create a job, which does not run yet; with a key that was used before, return the job of that call."""
        return await self._ask(model.Job, "job.create", spec=spec, key=key)

    async def start(self, job: str) -> model.Job:
        """Start a job that was created."""
        return await self._ask(model.Job, "job.start", id=job)

    async def run(self, spec: JobSpec, key: str | None = None) -> Subscription:
        """Create a job, follow its log from byte 0 and start it, in one step."""
        from jobworker.client.subscription import Subscription

        run = await self._ask(results.Run, "job.run", spec=spec, key=key)
        subscription = Subscription(self.connection, run.job, {})
        self.connection.route(run.subscription, subscription.inbox)
        return subscription

    async def stop(self, job: str, stop: StopSpec | None = None) -> model.Job:
        """Stop a job; return when its whole process tree is gone. Raises StopIncomplete with the survivors."""
        return await self._ask(model.Job, "job.stop", id=job, stop=stop)

    async def signal(self, job: str, signal: str, target: Literal["all", "main"] = "all") -> int:
        """Send a signal to the whole tree or to the `main` process; return how many processes received it."""
        return (await self._ask(results.Delivered, "job.signal", id=job, signal=signal, target=target)).delivered

    async def resize(self, job: str, rows: int, cols: int, lease: int | None = None) -> None:
        """Change the size of a job's terminal, in characters; `lease` is that of a claim of its input."""
        await self._ask(results.Resized, "job.resize", id=job, rows=rows, cols=cols, lease=lease)

    async def update(self, job: str, **changes: Unpack[Changes]) -> model.Job:
        """Change fields of a job, also while it runs: those of Changes. None is no limit, labels are replaced.

        `limits` has the single ones to change, as `{"memory": "2GiB", "pids": None}`.
        """
        return wire.typed(model.Job, "job.update", await self.call("job.update", id=job, **changes))

    async def pause(self, job: str) -> model.Job:
        """Freeze the whole process tree of a job."""
        return await self._ask(model.Job, "job.pause", id=job)

    async def resume(self, job: str) -> model.Job:
        """Continue a paused job."""
        return await self._ask(model.Job, "job.resume", id=job)

    async def status(self, job: str) -> model.Job:
        """Return a job as it is now."""
        return await self._ask(model.Job, "job.status", id=job)

    async def stats(self, job: str, *, processes: bool = False) -> model.Stats:
        """Return what a job uses now, or has used if it has ended."""
        return await self._ask(model.Stats, "job.stats", id=job, processes=processes)

    async def explain(self, job: str) -> model.Explanation:
        """Return why a job is in its state: what happened to it, in order."""
        return await self._ask(model.Explanation, "job.explain", id=job)

    async def wait(self, job: str, limit: Duration | None = None) -> model.Job:
        """Return a job when it has ended; raise WaitTimeout if it has not within the limit."""
        left = None if limit is None else seconds(limit, "limit")
        while True:
            turn = wire.WAIT_SECONDS if left is None else min(left, wire.WAIT_SECONDS)
            try:
                return await self._ask(model.Job, "job.wait", id=job, timeout=turn)
            except WaitTimeout:
                if left is not None and (left := left - turn) <= 0:
                    raise WaitTimeout(f"job {job} has not ended within {limit}") from None

    async def delete(self, job: str, *, force: bool = False) -> None:
        """Delete a job with its log; one that runs only with `force`, which stops it first."""
        await self._ask(results.Deleted, "job.delete", id=job, force=force)

    # Logs and events

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
        from jobworker.client.subscription import Subscription

        options = _given(until=until, streams=streams, follow=follow, arrivals=arrivals)
        subscription = Subscription(self.connection, await self.status(job), options)
        await subscription.subscribe(**_given(offset=offset, tail=tail, since=since))
        return subscription

    async def read(
        self, job: str, offset: int = 0, max_bytes: int = 65536, streams: Sequence[str] | None = None
    ) -> LogPage:
        """Return one page of a log."""
        from jobworker.client.logs import LogPage

        page = await self.call("log.read", id=job, offset=offset, max_bytes=max_bytes, **_given(streams=streams))
        with wire.reading("log.read"):
            return LogPage.of(page)

    async def search(
        self,
        job: str,
        pattern: str,
        offset: int = 0,
        *,
        regex: bool = False,
        case: bool = True,
        limit: int = 1000,
        once: bool = False,
        excerpt: int = 256,
        streams: Sequence[str] | None = None,
        encoding: Literal["auto", "base64"] = "auto",
    ) -> results.LogMatches:
        """Return the matches in a log from `offset` on that half a second finds.

        Unless the answer is `complete`, go on at its `next`.
        """
        return await self._ask(
            results.LogMatches,
            "log.search",
            id=job,
            pattern=pattern,
            regex=regex,
            case=case,
            limit=limit,
            once=once,
            excerpt=excerpt,
            streams=streams,
            encoding=encoding,
            **{"from": offset},
        )

    async def lines(
        self,
        job: str,
        line: int | None = None,
        *,
        around: int | None = None,
        count: int = 100,
        encoding: Literal["auto", "base64"] = "auto",
    ) -> results.LogLines:
        """Return lines of a log from number `line` on, by default 1, or before and after the offset `around`."""
        return await self._ask(
            results.LogLines, "log.lines", id=job, line=line, around=around, count=count, encoding=encoding
        )

    async def screen(self, job: str, *, ansi: bool = False) -> results.Screen:
        """Return what the terminal of a job shows; with `ansi` also the output that draws it on another one."""
        return await self._ask(results.Screen, "screen.read", id=job, ansi=ansi)

    async def sizes(self, job: str) -> results.TerminalSizes:
        """Return the sizes that the terminal of a job had, with the offsets of the output that was for them."""
        return await self._ask(results.TerminalSizes, "log.sizes", id=job)

    async def events(self, after: int | None = None) -> Events:
        """Follow the events of all jobs after a revision; without one, from now on."""
        from jobworker.client.events import Events

        events = Events(self.connection, after)
        await events.subscribe()
        return events

    # Inputs

    async def write(self, job: str, data: bytes) -> int:
        """Append to the input of a job, in one call; return the end of the input. Waits while the job does not read.

        If the connection is lost before the answer, the data may or may not be written: `input` is exact.
        """
        answer = await self.connection.send("stdin.write", data, id=job)
        return wire.typed(results.Written, "stdin.write", answer).offset

    async def input(self, job: str, offset: int | None = None) -> JobInput:
        """Return the input of a job, to be written from `offset` on; by default from its end."""
        from jobworker.client.input import JobInput

        return JobInput(self.connection, job, await self.write(job, b"") if offset is None else offset)

    async def claim_input(self, job: str, *, steal: bool = False) -> JobInput:
        """Become the one writer of a job, until the connection is lost; return its input, to be written from its end.

        Raises NotTheWriter if another client is, unless `steal`; `release_input` ends it earlier.
        """
        from jobworker.client.input import JobInput

        claim = await self._ask(results.Claimed, "stdin.claim", id=job, steal=steal)
        target = JobInput(self.connection, job, claim.offset)
        target.lease = claim.lease
        return target

    async def release_input(self, job: str, lease: int) -> None:
        """Give up the claim with this lease: each client that controls the job may write to it again."""
        await self._ask(results.Released, "stdin.release", id=job, lease=lease)

    async def close_input(self, job: str) -> None:
        """End the input of a job after what was accepted so far."""
        await self._ask(results.InputEnd, "stdin.close", id=job)

    # Callers

    async def login(
        self,
        *,
        token: str | None = None,
        username: str | None = None,
        password: str | None = None,
        ticket: str | None = None,
        session: str | None = None,
    ) -> model.Principal:
        """Authenticate a connection that was opened without credentials, by its first call; after a loss, again.

        `ticket` and `session` are for pages in a browser: the agent takes them from connections of an origin only.
        """
        given = {"token": token, "username": username, "password": password, "ticket": ticket, "session": session}
        return await self._ask(model.Principal, "auth.login", **given)

    async def whoami(self) -> model.Principal:
        """Return the principal of this connection."""
        return await self._ask(model.Principal, "auth.whoami")

    async def logout(self) -> None:
        """End this connection and, of a page in a browser, its session."""
        await self._ask(bool, "auth.logout")

    async def ticket(self, *, origin: str | None = None) -> results.Ticket:
        """Return a code with which a page of this origin logs in as this caller, once and within 30 seconds.

        Without `origin` it is for the agent's own page, by the address that the agent has for clients on its host.
        """
        return await self._ask(results.Ticket, "auth.ticket", origin=origin)

    async def create_token(
        self, name: str, roles: Sequence[str], *, expires_in: Duration | None = None
    ) -> results.NewToken:
        """Create a token, whose secret is only in this answer; "never": it has no end, None: as configured."""
        return await self._ask(results.NewToken, "token.create", name=name, roles=roles, expires_in=expires_in)

    async def renew_token(self, name: str, *, expires_in: Duration | None = None) -> results.RenewedToken:
        """Replace the secret of a token, which ends the old one and its connections at once."""
        return await self._ask(results.RenewedToken, "token.renew", name=name, expires_in=expires_in)

    async def revoke_token(self, name: str) -> None:
        """Revoke a token and close its connections."""
        await self._ask(bool, "token.revoke", name=name)

    async def tokens(self) -> Sequence[results.Token]:
        """List the tokens, without their secrets."""
        return (await self._ask(results.Tokens, "token.list")).tokens

    async def sessions(self) -> Sequence[results.Connected]:
        """List the open connections, the oldest first."""
        return (await self._ask(results.Sessions, "session.list")).sessions

    async def end_sessions(self, *, session: str | None = None, principal: str | None = None) -> int:
        """End one session by its id, or all of a principal; return how many. Their access ends at once."""
        return (await self._ask(results.SessionsEnded, "session.end", id=session, principal=principal)).ended

    # The agent

    async def ping(self) -> str:
        """Return the time of the agent's clock."""
        return (await self._ask(results.Pong, "agent.ping")).time

    async def info(self) -> results.AgentInfo:
        """Return what the agent is and can do on its host."""
        return await self._ask(results.AgentInfo, "agent.info")

    async def health(self) -> results.AgentHealth:
        """Return what the agent uses of its host and of its budgets."""
        return await self._ask(results.AgentHealth, "agent.health")

    async def audit(
        self, limit: int = 100, *, job: str | None = None, principal: str | None = None, denied: bool = False
    ) -> Sequence[results.AuditEntry]:
        """Return the newest entries of the audit log, the oldest of them first: those of a job, of a principal."""
        params: dict[str, Any] = {"limit": limit, "job": job, "principal": principal, "denied": denied}
        return (await self._ask(results.AuditEntries, "audit.list", **params)).entries

    async def shutdown(self, jobs: Literal["stop", "leave"] = "leave") -> None:
        """End the agent; jobs that are left run on, and the next agent adopts them."""
        await self._ask(bool, "agent.shutdown", jobs=jobs)

    async def restart(self) -> None:
        """Have the agent execute itself again, with its current program and configuration."""
        await self._ask(bool, "agent.restart")

    async def plugins(self) -> Sequence[results.PluginInfo]:
        """List the plugins: the enabled ones in the order of the configuration, then, for an admin, the others."""
        return (await self._ask(results.Plugins, "plugin.list")).plugins

    async def discover(self) -> dict[str, Any]:
        """Return an OpenRPC document that describes all methods of this agent."""
        return await self._ask(dict, "rpc.discover")

    # The last, as it has the name of a type.
    async def list(
        self,
        states: Sequence[str] | None = None,
        labels: Mapping[str, str] | None = None,
        limit: int = 100,
        owner: str | None = None,
    ) -> list[model.Job]:
        """Return the newest jobs, from as many pages as that takes."""
        jobs: list[Any] = []
        cursor: str | None = None
        while len(jobs) < limit:
            page = await self._ask(
                results.JobPage,
                "job.list",
                states=states,
                labels=labels,
                owner=owner,
                limit=min(limit - len(jobs), wire.MAX_PAGE_JOBS),
                cursor=cursor,
            )
            jobs += page.jobs
            if (cursor := page.next) is None:
                break
        return jobs


def _given(**params: Any) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}
