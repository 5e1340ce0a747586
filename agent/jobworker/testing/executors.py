"""What every executor must do, tried on its real engine with real jobs::

    def test_the_contract(cluster: Cluster) -> None:
        check_executor(Slurm(cluster.folder), options={"partition": "debug"})

Each job has a folder of its own and the runner of this version, as the agent gives them to it.
"""

import asyncio
import math
import os
import secrets
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from jobworker.executors import Executor, Need, Phase, Sighting
from jobworker.formats import job_folder
from jobworker.jobs.remote import runner
from jobworker.model import LOCAL
from jobworker.plugin.loader import NAME
from jobworker.testing.contracts import UNKNOWN

T = TypeVar("T")
PAUSE_SECONDS = 0.2  # between two questions to the engine
CALL_SECONDS = 30.0  # for one call: the agent would give it up
AT_ONCE = 6  # jobs that are submitted together
SLACK_SECONDS = 15.0  # beyond `kill_grace` for an engine to end a job
SCRIPT = 'echo "$0"; exit "$1"'
DEAF = "trap '' TERM; echo deaf; while :; do sleep 1; done"


def check_executor(
    executor: Executor, options: Mapping[str, Any] | None = None, *, need: Need | None = None, seconds: float = 120.0
) -> None:
    """Raise AssertionError, with what was expected, if an executor does not keep what the agent relies on.

    `options` are those with which a job runs at once, in `seconds` at most. It makes about ten short jobs.
    """
    _check_attributes(executor)
    _check_options(executor, options or {})
    # Without an error of the clean-up, which would hide what was found: a job that is being ended may still write.
    with tempfile.TemporaryDirectory(prefix="contract-", dir=executor.folder, ignore_cleanup_errors=True) as agent:
        trial = _Trial(executor, options or {}, need or Need(), agent, seconds)
        asyncio.run(trial.run())


def _check_attributes(executor: Executor) -> None:
    assert NAME.fullmatch(executor.name), f"name {executor.name!r}: expected what matches {NAME.pattern}"
    assert executor.name != LOCAL, f"name: {LOCAL!r} is the agent's own"
    grace = executor.kill_grace
    assert math.isfinite(grace), f"kill_grace {grace!r}: expected seconds"
    assert grace >= 1, f"kill_grace {grace!r}: a job needs at least a second to end by itself"
    assert isinstance(executor.users, bool), f"users {executor.users!r}: expected true or false"
    for name, path in (("folder", executor.folder), ("python", executor.python)):
        assert os.path.isabs(path), f"{name} {path!r}: expected an absolute path"
    assert os.path.isdir(executor.folder), f"folder {executor.folder!r}: expected a folder that is there"


def _check_options(executor: Executor, options: Mapping[str, Any]) -> None:
    executor.check(options)
    try:
        executor.check({**options, **UNKNOWN})
    except ValueError as error:
        fault = str(error)
    else:
        raise AssertionError(f"check: {UNKNOWN} was accepted; expected ValueError")
    assert fault, "check: expected a text with what is wrong in the ValueError"


class _Trial:
    """The jobs of one check. `agent` is the folder that an agent would have in the shared folder."""

    def __init__(
        self, executor: Executor, options: Mapping[str, Any], need: Need, agent: str, seconds: float
    ) -> None:
        self._executor = executor
        self._options = options
        self._need = need
        self._agent = os.path.basename(agent)
        self._end = time.monotonic() + seconds
        self._prefix = f"jw-{secrets.token_hex(4)}-"
        self._jobs: dict[str, str] = {}  # the engine's ids by tag

    async def run(self) -> None:
        executor = self._executor
        await asyncio.to_thread(runner.prepare, executor.folder, self._agent, users=executor.users)
        try:
            await self._nothing()
            await self._many()
            await self._ends_as_the_job_does()
            await self._signals()
        finally:
            for tag, engine_id in self._jobs.items():
                await self._call(executor.cancel(tag, engine_id))

    async def _nothing(self) -> None:
        """An engine that has no job of ours has an answer too."""
        assert await self._call(self._executor.find(self._prefix)) == {}, "find: expected nothing for a new prefix"
        assert await self._call(self._executor.poll({})) == {}, "poll: expected nothing for no job"

    async def _many(self) -> None:
        """Jobs that are submitted at once run once each, and are found by their tags."""
        tags = [self._prefix + secrets.token_hex(6) for _ in range(AT_ONCE)]
        folders = await asyncio.gather(*(self._submit(tag, SCRIPT, tag, str(code)) for code, tag in enumerate(tags)))
        assert all(self._jobs[tag] for tag in tags), "submit: expected the engine's id, a text that is not empty"
        assert len({self._jobs[tag] for tag in tags}) == AT_ONCE, "submit: two jobs at once got the same id"
        found = await self._call(self._executor.find(self._prefix))
        lost = [tag for tag in found if found[tag] != self._jobs.get(tag)]
        assert not lost, f"find: {lost} with other ids than submit has returned"
        for code, (tag, folder) in enumerate(zip(tags, folders, strict=True)):
            events = await self._until(lambda folder=folder: _ended(folder), f"the job {tag} has not ended")  # type: ignore[misc]
            starts = [event for event in events if event["event"] == "started"]
            assert len(starts) == 1, f"the job {tag} was started {len(starts)} times"
            assert _last(events, "ended")["code"] == code, f"the job {tag} ended with another code than {code}"
            printed = Path(folder, "logs", _id(tag), "out").read_text()
            assert printed == f"{tag}\n", "the runner got another command than submit did"

    async def _ends_as_the_job_does(self) -> None:
        """A job is seen queued or running, then gone or not at all; and only by its own tag."""
        tag = self._prefix + secrets.token_hex(6)
        folder = await self._submit(tag, "echo begun; read line < $0; exit 7", f"{self._home()}/fifo-{tag}")
        seen = await self._until_async(lambda: self._sight(tag, Phase.RUNNING), "the job was never seen running")
        assert isinstance(seen.node, str), f"node {seen.node!r}: expected a text"
        assert isinstance(seen.reason, str), f"reason {seen.reason!r}: expected a text"
        assert tag in await self._call(self._executor.find(tag)), "find: a job that runs was not found by its tag"
        other = await self._call(self._executor.poll({tag + "x": self._jobs[tag]}))
        assert other == {}, "poll: an id with the tag of another job was reported; engines use their ids again"
        await self._until(lambda: _last(_events(folder), "started") or None, "the runner has not started the job")
        await asyncio.to_thread(Path(f"{self._home()}/fifo-{tag}").write_text, "on\n")
        await self._until(lambda: _ended(folder), "the job has not ended")
        gone = await self._until_async(lambda: self._sight(tag, Phase.GONE, None), "a job that has ended is not gone")
        assert gone.exit_code in (None, 7), f"exit_code {gone.exit_code}: expected 7, or None if it is not known"

    async def _signals(self) -> None:
        """A ring reaches the runner or does nothing; the last resort ends the job, and its runner has the record."""
        tag = self._prefix + secrets.token_hex(6)
        folder = await self._submit(tag, DEAF)
        await self._until(lambda: _last(_events(folder), "started") or None, "the runner has not started the job")
        job_folder.write_command(folder, 1, {"op": "signal", "signal": 0, "target": "main"})
        await self._call(self._executor.ring(tag, self._jobs[tag]))
        answer = await self._until(lambda: job_folder.read_answer(folder, 1), "the runner does not answer")
        assert answer == {"delivered": 1}, "the runner does not live on after a ring"
        await self._call(self._executor.cancel(tag + "x", self._jobs[tag]))
        await asyncio.sleep(1)
        assert not _last(_events(folder), "ended"), "cancel: an id with the tag of another job ended the job"
        began = time.monotonic()
        await self._call(self._executor.cancel(tag, self._jobs[tag]))
        gone = await self._until_async(lambda: self._sight(tag, Phase.GONE, None), "cancel: the job is not gone")
        took, most = time.monotonic() - began, self._executor.kill_grace + SLACK_SECONDS
        assert took <= most, f"cancel: the job was gone after {took:.0f} s, expected at most {most:.0f}"
        ended = _last(_events(folder), "ended")
        assert ended, "cancel: no record of the end: SIGKILL came before `kill_grace` was over, or without SIGTERM"
        assert ended["signal"] == signal.SIGKILL, f"cancel: the job ended with {ended}, expected SIGKILL"
        assert gone.phase == Phase.GONE
        await self._call(self._executor.cancel(tag, self._jobs[tag]))  # again: there is nothing to end

    # Parts

    def _home(self) -> str:
        return f"{self._executor.folder}/{self._agent}"

    async def _submit(self, tag: str, script: str, *args: str) -> str:
        """Submit a job that executes a script of /bin/sh; return its folder."""
        folder = f"{self._home()}/{_id(tag)}"
        for path in (folder, *(f"{folder}/{name}" for name in ("control", "answers", "logs"))):
            os.mkdir(path, 0o700)
        for word in args:
            if "/fifo-" in word:
                os.mkfifo(word)
        message = {"id": _id(tag), "argv": ["/bin/sh", "-c", script, *args], "env": {"PATH": os.defpath}, "cwd": "/"}
        launch = {"tag": tag, "id": _id(tag), "message": message, "kill_grace": self._executor.kill_grace}
        job_folder.write_launch(folder, launch)
        program = runner.program(self._executor.folder, self._agent)
        command: Sequence[str] = [self._executor.python, "-I", "-S", program, folder]
        self._jobs[tag] = await self._call(self._executor.submit(tag, command, folder, self._need, self._options))
        return folder

    async def _sight(self, tag: str, *phases: Phase | None) -> Sighting | None:
        """Return what the engine reports of a job in one of these phases; None stands for a job it does not know."""
        found = await self._call(self._executor.poll({tag: self._jobs[tag], self._prefix + "none": "0"}))
        assert found.keys() <= {tag}, f"poll: {sorted(found)} was reported, expected {tag} or nothing"
        sighting = found.get(tag)
        if sighting is None:
            return Sighting(Phase.GONE) if None in phases else None
        assert isinstance(sighting, Sighting), f"poll: {sighting!r}, expected a Sighting"
        return sighting if sighting.phase in phases else None

    async def _call(self, call: Awaitable[T]) -> T:
        async with asyncio.timeout(CALL_SECONDS):
            return await call

    async def _until(self, look: Callable[[], T | None], fault: str) -> T:
        async def ask() -> T | None:
            return look()

        return await self._until_async(ask, fault)

    async def _until_async(self, look: Callable[[], Awaitable[T | None]], fault: str) -> T:
        while (found := await look()) is None:
            assert time.monotonic() < self._end, fault
            await asyncio.sleep(PAUSE_SECONDS)
        return found


def _id(tag: str) -> str:
    return tag.rpartition("-")[2]


def _events(folder: str) -> list[dict[str, Any]]:
    try:
        with open(f"{folder}/{job_folder.JOURNAL}", "rb") as file:
            return [job_folder.decode(line) for line in file.read().split(b"\n")[:-1]]
    except FileNotFoundError:
        return []


def _ended(folder: str) -> list[dict[str, Any]] | None:
    """Return the journal of a job whose processes are gone, and whose output is written."""
    events = _events(folder)
    return events if {"gone", "closed"} <= {event["event"] for event in events} else None


def _last(events: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next((event for event in reversed(events) if event["event"] == name), {})
