"""A limit is looked at until it can be seen: want of a descriptor does not end it."""

import asyncio
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobworker.jobs import deadlines
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.record import JobRecord, ProcessRecord, new_id
from jobworker.model import Job, JobSpec, State


@pytest.fixture
def no_files() -> Iterator[None]:
    """Let this process open no file more, until the fixture is torn down."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, limits[1]))
    try:
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass
    yield
    for fd in held:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_no_file_can_be_opened(
    tmp_path: Path, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """A reading that failed is tried again, and then gives the facts."""
    for name in ("out", "err", "index"):
        (tmp_path / name).touch()
    job = Job(id=new_id(), name=None, state=State.RUNNING, spec=JobSpec(), owner="o", created_at="2026")
    activity = deadlines.ActivityReader(ActiveJob(JobRecord(job=job, process=ProcessRecord(started=1))), tmp_path)
    loop = asyncio.get_running_loop()
    request.getfixturevalue("no_files")
    looking = loop.create_task(deadlines._facts(activity, cpu=False))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert "Too many open files" in caplog.text
    assert not looking.done()
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    async with asyncio.timeout(10):
        assert (await looking).output_bytes == 0
