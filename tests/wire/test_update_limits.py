"""job.update changes what a job may use: of one that runs at once, of one to be started in its spec."""

from typing import TYPE_CHECKING, Any

import pytest
from tests.wire.test_limits import HOG, groups, need, value
from tests.wire.test_usage import MIB, can, holding, replace_keeper

from jobworker.linux.departure import LEAF

if TYPE_CHECKING:
    from tests.conftest import RunningAgent
    from tests.support.wire import Wire

__all__ = ["can"]
ALL = {"memory": "512MiB", "pids": 50, "cpus": 1}


async def start(wire: "Wire", **spec: Any) -> str:
    return str((await wire.run(argv=["sleep", "1000"], **spec))["id"])


@pytest.mark.parametrize("namespace", [False, True])
async def test_at_once(wire: "Wire", can: list[str], namespace: bool) -> None:
    """The kernel has the values, higher as well as lower, and the job goes on."""
    need(can, *ALL)
    job = await start(wire, limits=ALL, pid_namespace=namespace)
    for memory in (1024 * MIB, 256 * MIB):
        changed = await wire.ask("job.update", id=job, limits={"memory": memory, "pids": 7, "cpus": 0.25})
        assert changed["spec"]["limits"] == {"memory": memory, "pids": 7, "cpus": 0.25}
        assert changed["state"] == "running"
        assert value(job, "memory") == str(memory)
        assert value(job, "pids") == ("8" if namespace else "7")  # and the init of the namespace
        assert value(job, "cpus").split()[0] == "25000"
    await wire.ask("job.delete", id=job, force=True)


async def test_what_is_not_named_stays(wire: "Wire", can: list[str]) -> None:
    need(can, *ALL)
    job = await start(wire, limits=ALL)
    changed = await wire.ask("job.update", id=job, limits={"pids": 9})
    assert changed["spec"]["limits"] == ALL | {"pids": 9}
    assert (value(job, "memory"), value(job, "cpus").split()[0]) == (str(512 * MIB), "100000")
    await wire.ask("job.delete", id=job, force=True)


async def test_null_takes_a_limit_away(wire: "Wire", can: list[str]) -> None:
    """And it can be had again."""
    need(can, *ALL)
    job = await start(wire, limits=ALL)
    changed = await wire.ask("job.update", id=job, limits=dict.fromkeys(ALL))
    assert "limits" not in changed["spec"]
    assert value(job, "memory") in ("max", str((1 << 63) - 4096))
    assert value(job, "pids") == "max"
    assert value(job, "cpus").split()[0] in ("max", "-1")
    assert (await wire.ask("job.update", id=job, limits=ALL))["spec"]["limits"] == ALL
    assert value(job, "memory") == str(512 * MIB)
    await wire.ask("job.delete", id=job, force=True)


async def test_no_limit_in_place_of_none(wire: "Wire") -> None:
    """A limit that a job does not have can be taken away, whatever the host can limit."""
    job = await start(wire)
    changed = await wire.ask("job.update", id=job, limits=dict.fromkeys((*ALL, "io_read", "io_write")))
    assert (changed["state"], "limits" in changed["spec"]) == ("running", False)
    await wire.ask("job.delete", id=job, force=True)


async def test_it_holds(wire: "Wire", can: list[str]) -> None:
    """A job whose limit was lowered is killed at that limit, which is the one in the message."""
    need(can, "memory")
    block = "signals = {signal.SIGUSR1}; signal.pthread_sigmask(signal.SIG_BLOCK, signals)"
    wait = f"{block}; print('ready', flush=True); signal.sigwait(signals)"
    job = await holding(wire, f"import signal; {wait}\n{HOG}", limits={"memory": "1GiB"})
    await wire.ask("job.update", id=job, limits={"memory": "100MiB"})
    await wire.ask("job.signal", id=job, signal="USR1")
    exit_ = (await wire.ask("job.wait", id=job))["exit"]
    assert (exit_["reason"], "at the limit of 100MiB" in exit_["message"]) == ("oom", True)


async def test_a_job_to_be_started(wire: "Wire", can: list[str]) -> None:
    """Its spec is changed, and it starts with that."""
    need(can, *ALL)
    job = await wire.create(argv=["sleep", "1000"], limits={"pids": 5})
    changed = await wire.ask("job.update", id=job, limits=ALL)
    assert (changed["state"], changed["spec"]["limits"]) == ("created", ALL)
    await wire.ask("job.start", id=job)
    assert (value(job, "memory"), value(job, "pids")) == (str(512 * MIB), "50")
    await wire.ask("job.delete", id=job, force=True)


async def test_less_than_it_uses(wire: "Wire", can: list[str]) -> None:
    """Refused with how much that is, and nothing is changed; neither by a refusal of the kernel."""
    need(can, "memory")
    job = await holding(wire, limits={"memory": "512MiB"})
    error = await wire.refused("job.update", id=job, limits={"memory": "20MiB"})
    assert (error["code"], error["data"]["field"]) == (40901, "limits.memory")
    assert 60 * MIB <= error["data"]["used"] < 200 * MIB
    assert str(error["data"]["used"]) in error["message"]
    assert (await wire.ask("job.status", id=job))["spec"]["limits"] == {"memory": "512MiB"}
    answer = await wire.answer(await wire.begin("job.update", id=job, limits={"memory": "20MiB"}, force=True))
    if "field" in answer.get("error", {}).get("data", {}):  # cgroup v1 does not kill for it
        assert (answer["error"]["code"], answer["error"]["data"]["field"]) == (40901, "limits.memory")
        assert "busy" in answer["error"]["message"]
        assert value(job, "memory") == str(512 * MIB)
        assert (await wire.ask("job.stats", id=job))["limits"] == {"memory": "512MiB"}
        await wire.ask("job.delete", id=job, force=True)
    else:  # it may be over before the answer, which then says so
        assert (await wire.ask("job.wait", id=job))["exit"]["reason"] == "oom"


async def test_without_a_group_from_the_start(wire: "Wire", can: list[str]) -> None:
    """cgroup v1 cannot limit what was started free: that is an error and not a limit that does not hold."""
    need(can, "memory")
    job = await start(wire)
    answer = await wire.answer(await wire.begin("job.update", id=job, limits={"memory": "512MiB"}))
    if "error" in answer:
        assert (answer["error"]["code"], answer["error"]["data"]["field"]) == (50101, "limits.memory")
        assert "limits" not in (await wire.ask("job.status", id=job))["spec"]
    else:
        assert value(job, "memory") == str(512 * MIB)
    await wire.ask("job.delete", id=job, force=True)


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"memory": 0}, 40001),
        ({"pids": -1}, 40001),
        ({"cpus": 1e9}, 40001),
        ({"memory": 1.5}, -32602),
        ({"disk": 1}, -32602),
        ({"io_read": {"sda": "1M"}}, 40001),
        ({"io_write": []}, -32602),
    ],
    ids=str,
)
async def test_values_that_make_no_sense(wire: "Wire", limits: dict[str, Any], code: int) -> None:
    job = await start(wire)
    assert (await wire.refused("job.update", id=job, limits=limits))["code"] == code
    await wire.ask("job.delete", id=job, force=True)


async def test_of_a_job_that_has_ended(wire: "Wire") -> None:
    job = (await wire.run(argv=["true"]))["id"]
    await wire.ask("job.wait", id=job)
    assert (await wire.refused("job.update", id=job, limits={"pids": None}))["code"] == 40901


async def test_the_caller_that_changed_it(wire: "Wire", can: list[str]) -> None:
    """The event and the explanation have the caller, the change and the old value."""
    need(can, "pids", "memory")
    await wire.ask("event.subscribe")
    job = await start(wire, limits={"pids": 50, "memory": "1GiB"})
    await wire.ask("job.update", id=job, limits={"pids": 60, "memory": None})
    event = (await wire.until_event(job, "updated"))[-1]
    told = "limits.memory: none (was 1GiB), limits.pids: 60 (was 50)"
    assert (event["by"], event["detail"]) == ("local", told)
    chain = (await wire.ask("job.explain", id=job))["chain"]
    assert [(link["what"], link["by"], link["detail"]) for link in chain[-1:]] == [("changed", "local", told)]
    await wire.ask("job.delete", id=job, force=True)


async def test_many_at_once(wire: "Wire", can: list[str]) -> None:
    """Changes of one job go one after the other: record and kernel agree in the end, and none is lost."""
    need(can, *ALL)
    job = await start(wire, limits=ALL)
    asked = [{"pids": 10 + n} if n % 2 else {"memory": (300 + n) * MIB} for n in range(20)]
    numbers = [await wire.begin("job.update", id=job, limits=limits) for limits in asked]
    for number in numbers:
        assert "result" in await wire.answer(number)
    limits = (await wire.ask("job.status", id=job))["spec"]["limits"]
    assert (value(job, "memory"), value(job, "pids")) == (str(limits["memory"]), str(limits["pids"]))
    assert (limits["memory"] in range(300 * MIB, 320 * MIB), limits["pids"] in range(10, 30)) == (True, True)
    await wire.ask("job.delete", id=job, force=True)


async def test_with_the_same_key_as_before(wire: "Wire", can: list[str]) -> None:
    """A key means the spec that it came with."""
    need(can, "pids")
    spec = {"argv": ["sleep", "1000"], "limits": {"pids": 50}}
    job = (await wire.ask("job.create", spec=spec, key="limited"))["id"]
    await wire.ask("job.start", id=job)
    await wire.ask("job.update", id=job, limits={"pids": 60})
    assert (await wire.ask("job.create", spec=spec, key="limited"))["id"] == job
    await wire.ask("job.delete", id=job, force=True)


async def test_a_group_that_is_gone(wire: "Wire", can: list[str]) -> None:
    """An operator has removed it: the limit is refused, and the job runs on."""
    need(can, "pids")
    job = await start(wire, limits={"pids": 50})
    pid = (await wire.ask("job.status", id=job))["pid"]
    (group,) = [path for path in groups(job) if (path / "pids.max").exists()]
    leaf = group.parent.parent / LEAF  # on cgroup v2 the parent can hold no process
    ((leaf if leaf.exists() else group.parent) / "cgroup.procs").write_text(str(pid))
    group.rmdir()
    error = await wire.refused("job.update", id=job, limits={"pids": 60})
    assert error["code"] == 50101
    assert error["data"]["field"] in ("limits.pids", "limits")  # of v1, and of the kernel's refusal on v2
    assert (await wire.ask("job.status", id=job))["spec"]["limits"] == {"pids": 50}
    await wire.ask("job.delete", id=job, force=True)


@pytest.mark.parametrize("who", ["keeper", "agent"])
async def test_after_a_death(start_agent: Any, dial: Any, who: str) -> None:
    """Limits that were changed hold after the next agent or keeper has come, and can be changed by it."""
    agent: RunningAgent = start_agent()
    async with dial(agent) as wire:
        need((await wire.ask("agent.info"))["capabilities"]["limits"], *ALL)
        job = await start(wire, limits=ALL, pid_namespace=True)
        await wire.ask("job.update", id=job, limits={"pids": 60, "memory": "700MiB"})
        keeper = (await wire.ask("agent.info"))["keeper"]["pid"]
        if who == "keeper":
            await replace_keeper(wire, keeper)
    if who == "agent":
        agent.kill()
        agent.start()
    async with dial(agent) as wire:
        assert (await wire.ask("job.status", id=job))["spec"]["limits"] == ALL | {"pids": 60, "memory": "700MiB"}
        assert (value(job, "pids"), value(job, "memory")) == ("61", str(700 * MIB))
        changed = await wire.ask("job.update", id=job, limits={"pids": 70, "cpus": None})
        assert changed["spec"]["limits"] == {"pids": 70, "memory": "700MiB"}
        assert value(job, "pids") == "71"


async def test_rates_without_the_controller(wire: "Wire", can: list[str]) -> None:
    if "io" in can:
        pytest.skip("this host can limit it")
    for name in ("io_read", "io_write"):
        error = await wire.refused("job.create", spec={"argv": ["true"], "limits": {name: "1MiB"}})
        assert (error["code"], error["data"]["field"]) == (50101, f"limits.{name}")
