"""`[limits.roles.NAME]`: what a role allows at most; what goes beyond is refused with the key of the limit."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import FOR_OTHERS

if TYPE_CHECKING:
    from tests.support.wire import Dial, Wire

    from jobworker.testing import RunningAgent

CONFIG = f"""{FOR_OTHERS}
[limits.roles.writer]
grace = "20s"
time = "1h"
log = "1MiB"
labels = 2
policies = 1

[limits.roles.busy]
running = 1
created = 2

[limits.roles.hasty]
starts_per_second = 0.01

[limits.roles.sized]
memory = "64MiB"
pids = 20
cpus = 0.5

[plugins.roles.busy]
look = "own"
control = "own"
create = true

[plugins.roles.hasty]
look = "own"
control = "own"
create = true

[plugins.roles.sized]
look = "own"
control = "own"
create = true
"""
STEP = {"signal": "TERM", "grace": "9s"}
LADDER = {"strategy": "ladder", "options": {"steps": [STEP, STEP, STEP, {"signal": "KILL"}]}}  # 27 s


@pytest.fixture(scope="module")
def agent(start_agent: "Callable[..., RunningAgent]") -> "RunningAgent":
    return start_agent(config=CONFIG)


async def of_role(agent: "RunningAgent", dial: "Dial", name: str, *roles: str) -> str:
    async with dial(agent) as root:
        return str((await root.ask("token.create", name=name, roles=list(roles)))["token"])


@pytest.mark.parametrize(
    ("more", "limit"),
    [
        ({"stop": {"grace": "3650d"}}, "grace"),
        ({"stop": LADDER}, "grace"),
        ({"stop": {"strategy": "command", "options": {"argv": ["true"], "timeout": "21s"}}}, "grace"),
        ({"timeout": "61m"}, "time"),
        ({"timeout": None}, "time"),
        ({"log": {"max_bytes": "2MiB"}}, "log"),
        ({"labels": {"a": "", "b": "", "c": ""}}, "labels"),
        ({"timeout_policies": [{"policy": "idle", "options": {"limit": 5}}] * 2}, "policies"),
    ],
    ids=str,
)
async def test_a_spec_beyond(agent: "RunningAgent", dial: "Dial", more: dict[str, Any], limit: str) -> None:
    """It is refused with the key of the limit; the same spec of an admin is accepted."""
    token = await of_role(agent, dial, f"beyond {limit} {sorted(more)} {len(str(more))}", "writer")
    spec = {"argv": ["true"], **more}
    async with dial(agent, token=token) as wire, dial(agent) as root:
        error = await wire.refused("job.create", spec=spec)
        assert (error["code"], error["data"]["limit"]) == (40301, f"limits.roles.writer.{limit}")
        assert f"limits.roles.writer.{limit} allows at most" in error["message"]
        await root.ask("job.create", spec=spec)


async def test_a_spec_that_leaves_it_open(agent: "RunningAgent", dial: "Dial") -> None:
    """It gets the maximum if the default is more; with a key it is the same spec at each call."""
    async with dial(agent, token=await of_role(agent, dial, "open", "writer")) as wire:
        spec = {"argv": ["true"]}
        job = await wire.ask("job.create", spec=spec, key="k")
        assert (job["spec"]["timeout"], job["spec"]["log"]["max_bytes"]) == (3600, 1 << 20)
        assert "stop" not in job["spec"]  # the default grace is less
        assert (await wire.ask("job.create", spec=spec, key="k"))["id"] == job["id"]
        least = {"timeout": 5, "log": {"max_bytes": "64KiB"}, "stop": {"grace": "20s"}}
        job = await wire.ask("job.create", spec=spec | least)
        assert job["spec"]["timeout"] == 5


async def test_a_call_beyond(agent: "RunningAgent", dial: "Dial") -> None:
    """A stop and an update have the same limits; what an update does not name does not count."""
    async with dial(agent, token=await of_role(agent, dial, "calls", "writer")) as wire, dial(agent) as root:
        job = (await wire.run(argv=["sleep", "1000"]))["id"]
        for stop in ({"grace": "1h"}, LADDER):
            error = await wire.refused("job.stop", id=job, stop=stop)
            assert (error["code"], error["data"]["limit"]) == (40301, "limits.roles.writer.grace")
        for change, limit in (({"timeout": None}, "time"), ({"labels": {"a": "", "b": "", "c": ""}}, "labels")):
            error = await wire.refused("job.update", id=job, **change)
            assert (error["code"], error["data"]["limit"]) == (40301, f"limits.roles.writer.{limit}")
        await root.ask("job.update", id=job, timeout=None)
        await wire.ask("job.update", id=job, labels={"a": ""})
        await wire.ask("job.stop", id=job, stop={"grace": "1s"})


async def test_resources(agent: "RunningAgent", dial: "Dial") -> None:
    async with dial(agent, token=await of_role(agent, dial, "sized", "sized")) as wire:
        if {"memory", "pids", "cpus"} - set((await wire.ask("agent.info"))["capabilities"]["limits"]):
            pytest.skip("this host cannot limit them")
        for limits in ({"memory": "65MiB"}, {"pids": 21}, {"cpus": 0.6}):
            error = await wire.refused("job.create", spec={"argv": ["true"], "limits": limits})
            assert error["data"]["limit"] == f"limits.roles.sized.{next(iter(limits))}"
        job = await wire.run(argv=["sleep", "1000"], limits={"pids": 5})
        assert job["spec"]["limits"] == {"memory": 64 << 20, "pids": 5, "cpus": 0.5}
        error = await wire.refused("job.update", id=job["id"], limits={"memory": None})
        assert error["data"]["limit"] == "limits.roles.sized.memory"
        await wire.ask("job.stop", id=job["id"])


async def test_several_roles(agent: "RunningAgent", dial: "Dial") -> None:
    """The widest holds: a role without a table has no limit."""
    async with dial(agent, token=await of_role(agent, dial, "both", "writer", "operator")) as wire:
        await wire.ask("job.create", spec={"argv": ["true"], "timeout": None, "stop": LADDER})


async def test_jobs_that_run_and_wait(agent: "RunningAgent", dial: "Dial") -> None:
    """Neither more running nor more created jobs; a refused `job.run` leaves no job, also of many at once."""
    async with dial(agent, token=await of_role(agent, dial, "busy", "busy")) as wire:
        calls = [await wire.begin("job.run", spec={"argv": ["sleep", "1000"]}) for _ in range(5)]
        answers = [await wire.answer(number) for number in calls]
        (started,) = [answer["result"]["job"]["id"] for answer in answers if "result" in answer]
        refused = {answer["error"]["code"] for answer in answers if "error" in answer}
        assert refused == {42901}
        assert [job["id"] for job in (await wire.ask("job.list"))["jobs"]] == [started]
        waiting = [await wire.create(argv=["true"]) for _ in range(2)]
        error = await wire.refused("job.create", spec={"argv": ["true"]})
        assert (error["code"], "limits.roles.busy.created" in error["message"]) == (42901, True)
        error = await wire.refused("job.start", id=waiting[0])
        assert "limits.roles.busy.running" in error["message"]
        await wire.ask("job.stop", id=started)
        await wire.ask("job.start", id=waiting[0])
        await wire.create(argv=["true"])
        await wire.ask("job.delete", id=waiting[1])
        await wire.create(argv=["true"])


async def test_starts_a_second(agent: "RunningAgent", dial: "Dial") -> None:
    async with dial(agent, token=await of_role(agent, dial, "hasty", "hasty")) as wire:
        await wire.run(argv=["true"])
        error = await wire.refused("job.run", spec={"argv": ["true"]})
        assert (error["code"], "limits.roles.hasty.starts_per_second" in error["message"]) == (42901, True)
        assert 0 < error["data"]["retry_after"] <= 100
        assert len((await wire.ask("job.list"))["jobs"]) == 1


async def test_created_jobs_are_counted_over_a_restart(
    start_agent: "Callable[..., RunningAgent]", dial: "Dial"
) -> None:
    """By number and by bytes, also those that grow by an update."""
    config = '[limits]\ncreated_per_principal = 3\ncreated_bytes_per_principal = "100KiB"\n'
    agent = start_agent(config=config + FOR_OTHERS)
    large = {"argv": ["true"], "env": {"X": "x" * 60_000}}
    async with dial(agent) as wire:
        job = (await wire.ask("job.create", spec=large))["id"]
        error = await wire.refused("job.create", spec=large)
        assert (error["code"], "limits.created_bytes_per_principal" in error["message"]) == (42901, True)
        labels = {f"{n}": "x" * 1000 for n in range(60)}
        error = await wire.refused("job.update", id=job, labels=labels)
        assert "limits.created_bytes_per_principal" in error["message"]
        await wire.ask("agent.restart")
        assert await wire.closed() == 1012
    async with dial(agent) as wire:
        error = await wire.refused("job.create", spec=large)
        assert "limits.created_bytes_per_principal" in error["message"]
        small = [await wire.create(argv=["true"]) for _ in range(2)]
        error = await wire.refused("job.create", spec={"argv": ["true"]})
        assert "limits.created_per_principal" in error["message"]
        await wire.ask("job.start", id=small[0])
        await wire.ask("job.delete", id=job)
        await wire.ask("job.create", spec=large)


async def test_too_many_policies(wire: "Wire") -> None:
    """Each is a task: without a bound 4,900 of them stopped the loop for seconds."""
    policies = [{"policy": "idle", "options": {"limit": 1000}}] * 33
    error = await wire.refused("job.create", spec={"argv": ["true"], "timeout_policies": policies})
    assert (error["code"], error["data"]["field"]) == (40001, "timeout_policies")
    steps = [{"signal": "TERM"}] * 32 + [{"signal": "KILL"}]
    stop = {"strategy": "ladder", "options": {"steps": steps}}
    error = await wire.refused("job.create", spec={"argv": ["true"], "stop": stop})
    assert (error["code"], "expected at most 32" in error["message"]) == (42201, True)


async def test_a_job_that_was_created_before(start_agent: "Callable[..., RunningAgent]", dial: "Dial") -> None:
    """A limit that the configuration has since then holds for its start as well, unless another had it created."""
    agent = start_agent(config=FOR_OTHERS)
    token = await of_role(agent, dial, "before", "writer")
    async with dial(agent, token=token) as wire:
        long = await wire.create(argv=["true"], timeout="2h")
        slow = await wire.create(argv=["true"], stop=LADDER, timeout="1m")
    agent.end()
    agent.config = FOR_OTHERS + '[limits.roles.writer]\ntime = "1h"\ngrace = "20s"\n'
    agent.start()
    async with dial(agent, token=token) as wire:
        for job, limit in ((long, "time"), (slow, "grace")):
            error = await wire.refused("job.start", id=job)
            assert (error["code"], error["data"]["limit"]) == (40301, f"limits.roles.writer.{limit}")
        await wire.ask("job.update", id=long, timeout="1h")
        await wire.ask("job.start", id=long)
    async with dial(agent) as root:
        await root.ask("job.start", id=slow)
