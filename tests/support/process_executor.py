"""An executor whose engine is this host: each job is a process of its own, beside the agent, and outlives it.

The engine is a folder. `queue/ID` has one of its jobs, `switches/NAME` changes how it behaves:

| switch | effect |
|---|---|
| `hold` | jobs stay queued, for the reason that the file has, until it is removed |
| `down` | no call is answered, and nothing happens |
| `mute` | a submit is carried out, and not answered |
| `refuse` | a submit is refused, with the words that the file has |
| `slow` | each call takes the seconds that the file has |
| `forgetful` | the engine knows no job |
| `reuse` | the next job gets the id that the file has, even if another job had it |

As a script, ``process_executor.py ENGINE ID COMMAND…``, it is what slurmstepd is to Slurm: the parent of one runner.
"""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

KILL_GRACE = 5.0  # seconds between the engine's SIGTERM and its SIGKILL
HOLD_SECONDS = 0.02  # between two looks whether a job is still held
SUBMIT_SECONDS = 30.0  # for the submit that has started this process to write its pid
PR_SET_CHILD_SUBREAPER = 36


class Engine:
    """The folder of the engine, as tests and executor see it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.queue, self.switches = folder / "queue", folder / "switches"
        for path in (self.queue, self.switches):
            path.mkdir(parents=True, exist_ok=True)

    def switch(self, name: str, text: str = "") -> None:
        """Turn a switch on."""
        draft = self.folder / f".{name}"
        draft.write_text(text)
        draft.rename(self.switches / name)

    def unswitch(self, name: str) -> None:
        """Turn it off."""
        (self.switches / name).unlink(missing_ok=True)

    def switched(self, name: str) -> str | None:
        """Return the text of a switch; None if it is off."""
        try:
            return (self.switches / name).read_text()
        except FileNotFoundError:
            return None

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Return the jobs by the engine's id: `tag`, `step` and once it runs `runner` (pids), at the end `status`."""
        if self.switched("forgetful") is not None:
            return {}
        return {path.name: json.loads(path.read_text()) for path in self.queue.iterdir() if path.name.isdigit()}

    def put(self, engine_id: str, job: Mapping[str, Any]) -> None:
        draft = self.folder / f".{engine_id}.{threading.get_native_id()}"
        draft.write_text(json.dumps(job))
        draft.rename(self.queue / engine_id)

    def submit(self, tag: str, command: Sequence[str]) -> str:
        """Start a process that waits until the job is not held, and runs it; return the engine's id."""
        engine_id = self._new_id({"tag": tag, "step": 0})
        script = [sys.executable, os.path.abspath(__file__), str(self.folder), engine_id, *command]
        with open(self.folder / f"{tag}.log", "ab") as log:
            started = subprocess.run(  # through a shell, which leaves it to init
                ["/bin/sh", "-c", 'exec 3>&1 >&2; setsid "$@" 3>&- & echo $! >&3', "sh", *script],
                env={"PATH": os.defpath, "ENGINE_JOB_ID": engine_id},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd="/",
                check=True,
            )
        self.put(engine_id, {"tag": tag, "step": int(started.stdout)})
        return engine_id

    def _new_id(self, job: Mapping[str, Any]) -> str:
        if reused := self.switched("reuse"):
            self.unswitch("reuse")
            self.put(reused, job)
            return reused
        draft = self.folder / f".new.{threading.get_native_id()}"
        draft.write_text(json.dumps(job))
        for number in itertools.count(len(list(self.queue.iterdir())) + 1):
            try:
                os.link(draft, self.queue / str(number))
                break
            except FileExistsError:
                continue
        draft.unlink()
        return str(number)

    def kill_node(self, engine_id: str) -> None:
        """Kill -9 all that runs for a job, as if its node had lost power."""
        job = self.jobs()[engine_id]
        for pid in [job["step"], *_descendants(job["step"])]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def close(self) -> None:
        """Leave no process."""
        self.unswitch("forgetful")
        for engine_id, job in self.jobs().items():
            if job["step"] and _is_step(job["step"], self.folder):
                self.kill_node(engine_id)


class ProcessExecutor:
    """`users` is false: all runs as the user of the agent."""

    name = "process"
    kill_grace = KILL_GRACE
    users = False
    python = sys.executable

    def __init__(self, engine: Path, folder: Path) -> None:
        self.engine = Engine(engine)
        self.folder = str(folder)

    def check(self, options: Mapping[str, Any]) -> None:
        if unknown := sorted(options.keys() - {"partition"}):
            raise ValueError(f"{unknown[0]!r}: expected partition")

    async def submit(
        self, tag: str, command: Sequence[str], folder: str, need: Any, options: Mapping[str, Any]
    ) -> str:
        from jobworker.errors import StartError
        from jobworker.interfaces import ExecutorUnavailable

        await self._answer()
        if (words := self.engine.switched("refuse")) is not None:
            raise StartError(words)
        engine_id = await asyncio.to_thread(self.engine.submit, tag, command)
        if self.engine.switched("mute") is not None:
            raise ExecutorUnavailable("the engine does not answer")
        return engine_id

    async def find(self, prefix: str) -> Mapping[str, str]:
        await self._answer()
        return {job["tag"]: number for number, job in self.engine.jobs().items() if job["tag"].startswith(prefix)}

    async def poll(self, jobs: Mapping[str, str]) -> Mapping[str, Any]:
        await self._answer()
        known = self.engine.jobs()
        found = {tag: (number, known[number]) for tag, number in jobs.items() if number in known}
        return {tag: self._sight(job) for tag, (_, job) in found.items() if job["tag"] == tag}

    def _sight(self, job: Mapping[str, Any]) -> Any:
        from jobworker.interfaces import Phase, Sighting

        if (status := job.get("status")) is not None:
            code = os.waitstatus_to_exitcode(status)
            return Sighting(Phase.GONE, "here", exit_code=max(code, 0), signal=-code if code < 0 else None)
        if "runner" in job:
            alive = _is_step(job["step"], self.engine.folder)
            return Sighting(Phase.RUNNING, "here") if alive else Sighting(Phase.GONE, "here", "NODE_FAIL")
        reason = self.engine.switched("hold") or "Priority"
        return Sighting(Phase.QUEUED, reason=reason, starts=time.time() + 60)

    async def ring(self, tag: str, engine_id: str) -> None:
        await self._signal(tag, engine_id, "runner", signal.SIGUSR2)

    async def cancel(self, tag: str, engine_id: str) -> None:
        await self._signal(tag, engine_id, "step", signal.SIGTERM)

    async def _signal(self, tag: str, engine_id: str, whom: str, number: int) -> None:
        await self._answer()
        job = self.engine.jobs().get(engine_id, {})
        if job.get("tag") == tag and "status" not in job and job.get(whom):
            try:
                os.kill(job[whom], number)
            except ProcessLookupError:
                pass

    async def _answer(self) -> None:
        from jobworker.interfaces import ExecutorUnavailable

        await asyncio.sleep(float(self.engine.switched("slow") or 0))
        if self.engine.switched("down") is not None:
            raise ExecutorUnavailable("the engine is down")


def _is_step(pid: int, folder: Path) -> bool:
    """Whether a process is still the one that the engine started."""
    try:
        return os.fsencode(folder) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def _descendants(pid: int) -> list[int]:
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return children + [below for child in children for below in _descendants(child)]


def step(folder: str, engine_id: str, *command: str) -> None:
    """Run one job of the engine: hold it, start its runner, and write how that ended, when nothing of it is left."""
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    engine = Engine(Path(folder))
    cancelled: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: cancelled.append(number))
    until = time.monotonic() + SUBMIT_SECONDS
    while (job := json.loads((engine.queue / engine_id).read_text()))["step"] != os.getpid():
        if time.monotonic() > until:
            return  # its submit has died
        time.sleep(HOLD_SECONDS)
    while engine.switched("hold") is not None and not cancelled:
        time.sleep(HOLD_SECONDS)
    if cancelled:
        engine.put(engine_id, job | {"status": int(signal.SIGTERM)})
        return
    runner = os.posix_spawn(command[0], command, os.environ, setsid=True)
    engine.put(engine_id, job | {"runner": runner})
    kill_at = None
    while not (ended := os.waitpid(runner, os.WNOHANG))[0]:
        if cancelled and kill_at is None:
            kill_at = time.monotonic() + KILL_GRACE
            os.kill(runner, signal.SIGTERM)
        if kill_at is not None and time.monotonic() > kill_at:
            os.kill(runner, signal.SIGKILL)
        signal.sigtimedwait([], HOLD_SECONDS)
    for pid in _descendants(os.getpid()):
        os.kill(pid, signal.SIGKILL)
    engine.put(engine_id, job | {"runner": runner, "status": ended[1]})


if __name__ == "__main__":
    step(*sys.argv[1:])
