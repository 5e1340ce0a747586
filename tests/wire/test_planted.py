"""The secrets of jobs are in no place but the jobs; `make hostile` prints the figure."""

from pathlib import Path

import pytest
from tests.hostile import planted
from tests.hostile.outcome import judge


@pytest.mark.slow
async def test_planted_secrets(tmp_path: Path) -> None:
    """Twenty, in every way and in jobs that end in every way, over kills of agent, keeper and pump."""
    judge(await planted.look(tmp_path / "planted"))
