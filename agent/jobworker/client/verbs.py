"""The methods of a client: one for each method of the protocol, with its params and its result as types.

Those about callers and the agent are in `agent_verbs.py`. The types are imported when a method first needs them.
`blocking/verbs.py` is made of this file by `docs/generate.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

from jobworker.client import wire
from jobworker.client.agent_verbs import AgentVerbs
from jobworker.client.lazy import Lazy
from jobworker.errors import WaitTimeout
from jobworker.units import seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Unpack

    from jobworker import model, results
    from jobworker.client.events import Events
    from jobworker.client.input import JobInput
    from jobworker.client.logs import LogPage
    from jobworker.client.subscription import Subscription
    from jobworker.model import JobSpec, StopSpec, TimeoutSpec
    from jobworker.units import Duration, Rate, Size
else:
    model, results = Lazy("jobworker.model"), Lazy("jobworker.results")


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


class Verbs(AgentVerbs):
    """All methods raise RpcError for an answer with an error, ConnectionFailed if none comes, BadAnswer for rubbish.

    A job is given by its id.
    """

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

        options = wire.given(until=until, streams=streams, follow=follow, arrivals=arrivals)
        subscription = Subscription(self.connection, await self.status(job), options)
        await subscription.subscribe(**wire.given(offset=offset, tail=tail, since=since))
        return subscription

    async def read(
        self,
        job: str,
        offset: int = 0,
        max_bytes: int = 65536,
        streams: Sequence[str] | None = None,
        arrivals: bool | None = None,
    ) -> LogPage:
        """Return one page of a log; with `arrivals` every chunk is a single arrival."""
        from jobworker.client.logs import LogPage

        more = wire.given(streams=streams, arrivals=arrivals)
        page = await self.call("log.read", id=job, offset=offset, max_bytes=max_bytes, **more)
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
