"""Plant secrets in jobs in every way there is, let the jobs end in every way, and look for them everywhere."""

import asyncio
import base64
import contextlib
import json
import os
import re
import resource
import secrets
import ssl
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import RunningAgent
from tests.hostile.outcome import Outcome
from tests.support.waiting import ends, until

from jobworker.client import Client
from jobworker.config import BUILT_IN
from jobworker.errors import ExecFailed
from jobworker.model import Job, JobSpec, SecretRef
from jobworker.paths import Home

MANY = 20
WAYS = ("value", "file", "env", "command", "value in a file", "provider in a file")
FATES = ("ends", "fails", "stopped", "killed", "core", "timeout", "start_failed", "lost", "deleted", "survives")
SHOWS = """[ -z "$F" ] || cat "$F"; echo "<$A>"; echo "$A" >&2; printf %s "$A" | base64; """
DOES = {
    "ends": SHOWS,
    "fails": SHOWS + "exit 3",
    "killed": SHOWS + "kill -9 $$",
    "core": SHOWS + "ulimit -c unlimited; kill -SEGV $$",
}


@dataclass
class Secret:
    """One secret: the value, how the job gets it, and how the job ends."""

    number: int
    value: str
    way: str
    fate: str

    @property
    def forms(self) -> list[bytes]:
        """The value as it is, in hexadecimal, and in base64 at each place of a triple."""
        data = self.value.encode()
        encoded = [base64.b64encode(b"\0" * before + data)[4:-4] for before in range(3)]
        return [data, data.hex().encode(), *encoded]


class Planted:
    """An agent, the jobs that have the secrets, and the places in which the secrets must not be."""

    def __init__(self, path: Path, outcome: Outcome) -> None:
        self._outcome = outcome
        self._given = path / "given"  # what the operator has put there for the providers: it has secrets
        self._jobs = path / "jobs"  # the folder of the jobs, with the cores that are theirs
        self.cores = 0  # of the agent, the keeper and the pump
        for folder in (path, self._given, self._jobs):
            folder.mkdir(parents=True)
        self.secrets = [
            Secret(number, f"pl4nted-{number:02}-{secrets.token_hex(8)}", WAYS[number % 6], FATES[number % 10])
            for number in range(MANY)
        ]
        self._any = re.compile(b"|".join(re.escape(form) for secret in self.secrets for form in secret.forms))
        enabled = [*BUILT_IN, "secrets"]
        config = f"""
[agent]
log_level = "debug"
[plugins]
enabled = {enabled}
[plugins.secrets]
folder = "{self._given}"
env = ["PLANTED_*"]
command = ["cat", "{self._given}/{{name}}"]
"""
        self.agent = RunningAgent(Home(path / "home"), config=config)
        self._environment = {
            f"PLANTED_{secret.number}": secret.value for secret in self.secrets if secret.way == "env"
        }
        for secret in self.secrets:
            (self._given / str(secret.number)).write_text(secret.value)

    def start(self) -> None:
        """Start the agent; it may dump cores, of any size."""
        os.environ.update(self._environment)
        try:
            self.agent.start()
        finally:
            for name in self._environment:
                del os.environ[name]
        unlimited = resource.RLIM_INFINITY
        with contextlib.suppress(PermissionError):  # of a plain user, whose limit may be lower
            resource.prlimit(self.agent.pid, resource.RLIMIT_CORE, (unlimited, unlimited))

    def spec(self, secret: Secret) -> JobSpec:
        """Return the spec of the job that has a secret."""
        references = {
            "file": SecretRef("file", str(secret.number)),
            "env": SecretRef("env", f"PLANTED_{secret.number}"),
            "command": SecretRef("command", str(secret.number)),
            "provider in a file": SecretRef("file", str(secret.number)),
        }
        given = {"A": references.get(secret.way, secret.value)}
        in_file = secret.way.endswith("in a file")
        shell = DOES.get(secret.fate, SHOWS + "exec sleep 1000")
        program: dict[str, Any] = (
            {"argv": ["/no/such/program"]} if secret.fate == "start_failed" else {"shell": shell}
        )
        return JobSpec(
            **program,
            secrets={} if in_file else given,
            secret_files={"F": given["A"]} if in_file else {},
            cwd=str(self._jobs),
            timeout="500ms" if secret.fate == "timeout" else None,
            labels={"fate": secret.fate},
        )

    async def plant(self, client: Client) -> dict[int, Job]:
        """Create a job for each secret, and start all but those that are to be deleted; return those that run."""
        running = {}
        for secret in self.secrets:
            self._outcome.cases += 1
            job = await client.create(self.spec(secret))
            if secret.fate == "deleted":
                await client.delete(job.id)
                continue
            with contextlib.suppress(ExecFailed):
                running[secret.number] = await client.start(job.id)
        return running

    def of(self, fate: str, running: dict[int, Job]) -> list[Job]:
        return [job for number, job in running.items() if self.secrets[number].fate == fate]

    def dump(self, role: str, pid: int) -> None:
        """End a process of the agent by a signal that dumps a core, and look into that."""
        cwd = Path(os.readlink(f"/proc/{pid}/cwd"))
        names = [cwd / name for name in ("core", f"core.{pid}")]
        before = [name for name in names if name.exists()]
        with contextlib.suppress(PermissionError):
            resource.prlimit(pid, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        os.kill(pid, 11)
        if self.agent.process is not None and pid == self.agent.pid:
            self.agent.process.wait()
        assert ends(pid)
        for core in names:
            if core.exists() and core not in before:
                self.cores += 1
                if role != "keeper":  # its may have those of the last launches: jobs inherit what it leaves out
                    self._judge(f"a core of the {role}", core.read_bytes())
                core.unlink()

    # Places

    def look_at_processes(self, when: str, pids: dict[str, int]) -> None:
        """Look into the environment and the command line of the agent, the keeper and the pump; all command lines."""
        for role, pid in pids.items():
            content = Path(f"/proc/{pid}/environ").read_bytes()
            if role == "agent":  # the operator has put some there, for the provider `env`
                content = b"\0".join(part for part in content.split(b"\0") if not part.startswith(b"PLANTED_"))
            self._judge(f"{when}: the environment of the {role}", content)
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                self._judge(f"{when}: a command line", path.read_bytes())

    def look_at_files(self, when: str, *, but: str = "") -> int:
        """Look into each file of the agent; return how many there are. `but`: where the secrets are meant to be."""
        run = self.agent.home.run_folder()
        files = [
            path
            for top in (self.agent.home.path, run, run.with_name(f"{run.name}.files"))
            for path in top.rglob("*")
            if path.is_file() and not (but and re.search(but, str(path)))
        ]
        for path in files:
            with contextlib.suppress(FileNotFoundError):
                self._judge(f"{when}: {path.relative_to('/')}", path.read_bytes())
        return len(files)

    async def look_at_answers(self, when: str, client: Client, running: dict[int, Job]) -> None:
        """Look into what each method returns about the jobs, the events, the audit log and the metrics."""
        for job in running.values():
            for method in ("job.status", "job.explain", "log.read"):
                self._judge(f"{when}: {method}", json.dumps(await client.call(method, id=job.id)).encode())
        calls: tuple[tuple[str, dict[str, Any]], ...] = (
            ("job.list", {"limit": 1000}),
            ("audit.list", {"limit": 1000}),
            ("agent.info", {}),
            ("plugin.list", {}),
        )
        for method, params in calls:
            self._judge(f"{when}: {method}", json.dumps(await client.call(method, **params)).encode())
        self._judge(f"{when}: /metrics", await asyncio.to_thread(self._metrics))
        events = await client.events(0)
        last = max([job.revision for job in await client.list(limit=1000)], default=0)
        async for event in events:
            self._judge(f"{when}: an event", repr(event).encode())
            if event.revision >= last:
                break

    def _metrics(self) -> bytes:
        url = f"{self.agent.url}/metrics"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self.agent.token}"})
        with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=self.agent.ca)) as answer:
            return bytes(answer.read())

    def _judge(self, where: str, content: bytes) -> None:
        if match := self._any.search(content):
            number = next(each.number for each in self.secrets if match[0] in each.forms)
            secret = self.secrets[number]
            self._outcome.broken.append(f"{where} has the secret of a job ({secret.way}, {secret.fate})")


async def look(path: Path) -> Outcome:
    """Plant the secrets; look while the jobs run, over deaths of all, and when they have ended."""
    outcome = Outcome("planted")
    planted = Planted(path, outcome)
    agent = planted.agent
    await asyncio.to_thread(planted.start)
    async with agent.client() as client:
        keeper = (await client.call("agent.info"))["keeper"]
        pids = {"agent": agent.pid, "keeper": keeper["pid"], "pump": keeper["pump"]}
        running = await planted.plant(client)
        for job in planted.of("stopped", running):
            await client.stop(job.id)
        for fate in ("ends", "fails", "killed", "core", "timeout"):
            for job in planted.of(fate, running):
                await client.wait(job.id, 60)
        pids["pump"] = (await client.call("agent.info"))["keeper"]["pump"]
        for job in planted.of("ends", running) + planted.of("fails", running):
            text = json.dumps(await client.call("log.read", id=job.id))
            outcome.require("***" in text, f"job {job.id} ({job.labels['fate']}) has not printed its secret")
        planted.look_at_processes("while they run", pids)
        planted.look_at_files("while they run", but=r"/(secrets|\S+\.files|files)/")
        await planted.look_at_answers("while they run", client, running)
    lost = [job.pid for job in planted.of("lost", running)]
    for role in ("pump", "agent", "keeper"):
        planted.dump(role, pids[role])
    for pid in lost:
        assert pid is not None
        os.kill(pid, 9)
        assert ends(pid)
    planted.look_at_files("when all are dead", but=r"/(secrets|\S+\.files|files)/")
    await asyncio.to_thread(planted.start)
    async with agent.client() as client:
        for job in planted.of("survives", running):
            await client.stop(job.id)
        for job in running.values():
            await client.wait(job.id, 60)
        await planted.look_at_answers("when they have ended", client, running)
    run = agent.home.run_folder()
    await until(lambda: not [*run.glob("secrets/*"), *run.with_name(f"{run.name}.files").glob("*")])
    files = planted.look_at_files("when they have ended")
    await agent.clean()
    planted.look_at_files("when the agent has ended")
    found = len(outcome.broken)
    ways = f"{len(WAYS)} ways and {len(FATES)} fates"
    outcome.notes.append(f"{MANY} secrets in {ways}, {files} files, {planted.cores} cores: found {found}")
    return outcome
