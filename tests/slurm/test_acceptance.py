"""The promises of jobs on Slurm, one test for each line of `lines.py`."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from tests.slurm.cluster import Cluster
from tests.slurm.lines import LINES
from tests.slurm.site import Site

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_site(_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with Site(_cluster, tmp_path_factory.mktemp("slurm")) as site:
        yield site


@pytest.mark.parametrize("line", LINES, ids=[line.__name__ for line in LINES])
async def test_line(line: Callable[[Site], Awaitable[str]], shared_site: Site, cluster: Cluster) -> None:
    print(await line(shared_site))
