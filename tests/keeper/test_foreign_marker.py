"""The marker of a job in the environment of another user's process: that user can set it, and it means nothing."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from jobworker.host.sweep import sweep
from jobworker.linux.proc import MARKER

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes of other users")
JOB, MINE, OTHER = "0123456789ab", 54321, 54322  # an id, and uids


@pytest.fixture
def marked() -> Iterator[dict[int, int]]:
    """Return by uid the pid of a process that has the marker, in a session of its own."""
    started = {}
    for uid in (0, MINE, OTHER):
        started[uid] = subprocess.Popen(
            ["/bin/sh", "-c", "echo; read line"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={MARKER: JOB},
            cwd="/",
            start_new_session=True,
            user=uid,
            group=uid,
            extra_groups=[],
        )
    for process in started.values():
        assert process.stdout is not None
        process.stdout.readline()
    yield {uid: process.pid for uid, process in started.items()}
    for process in started.values():
        process.communicate(b"\n")


def test_whose_marker_counts(marked: dict[int, int]) -> None:
    """That of the job's user and of root, who may have changed to it; without a known user everybody's."""
    assert {process.pid for process in sweep(JOB, 0, uid=MINE)} == {marked[0], marked[MINE]}
    assert {process.pid for process in sweep(JOB, 0)} == {*marked.values()}
