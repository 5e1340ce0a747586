"""The contract of executors: one that keeps it passes, and each lapse is named."""

import asyncio
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.process_executor import ProcessExecutor

from jobworker.interfaces import Phase, Sighting
from jobworker.testing import check_executor


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Return the folder of an engine, and the one that its jobs share with the agent."""
    shared = tmp_path / "shared"
    shared.mkdir()
    yield tmp_path / "engine", shared
    ProcessExecutor(tmp_path / "engine", shared).engine.close()


class Twice(ProcessExecutor):
    """Asks again without asking whether there is one."""

    async def submit(self, tag: str, command: Sequence[str], *rest: Any) -> str:
        await asyncio.to_thread(self.engine.submit, tag, command)
        return await super().submit(tag, command, *rest)


class ById(ProcessExecutor):
    """Believes that an id of the engine is one job's for ever."""

    async def poll(self, jobs: Mapping[str, str]) -> Mapping[str, Any]:
        known = self.engine.jobs()
        return {tag: self._sight(known[number]) for tag, number in jobs.items() if number in known}


class AtOnce(ProcessExecutor):
    """Ends a job without the time that `kill_grace` promises."""

    async def cancel(self, tag: str, engine_id: str) -> None:
        if self.engine.jobs()[engine_id]["tag"] == tag:
            self.engine.kill_node(engine_id)


class Never(ProcessExecutor):
    """Reports a job that has ended as if it still ran."""

    def _sight(self, job: Mapping[str, Any]) -> Any:
        return Sighting(Phase.RUNNING) if "status" in job else super()._sight(job)


class Deaf(ProcessExecutor):
    """Rings with a signal that means something else."""

    async def ring(self, tag: str, engine_id: str) -> None:
        await self._signal(tag, engine_id, "runner", signal.SIGKILL)


def test_an_executor_that_keeps_it_passes(folders: tuple[Path, Path]) -> None:
    """And what the check has made is gone afterwards."""
    check_executor(ProcessExecutor(*folders), {"partition": "debug"})
    assert not [*folders[1].iterdir()]
    jobs = ProcessExecutor(*folders).engine.jobs()
    assert len(jobs) == 8
    assert all("status" in job for job in jobs.values())


@pytest.mark.parametrize(
    ("attributes", "fault"),
    [
        ({"name": "local"}, "'local' is the agent's own"),
        ({"name": "a b"}, "expected what matches"),
        ({"kill_grace": 0.0}, "at least a second"),
        ({"folder": "shared"}, "expected an absolute path"),
        ({"python": "python3"}, "expected an absolute path"),
        ({"users": 1}, "expected true or false"),
        ({"check": lambda options: None}, "expected ValueError"),
    ],
)
def test_a_wrong_attribute_is_named(folders: tuple[Path, Path], attributes: dict[str, Any], fault: str) -> None:
    executor = ProcessExecutor(*folders)
    for name, value in attributes.items():
        setattr(executor, name, value)
    with pytest.raises(AssertionError, match=fault):
        check_executor(executor)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("executor", "fault"),
    [
        (Twice, "with other ids than submit has returned"),
        (ById, "with the tag of another job"),
        (AtOnce, "no record of the end"),
        (Never, "a job that has ended is not gone"),
        (Deaf, "the runner does not answer"),
    ],
)
def test_a_lapse_is_named(folders: tuple[Path, Path], executor: type[ProcessExecutor], fault: str) -> None:
    with pytest.raises(AssertionError, match=fault):
        check_executor(executor(*folders), seconds=12)
