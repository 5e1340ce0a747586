"""Jobs of other users: an agent that is root, and Slurm, start them as these on the nodes."""

import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.slurm.cluster import Cluster
from tests.slurm.site import Site

pytestmark = pytest.mark.slow
SYSTEM = Path("/usr/bin/python3")


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A folder that every user can pass through."""
    closed = [each for each in tmp_path.parents if not each.stat().st_mode & stat.S_IXOTH]
    for each in closed:
        each.chmod(each.stat().st_mode | stat.S_IXOTH)
    tmp_path.chmod(0o711)
    yield tmp_path
    for each in closed:
        each.chmod(each.stat().st_mode & ~stat.S_IXOTH)


@pytest.mark.skipif(not SYSTEM.exists(), reason=f"{SYSTEM} is not there, which every user can execute")
async def test_a_job_of_another_user(cluster: Cluster, path: Path) -> None:
    site = Site(cluster, path)
    site.agent.config = site.agent.config.replace(sys.executable, str(SYSTEM))
    async with site:
        job = await site.start(["sh", "-c", "id -u; exit 3"], user="nobody", cwd="/")
        end = await site.end(job)
        assert (end["exit"]["code"], (await site.log(job))["stdout"]) == (3, b"65534\n"), end["exit"]
        job = await site.start(
            ["sh", "-c", "trap '' TERM; echo x; while :; do sleep 1; done"], user="nobody", cwd="/"
        )
        await site.until_state(job, "running")
        stopped = await site.client.call("job.stop", id=job, stop={"grace": "1s"})
        assert (stopped["exit"]["reason"], stopped["exit"]["receipt"]["survivors"]) == ("stopped", [])


async def test_a_node_without_the_interpreter(cluster: Cluster, path: Path) -> None:
    """The job is lost, for the reason that the shell on the node has printed."""
    site = Site(cluster, path)
    site.agent.config = site.agent.config.replace(sys.executable, "/opt/no/python3")
    async with site:
        end = await site.end(await site.start(["true"]))
        assert end["state"] == "lost"
        assert "it never began to run" in end["exit"]["message"]
        assert "/opt/no/python3: not found" in end["exit"]["message"]
