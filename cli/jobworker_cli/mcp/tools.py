"""The tools: each a function of a toolbox and its arguments."""

import asyncio
import os
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from jobworker.client import Client
from jobworker.errors import InvalidParams, InvalidState, RateLimited, StopIncomplete, WaitTimeout
from jobworker_cli import describe
from jobworker_cli.mcp import arguments, output
from jobworker_cli.mcp.answers import (
    MAX_COMMAND,
    MAX_NAME,
    Answer,
    clipped,
    job_of,
    of_job,
    of_screen,
    sentence,
    size,
)
from jobworker_cli.mcp.link import Link
from jobworker_cli.mcp.search import search
from jobworker_cli.resolve import NOT_FINAL, job_id_async

WAITS = 32  # tools that wait at once: an agent takes 64 calls of a connection, and others must get through
READS = 16  # reads of a log at once: an agent has 1 MiB of pages of a connection under way
SLICE_SECONDS, SHORT_SLICE_SECONDS = 5.0, 1.0  # of one wait; the short one if others wait for their turn
START_AGAIN_SECONDS = 0.1
ROOM = 12 << 10  # bytes of a list or a story


class Toolbox:
    """What the tools share. `local`: the agent is on this host, and folders mean the same for both."""

    def __init__(self, connect: Callable[[], Client], *, local: bool) -> None:
        self.link = Link(connect)
        self._local = local
        self._waiting = asyncio.Semaphore(WAITS)
        self._waiters = 0  # tools that wait for the end of a job, or for output
        self._reading = asyncio.Semaphore(READS)
        self._searching = asyncio.Lock()  # the agent takes one search of a caller at a time
        self._writing: dict[str, asyncio.Lock] = {}  # by job: one write at a time

    # Run and wait

    async def run(self, given: arguments.Run) -> Answer:
        key = given.key or f"mcp-{uuid.uuid4().hex}"  # also without one: a call that is repeated runs nothing twice
        job = await self.link.call("job.create", spec=self._spec(given), key=key)
        before = job["state"] != "created"
        if not before:
            try:
                job = await self._start(job["id"])
            except RateLimited:
                if not given.key:  # else the job would stay for ever
                    await self.link.call("job.delete", id=job["id"])
                raise
        first = f"The key {clipped(given.key, MAX_NAME)!r} is that of this job, which was not run again." * before
        job = await self._ended(job, given.wait_seconds)
        return await self._with_output(job, 0, first, ran_before=before)

    def _spec(self, given: arguments.Run) -> dict[str, Any]:
        if bool(given.command) == bool(given.argv):
            raise InvalidParams("command, argv: expected exactly one of them", field="command")
        spec: dict[str, Any] = {"shell": given.command} if given.command else {"argv": given.argv}
        cwd = os.path.join(os.getcwd(), given.cwd) if self._local else given.cwd
        optional = {"cwd": cwd, "env": given.env, "name": given.name, "tty": given.terminal}
        spec |= {name: value for name, value in optional.items() if value}
        for field, secrets in (("secrets", given.secrets), ("secret_files", given.secret_files)):
            if secrets:
                spec[field] = {name: _reference(f"{field}.{name}", text) for name, text in secrets.items()}
        if given.stdin and not given.terminal:  # a terminal always has an input
            spec["stdin"] = "pipe"
        spec["timeout"] = given.timeout_seconds or None
        return spec

    async def _start(self, job: str) -> Any:
        """Start a job that was created; return it when it was started, by whichever call."""
        while True:
            try:
                return await self.link.call("job.start", id=job)
            except InvalidState:  # a call before this one, whose answer was lost
                found = await self.link.call("job.status", id=job)
                if found["state"] != "created":
                    return found
                await asyncio.sleep(START_AGAIN_SECONDS)

    async def wait(self, given: arguments.Wait) -> Answer:
        job = await self.link.call("job.status", id=await self._id(given.job))
        job = await self._ended(job, given.wait_seconds)
        return await self._with_output(job, given.offset)

    async def _ended(self, job: Any, limit: float) -> Any:
        """Return a job at its end, or as it is after so many seconds."""
        deadline = time.monotonic() + limit
        self._waiters += 1
        try:
            while job["exit"] is None and (left := deadline - time.monotonic()) > 0:
                async with self._waiting:
                    job = await self._wait(job["id"], left)
        finally:
            self._waiters -= 1
        return job

    async def _wait(self, job: str, left: float) -> Any:
        try:
            return await self.link.call("job.wait", id=job, timeout=self._turn(left))
        except WaitTimeout:
            return await self.link.call("job.status", id=job)

    def _turn(self, left: float) -> float:
        """Return how long a tool with so many seconds left waits before it is the turn of another one."""
        return min(left, SHORT_SLICE_SECONDS if self._waiters > WAITS else SLICE_SECONDS)

    async def _with_output(self, job: Any, offset: int, first: str = "", **more: Any) -> Answer:
        complete = job["exit"] is not None and await output.until_complete(self.link, job["id"])
        async with self._reading:
            excerpt = await output.excerpt(self.link, job["id"], offset, complete=complete)
        if complete:  # what is known of its log now
            job = await self.link.call("job.status", id=job["id"])
        return of_job(job, excerpt, first, **more)

    # Read

    async def read(self, given: arguments.Read) -> Answer:
        job = await self.link.call("job.status", id=await self._id(given.job))
        offset = given.offset if given.offset >= 0 else max(0, job["log"]["bytes"] + given.offset)
        streams = None if given.stream == "both" else [given.stream]
        if given.wait_seconds and await self._until_more(job["id"], offset, streams, given.wait_seconds):
            job = await self.link.call("job.status", id=job["id"])
        exact, ended = given.encoding == "base64", job["exit"] is not None
        ended = ended and await output.until_complete(self.link, job["id"])
        async with self._reading:
            page, data = await output.page(self.link, job["id"], offset, streams, exact=exact, ended=ended)
        more = "read on from there" if page.next < page.end else "the end" if page.complete else "the end so far"
        head = f"Bytes {page.parts[0].offset} to {page.next} of {page.end} of job {job['id']}, {more}:"
        plain = page.plain() | ({"base64": data} if exact else {})
        return Answer("\n".join([head, *([data] if exact else page.lines())]), {"job": job["id"], **plain})

    async def _until_more(self, job: str, offset: int, streams: Sequence[str] | None, limit: float) -> bool:
        """Return whether the log had something from an offset on, or ended, before so many seconds were over."""
        deadline = time.monotonic() + limit
        self._waiters += 1
        try:
            while (left := deadline - time.monotonic()) > 0:
                async with self._waiting:
                    if await output.until_more(self.link, job, offset, streams, self._turn(left)):
                        return True
        finally:
            self._waiters -= 1
        return False

    async def search(self, given: arguments.Search) -> Answer:
        async with self._searching:
            return await search(self.link, await self._id(given.job), given)

    async def screen(self, given: arguments.OfJob) -> Answer:
        job = await self._id(given.job)
        try:
            found = await self.link.call("screen.read", id=job)
        except InvalidState as error:  # it has no terminal, or one that is too large
            hint = "read returns its output; a job that is run with terminal true has a screen"
            raise InvalidState(error.message, hint=hint, **error.data) from None
        return of_screen(found)

    # Write

    async def write(self, given: arguments.Write) -> Answer:
        job = await self._id(given.job)
        data = given.text.encode(errors="surrogatepass")
        if len(data) > arguments.MAX_INPUT:
            raise InvalidParams(f"text: {len(data)} bytes; expected at most {arguments.MAX_INPUT}", field="text")
        async with self._writing.setdefault(job, asyncio.Lock()):
            begin = (
                given.offset if given.offset >= 0 else await self.link.repeat(lambda client: client.write(job, b""))
            )
            try:
                # A connection of its own: a call that waits for the job would hold up others, and ends with it.
                async with self.link.another() as link, asyncio.timeout(given.wait_seconds):
                    end = await link.repeat(lambda client: _write_at(client, job, begin, data))
                    if given.end:
                        await link.call("stdin.close", id=job)
            except TimeoutError:
                end = await self.link.repeat(lambda client: client.write(job, b""))
                return _written(job, data, begin, end, waits=True)
        return _written(job, data, begin, end, ended=given.end)

    # Stop

    async def stop(self, given: arguments.Stop) -> Answer:
        job = await self._id(given.job)
        try:
            stopped = await self.link.call("job.stop", id=job, stop={"grace": given.grace_seconds})
        except InvalidState:
            found = await self.link.call("job.status", id=job)
            if found["exit"] is None:
                raise
            text = f"{sentence(found)} None of its processes is left."
            return Answer(text, job_of(found) | {"processes_left": [], "proof": _proof(found)})
        except StopIncomplete as error:
            left = [{"pid": one.get("pid"), "name": one.get("name")} for one in error.data.get("survivors", [])[:50]]
            return Answer(f"Error: {clipped(error.message, 4000)}", {"job": job, "processes_left": left}, failed=True)
        proof = _proof(stopped)
        sure = (
            "None of its processes is left."
            if proof == "complete"
            else (
                "None of its processes is known to be left; this host cannot prove it for one that has hidden itself."
            )
        )
        return Answer(f"{sentence(stopped)} {sure}", job_of(stopped) | {"processes_left": [], "proof": proof})

    # List and explain

    async def list(self, given: arguments.List) -> Answer:
        states = None if given.ended else list(NOT_FINAL)
        params = {"limit": given.limit, "states": states, "cursor": given.cursor or None}
        page = await self.link.call(
            "job.list", **{name: value for name, value in params.items() if value is not None}
        )
        rows: list[dict[str, Any]] = []
        lines: list[str] = []
        room = ROOM
        following = page["next"]
        for job in page["jobs"]:
            command = clipped(describe.command(job), MAX_COMMAND)
            row = job_of(job) | {"command": command, "age": describe.age(job)}
            if row.get("exit"):
                del row["exit"]["message"]
            room -= size(row) + 2
            if room < 0:
                following = rows[-1]["job"] if rows else None
                break
            rows.append(row)
            name = f" ({row['name']})" if "name" in row else ""
            lines.append(f"{job['id']}{name} {describe.state(job)}, {row['age']} old: {command}")
        text = "\n".join(lines) or "There are no jobs."
        text += f"\n[there are older ones: list with cursor {following}]" if following else ""
        return Answer(text, {"jobs": rows, "next": following})

    async def explain(self, given: arguments.OfJob) -> Answer:
        told = await self.link.call("job.explain", id=await self._id(given.job))
        chain = [{name: clipped(link[name] or "", 1000) for name in ("time", "what", "by")} for link in told["chain"]]
        for short, link in zip(chain, told["chain"], strict=True):
            short["detail"] = link["detail"][-2000:]
        while size(chain) > ROOM:
            del chain[len(chain) // 2]
        value = {"job": told["id"], "summary": clipped(told["summary"], 1000), "chain": chain}
        return Answer("\n".join(describe.story(value)), value)

    async def _id(self, job: str) -> str:
        """Return the id of a job from its id, a unique prefix of that, or its name."""
        return await self.link.repeat(lambda client: job_id_async(client, job))


def _reference(field: str, text: str) -> dict[str, str]:
    """Return the secret of the agent that PROVIDER:NAME means; the error does not show a text that may be a value."""
    provider, _, name = text.partition(":")
    if not (provider.isidentifier() and name):
        raise InvalidParams(f"{field[:80]}: expected PROVIDER:NAME, as file:deploy, and no value", field=field[:80])
    return {"provider": provider, "name": name}


def _proof(job: Any) -> str:
    """Return how sure it is that no process of an ended job is left."""
    receipt = (job["exit"] or {}).get("receipt")
    return str(receipt["proof"]) if receipt else "complete"


def _written(job: str, data: bytes, begin: int, end: int, *, waits: bool = False, ended: bool = False) -> Answer:
    """Return the answer of a write from `begin` on, after which the input has `end` bytes."""
    accepted = max(0, min(end - begin, len(data)))
    text = f"{accepted} of {len(data)} bytes are in the input of job {job}, which has {end} bytes."
    if waits:
        text += f" The job does not read: write the rest, from byte {accepted} of the text on, when it does."
    text += " Its input has ended." * ended
    value = {"job": job, "accepted": accepted, "rest": len(data) - accepted, "offset": end, "ended": ended}
    return Answer(text, value)


async def _write_at(client: Client, job: str, offset: int, data: bytes) -> int:
    """Write data at an offset of the input; return the end of the input."""
    answer = await client.connection.send("stdin.write", data, id=job, offset=offset)
    return int(answer["offset"])
