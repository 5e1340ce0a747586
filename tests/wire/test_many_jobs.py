"""Many jobs at once: nothing of them is left, and every limit of theirs fires."""

from pathlib import Path

import pytest
from tests.torture import stops, volume
from tests.torture.outcome import judge


async def test_nothing_is_left_of_many_jobs(tmp_path: Path) -> None:
    """No descriptor, thread, child, FIFO or cgroup more than before; running jobs are taken up again."""
    judge(await volume.many_jobs(tmp_path / "t", 300, 20))


@pytest.mark.slow
async def test_limits_due_together(tmp_path: Path) -> None:
    """None fires early, and all of them fire."""
    outcome = await stops.limits_are_due_together(tmp_path / "t", 100)
    judge(outcome)
    assert outcome.kills == 100
