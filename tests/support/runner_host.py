"""Runners of job folders, started as an engine starts them: no agent, no Slurm, real processes."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.support.waiting import DEADLINE, alive, ends

from jobworker.formats import job_folder
from jobworker.formats.code import ROOT
from jobworker.host.journal import Ended, Journal, JournalEntry, Started
from jobworker.keeper import limits_v1
from jobworker.keeper.wire import decode
from jobworker.logs.reader import Chunk, LogReader

ONE_JOB = f"{ROOT}/keeper/one_job.py"
JOB = "0123456789ab"
R = TypeVar("R", bound=JournalEntry)
T = TypeVar("T")


class Run:
    """One job folder and its runner."""

    def __init__(self, folder: Path, command: list[str], **environment: str) -> None:
        self.folder = folder
        self.command = command
        self.environment = {"PATH": "/usr/bin:/bin", **environment}
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Start a runner; another one on the same folder is what a requeue of the engine does."""
        with open(self.folder / "runner.log", "ab") as log:
            return subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env=self.environment
            )

    def wait(self) -> int:
        """Return the exit code of the runner."""
        return self.process.wait(DEADLINE)

    def events(self) -> list[dict[str, Any]]:
        """Return the journal."""
        try:
            return [decode(line) for line in (self.folder / "journal").read_bytes().splitlines()]
        except FileNotFoundError:
            return []

    def event(self, name: str) -> dict[str, Any]:
        """Return the only event of that name as soon as the journal has it."""

        def find() -> dict[str, Any] | None:
            found = [event for event in self.events() if event["event"] == name]
            assert len(found) < 2
            return found[0] if found else None

        return self.until(find)

    def until(self, look: Callable[[], T | None]) -> T:
        """Return what `look` returns, asked again until it is there: a folder on another host announces nothing."""
        end = time.monotonic() + DEADLINE
        while (found := look()) is None:
            if time.monotonic() > end:
                raise TimeoutError((self.folder / "runner.log").read_text())
            select.select([], [], [], 0.01)
        return found

    def main(self) -> int:
        """Return the pid of the job's main process once it runs."""
        return int(self.event("started")["pid"])

    def records(self, kind: type[R]) -> list[R]:
        """Return the events of a kind as the agent reads them."""
        journal = Journal(self.folder / "journal")
        try:
            return [entry for entry in journal.read() if isinstance(entry, kind)]
        finally:
            journal.close()

    def output(self, stream: int = 0) -> bytes:
        """Return what the log has, as the agent reads it."""
        reader, data, offset = LogReader(self.folder / "logs" / JOB), b"", 0
        try:
            while chunk := reader.read(offset):
                assert isinstance(chunk, Chunk)
                data += chunk.data if chunk.stream == stream else b""
                offset = chunk.end
        finally:
            reader.close()
        return data

    def prints(self, text: bytes) -> None:
        """Return when the job has written this."""
        self.until(lambda: True if text in self.output() else None)

    def ask(self, number: int, *, ring: bool = True, **command: Any) -> dict[str, Any]:
        """Give a command, and return the answer."""
        job_folder.write_command(str(self.folder), number, command)
        if ring:
            self.process.send_signal(signal.SIGUSR2)
        return self.until(lambda: job_folder.read_answer(str(self.folder), number))


class RunnerHost:
    """A node."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runs: list[Run] = []

    def run(
        self,
        script: str,
        *args: str,
        folder: Path | None = None,
        environment: dict[str, str] | None = None,
        **more: Any,
    ) -> Run:
        """Start the runner of a job that executes a script of /bin/sh; `more` are fields of the launch."""
        message = {"argv": ["/bin/sh", "-c", script, "sh", *args], "env": {"PATH": "/usr/bin:/bin"}, "cwd": "/"}
        return self.launch(message | more.pop("message", {}), folder=folder, environment=environment, **more)

    def launch(
        self,
        message: dict[str, Any],
        *,
        folder: Path | None = None,
        environment: dict[str, str] | None = None,
        owner: tuple[int, int] | None = None,
        one_job: str = ONE_JOB,
        python: str = sys.executable,
        group: Path | None = None,
        **more: Any,
    ) -> Run:
        folder = folder or self.path / f"job-{len(self.runs)}"
        for name in (folder, *(folder / name for name in (job_folder.CONTROL, job_folder.ANSWERS, job_folder.LOGS))):
            name.mkdir(0o700, exist_ok=True)
        launch = {"tag": "jw-12345678-" + JOB, "id": JOB, "kill_grace": 4.0, "message": message, **more}
        job_folder.write_launch(str(folder), launch, owner=owner)
        if owner is not None:
            for path in (folder, *folder.iterdir()):
                os.chown(path, *owner)
        command = [python, "-I", "-S", one_job, str(folder)]
        if group is not None:
            command = ["/bin/sh", "-c", 'echo 0 > "$0/cgroup.procs" && exec "$@"', str(group), *command]
        run = Run(folder, command, **environment or {})
        self.runs.append(run)
        return run

    def close(self) -> None:
        """Leave no process and no run folder."""
        for run in self.runs:
            mains = [entry.pid for entry in run.records(Started)] if not run.records(Ended) else []
            for pid in [*descendants_of(run.process.pid), *mains]:
                if alive(pid):
                    os.kill(pid, signal.SIGKILL)
                    ends(pid)
            run.process.kill()
            run.process.wait(DEADLINE)
            print((run.folder / "runner.log").read_text())


def descendants_of(pid: int) -> list[int]:
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [below for child in children for below in (child, *descendants_of(child))]


@contextmanager
def memory_group(name: str, limit: int) -> Iterator[Path]:
    """Make a group with a limit of memory (bytes), as an engine does for its job; skip where that cannot be done."""
    above = limits_v1.own_folder("memory")
    if os.geteuid() or not above:
        pytest.skip("takes root, and a controller of memory of cgroup v1")
    group = Path(above, f"test-{name}-{os.getpid()}")
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(limit))
        yield group
    finally:
        group.rmdir()
