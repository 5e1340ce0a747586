"""Kill the server that gets webhooks, and the agent that posts them, again and again while jobs end."""

import asyncio
import contextlib
import random
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.support.plugin_site import BUILT_IN, install_plugin
from tests.torture import webhook_server
from tests.torture.outcome import Outcome
from tests.torture.victim import LIMIT, Victim

from jobworker.client import Client
from jobworker.errors import InvalidState, JobworkerError
from jobworker.model import JobSpec

PLUGIN = Path(__file__).parents[2] / "plugins" / "jobworker-webhook" / "jobworker_webhook.py"
AT_ONCE = 10  # jobs that are started together


class Receiver:
    """The server, in a process of its own, at a port that stays the same."""

    def __init__(self, file: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.file = file
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-I", "-S", webhook_server.__file__, str(self.port), str(self.file)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def taken(self) -> list[tuple[str, str]]:
        """Return the events that it has taken: their ids and their jobs."""
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return [(event, job) for event, _, job in (line.partition(" ") for line in lines)]


async def receiver_and_agent_die(path: Path, seed: int, jobs: int, kills: int) -> Outcome:
    """Post the end of each job; every fifth kill is of the agent, the others are of the server."""
    outcome = Outcome(f"the receiver of {jobs} webhooks, and each fifth time the agent (seed {seed})")
    chance = random.Random(seed)
    site = path.with_name(f"{path.name}-site")
    site.mkdir(parents=True)
    install_plugin(site, "webhook", PLUGIN.read_text(), "jobworker_webhook")
    receiver = Receiver(site / "taken")
    receiver.start()
    try:
        async with Victim(path, under=["env", f"PYTHONPATH={site}"], config=_config(receiver)) as victim:
            ended: set[str] = set()
            running = asyncio.create_task(_run(victim, jobs, ended))
            for number in range(kills):
                await asyncio.sleep(chance.random() * 0.2)
                if number % 5 == 4:
                    outcome.kills += victim.kill("agent") > 0
                    outcome.back.append(await victim.start())
                else:
                    receiver.kill()
                    outcome.kills += 1
                    await asyncio.sleep(chance.random() * 0.2)
                    receiver.start()
            await running
            async with asyncio.timeout(LIMIT):
                while missing := ended - {job for _, job in receiver.taken()}:  # noqa: ASYNC110  # a file
                    await asyncio.sleep(0.05)
    except TimeoutError:
        outcome.missed = len(missing)
    finally:
        receiver.kill()
    counts = Counter(event for event, _ in receiver.taken())
    outcome.notes.append(
        f"{len(ended)} events: {outcome.missed} lost, {sum(count > 1 for count in counts.values())} posted twice"
    )
    return outcome


def _config(receiver: Receiver) -> str:
    webhook = f'[plugins.webhook]\nurl = "http://127.0.0.1:{receiver.port}/"\nretry = "20ms"\n'
    return f'[plugins]\nenabled = [{BUILT_IN}, "webhook"]\n{webhook}'


async def _run(victim: Victim, jobs: int, ended: set[str]) -> None:
    """Run jobs to their ends, each once, whatever becomes of the agent meanwhile."""
    left = list(range(jobs))
    while left:
        with contextlib.suppress(OSError, JobworkerError):
            async with victim.agent.client() as client:
                while left:
                    ended |= set(await asyncio.gather(*(_end(client, number) for number in left[:AT_ONCE])))
                    del left[:AT_ONCE]
        await asyncio.sleep(0.02)


async def _end(client: Client, number: int) -> str:
    job = await client.create(JobSpec(argv=["true"]), key=f"webhook-{number}")
    with contextlib.suppress(InvalidState):  # it was started over a connection that was lost
        await client.start(job.id)
    await client.wait(job.id, LIMIT)
    return job.id
