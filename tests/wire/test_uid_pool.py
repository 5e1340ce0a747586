"""`users.pool`: each principal has a uid of its own, and its jobs are out of reach of those of the others."""

import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
from tests.wire.test_reach_of_a_job import PYTHON, REFUSED, SECRET, answers

from jobworker.testing import RunningAgent

if TYPE_CHECKING:
    from tests.support.wire import Dial, Wire

    from jobworker.paths import Home

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
UIDS = range(64000, 64003)
CONFIG = """
[users]
pool = "64000-64002"
"token:third" = ["daemon"]
"""


@pytest.fixture
async def pooled(home: "Home") -> AsyncIterator[RunningAgent]:
    agent = RunningAgent(home, CONFIG)
    agent.start()
    yield agent
    await agent.clean()


async def token(boss: "Wire", name: str, role: str = "writer") -> str:
    return str((await boss.ask("token.create", name=name, roles=[role]))["token"])


async def ids(wire: "Wire", **spec: Any) -> list[str]:
    """Return uid, gid, groups, name, home and folder of a job."""
    run = await wire.ask("job.run", spec={"shell": "id -u; id -g; id -G; echo $USER $HOME; pwd", **spec})
    return (await wire.follow(run["subscription"])).stdout.decode().splitlines()


async def test_each_principal_has_its_own(pooled: RunningAgent, dial: "Dial") -> None:
    """Admins too; the same after a restart; others cannot start its jobs; a principal too many is refused."""
    async with dial(pooled) as boss:
        first, second, third, fourth = [await token(boss, name) for name in ("first", "second", "third", "fourth")]
        operator = await token(boss, "op", "operator")
        async with dial(pooled, token=first) as ann, dial(pooled, token=second) as bob:
            hers, his = await ids(ann), await ids(bob)
            created = await ann.create(argv=["true"])
        uids = [hers[0], his[0]]
        assert len({*uids}) == 2
        assert {int(uid) for uid in uids} < {*UIDS}
        assert hers == [hers[0], hers[0], hers[0], f"{hers[0]} /", "/"]
        async with dial(pooled, token=operator) as other:
            error = await other.refused("job.start", id=created)
            assert error["code"] == 40301
        for denied in ({"user": "root"}, {"user": "daemon"}, {"user": int(his[0])}, {"group": "daemon"}):
            async with dial(pooled, token=first) as ann:
                assert (await ann.refused("job.create", spec={"shell": ":", **denied}))["code"] == 40301, denied
        assert (await ids(boss))[0] in map(str, UIDS)  # the last that is free
        assert (await ids(boss, user="root"))[0] == "0"
        async with dial(pooled, token=fourth) as late:
            error = await late.refused("job.create", spec={"shell": ":"})
            assert (error["code"], "all 3 uids are given" in error["message"]) == (40301, True)
        async with dial(pooled, token=third) as named:
            assert (await ids(named, user="daemon"))[0] == "1"
    pooled.end()
    pooled.start()
    async with dial(pooled, token=second) as bob, dial(pooled, token=first) as ann:
        assert [(await ids(ann))[0], (await ids(bob))[0]] == uids
        await ann.ask("job.start", id=created)
    assert "neither users.pool" not in pooled.home.agent_log.read_text()


@pytest.mark.skipif(not PYTHON, reason="there is no Python here for everyone")
async def test_one_cannot_reach_another(pooled: RunningAgent, dial: "Dial") -> None:
    """All attempts of a writer's job against that of another writer are refused."""
    async with dial(pooled) as boss:
        first, second = [await token(boss, name) for name in ("first", "second")]
        async with dial(pooled, token=first) as ann, dial(pooled, token=second) as bob:
            job = await ann.run(shell=SECRET)
            found = await answers(boss, pooled, job, bob)
            await ann.ask("job.stop", id=job["id"])  # it runs
    assert {attempt: answer for attempt, answer in found.items() if answer not in REFUSED} == {}
    assert len(found) > 200
