"""Load on an agent in the guest, a power cut at a random moment, and what is left of what the agent had answered."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path

from tests.vm.agents import CONFIG, READY, Agent
from tests.vm.guest import PORT, Guest
from tests.vm.recipe import VENV

from jobworker.client import Client, connect
from jobworker.errors import ConnectionFailed, JobNotFound
from jobworker.model import Job, JobSpec, State

HOME = "/home/alice/power"
UNIT = f"""
[Service]
User=alice
KillMode=process
Environment=JOBWORKER_HOME={HOME}
ExecStart={VENV}/bin/jw agent run --config {HOME}/config.toml
[Install]
WantedBy=multi-user.target
"""
# The agent accepts its own port in the header Host only; what is forwarded to the guest is another one there.
SOCKET = """
[Socket]
ListenStream=0.0.0.0:{there}
[Install]
WantedBy=sockets.target
"""
PROXY = """
[Service]
ExecStart=/lib/systemd/systemd-socket-proxyd 127.0.0.1:{port}
"""
WORKERS = 3  # run short jobs, one after the other
SHORT = 5000  # bytes that a short job writes
CHATTER = "i=0; while :; do echo $0 $i; i=$((i+1)); sleep 0.05; done"  # writes until the cut


@dataclass
class Answered:
    """What the agent had answered before the cut."""

    created: set[str] = field(default_factory=set)
    ended: dict[str, Job] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)  # jobs whose log.end was sent
    deleted: set[str] = field(default_factory=set)
    received: dict[str, bytearray] = field(default_factory=dict)  # by job that wrote until the cut


@dataclass
class Loss:
    """What a cut took of it, or over many cuts."""

    answered: int = 0  # jobs
    jobs: int = 0  # answered and not known any more
    statuses: int = 0  # exits that were answered and are `lost`, or whose job is `created` again or not known
    invented: int = 0  # exits that differ from what was answered, or that a job which ran at the cut has
    revived: int = 0  # deleted and there again
    closed: int = 0  # bytes of logs whose end was answered
    closed_lost: int = 0
    live: int = 0  # bytes that a follower had of jobs that wrote until the cut
    live_lost: int = 0
    wrong: int = 0  # bytes served that are not what the job wrote, gaps apart

    def add(self, other: "Loss") -> None:
        for name in fields(self):
            setattr(self, name.name, getattr(self, name.name) + getattr(other, name.name))


class Subject:
    """An agent of a plain user in the guest, reached through the forwarded port."""

    def __init__(self, guest: Guest, durability: str) -> None:
        self.guest = guest
        self.agent = Agent(guest, HOME, user="alice", unit="power.service")
        port = f"port = {guest.port}"
        config = CONFIG.replace(f"port = {PORT}", port) + f'durability = "{durability}"\n'
        guest.write("/etc/systemd/system/forward.socket", SOCKET.format(there=PORT))
        guest.write("/etc/systemd/system/forward.service", PROXY.format(port=guest.port))
        self.agent.systemctl("daemon-reload")
        self.agent.systemctl("enable --now forward.socket")
        guest.run("systemctl disable --now jobworker.service", check=False)  # it has the port
        self.agent.install(UNIT, config=config)

    def remove(self) -> None:
        self.agent.systemctl("disable --now forward.socket forward.service", check=False)
        self.guest.run("rm -f /etc/systemd/system/forward.*")
        self.agent.remove()

    def client(self) -> Client:
        token = self.guest.run(f"until cat {HOME}/local.token 2>/dev/null; do sleep 0.2; done").stdout.strip()
        ca = Path(self.guest.folder) / "ca.pem"
        ca.write_text(self.guest.run(f"cat {HOME}/tls/ca.pem").stdout)
        return connect(f"wss://127.0.0.1:{self.guest.port}/rpc", token=token, ca=ca)

    async def _connected(self) -> Client:
        """Return a client, to be entered, of an agent that answers: under emulation its start takes a while."""
        async with asyncio.timeout(3 * READY):
            while True:
                with contextlib.suppress(ConnectionFailed, OSError, TimeoutError):
                    async with await asyncio.to_thread(self.client) as client:
                        await client.call("agent.ping")
                        break
                await asyncio.sleep(0.5)
        return await asyncio.to_thread(self.client)

    @contextlib.asynccontextmanager
    async def load(self) -> AsyncIterator[Answered]:
        """Put load on the agent, until the block ends, and yield what it has answered so far."""
        answered = Answered()
        async with await self._connected() as client:
            load = [asyncio.create_task(_short_jobs(client, answered)) for _ in range(WORKERS)]
            load.append(asyncio.create_task(_chatter(client, answered)))
            try:
                yield answered
                for task in load:  # one that has failed has put no load on
                    assert not task.done() or self.guest.is_off, task.exception()
            finally:
                for task in load:
                    task.cancel()
                await asyncio.gather(*load, return_exceptions=True)

    async def cut(self, seconds: float) -> Loss:
        """Put load on the agent for some seconds, cut the power, and compare."""
        async with self.load() as answered:
            await asyncio.sleep(seconds)
            await asyncio.to_thread(self.guest.stop)
        await asyncio.to_thread(self.guest.boot)
        async with await self._connected() as client:
            loss = await compare(client, answered)
            await _clear(client)
        return loss


def _text(tag: str) -> bytes:
    return (f"{tag}\n".encode() * SHORT)[:SHORT]


async def _short_jobs(client: Client, answered: Answered) -> None:
    for number in itertools.count():
        tag = f"job{number}"
        code = random.randrange(1, 100)
        job = await client.create(JobSpec(shell=f"yes {tag} | head -c {SHORT}; exit {code}", name=tag, cwd="/"))
        answered.created.add(job.id)
        await client.start(job.id)
        answered.ended[job.id] = await client.wait(job.id)
        async for _ in await client.subscribe(job.id):
            pass  # to its log.end
        answered.closed.add(job.id)
        if number % 5 == 4:
            answered.created.discard(job.id)
            answered.closed.discard(job.id)
            del answered.ended[job.id]
            with contextlib.suppress(JobNotFound):
                await client.delete(job.id)
            answered.deleted.add(job.id)


async def _chatter(client: Client, answered: Answered) -> None:
    job = await client.create(JobSpec(argv=["sh", "-c", CHATTER, "line"], cwd="/"))
    answered.created.add(job.id)
    received = answered.received[job.id] = bytearray()
    await client.start(job.id)
    async for chunk in await client.subscribe(job.id):
        received += chunk.data


async def compare(client: Client, answered: Answered) -> Loss:
    """Count what an agent has no more, or otherwise, of what was answered before the cut."""
    loss = Loss(answered=len(answered.created))
    now: dict[str, Job] = {}
    for job in answered.created | answered.deleted:
        with contextlib.suppress(JobNotFound):
            now[job] = await client.status(job)
    loss.jobs = len(answered.created - now.keys())
    loss.revived = len(answered.deleted & now.keys())
    for job, before in answered.ended.items():
        after = now.get(job)
        known = after is not None and after.state.final and after.state != State.LOST  # not `created` again
        loss.statuses += not known
        loss.invented += after is not None and known and before.exit != after.exit
        good, wrong = await _served(client, after, _text(before.name or ""))
        if job in answered.closed:
            loss.closed += SHORT
            loss.closed_lost += SHORT - good
        loss.wrong += wrong
    for job, received in answered.received.items():
        loss.live += len(received)
        loss.invented += job in now and now[job].state not in (State.LOST, State.CREATED)
        good, wrong = await _served(client, now.get(job), _lines())
        loss.live_lost += max(0, len(received) - good)
        loss.wrong += wrong
    return loss


def _lines() -> bytes:
    return b"".join(f"line {number}\n".encode() for number in range(10_000))


async def _served(client: Client, job: Job | None, wrote: bytes) -> tuple[int, int]:
    """Return how many bytes of the job's log are as it wrote them, and how many are not."""
    good = wrong = 0
    if job is None or not job.state.final:  # one that is `created` again has no log, and a follower would wait for it
        return good, wrong
    async for chunk in await client.subscribe(job.id):
        same = sum(one == other for one, other in zip(chunk.data, wrote[chunk.offset :], strict=False))
        good += same
        wrong += len(chunk.data) - same
    return good, wrong


async def _clear(client: Client) -> None:
    """Delete all jobs, so that each cut begins alike."""
    while jobs := await client.list(limit=1000):
        for job in jobs:
            await client.delete(job.id, force=True)


def moments(cuts: int, seed: int) -> Iterator[float]:
    """Return after how many seconds of load each cut comes."""
    source = random.Random(seed)
    return (source.uniform(3, 15) for _ in range(cuts))
