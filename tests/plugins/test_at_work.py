"""What plugins that are loaded do to jobs, and what becomes of their faults."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import faulty
from tests.support.plugin_site import BUILT_IN, Install
from tests.support.waiting import DEADLINE

from jobworker.errors import PolicyRejected, RpcError
from jobworker.model import JobSpec, Reason, State, StopSpec, TimeoutSpec

if TYPE_CHECKING:
    from tests.conftest import RunningAgent


async def test_a_limit_for_every_job(start: "Callable[..., RunningAgent]") -> None:
    """It holds whatever the spec has, and does not change the spec."""
    agent = start("[jobs]\ntimeout_policies = [{policy = 'idle', options = {limit = '200ms'}}]\n")
    async with agent.client() as client:
        spec = JobSpec(argv=["sleep", "1000"], timeout=None)
        job = await client.start((await client.create(spec)).id)
        ended = await client.wait(job.id, DEADLINE)
    assert ended.exit is not None
    assert (ended.exit.reason, ended.exit.by) == (Reason.TIMEOUT, "idle")
    assert ended.spec == spec


async def test_what_takes_the_place_of_a_limit_that_fails(
    plugin: Install, start: "Callable[..., RunningAgent]"
) -> None:
    """The configured default: also of a job that asked for none, and once for all that fail."""
    plugin("raises", Path(faulty.__file__).read_text())
    config = "[jobs]\ntimeout = '300ms'\n[agent]\non_shutdown = 'stop'\n"
    agent = start(f"{config}[plugins]\nenabled = [{BUILT_IN}, 'idle', 'raises']\n")
    async with agent.client() as client:
        policies = [TimeoutSpec("raises.due", {"n": 1}), TimeoutSpec("raises.due", {"n": 2})]
        spec = JobSpec(argv=["sleep", "1000"], timeout=None, timeout_policies=policies)
        job = await client.start((await client.create(spec)).id)
        ended = await client.wait(job.id, DEADLINE)
        told = (await client.call("job.explain", id=job.id))["chain"]
    assert ended.exit is not None
    assert (ended.exit.reason, ended.exit.by) == (Reason.TIMEOUT, "total")
    failed = [link["detail"] for link in told if link["by"] == "raises.due"]
    assert len(failed) == 2
    assert all("RuntimeError" in detail and "0.3 s in all instead" in detail for detail in failed)


POLICY = """
from jobworker import hookimpl
class Policy:
    def __init__(self, name, due, reason):
        self.name, self._due, self._reason = name, due, reason
    def check(self, options): pass
    def due(self, options, facts): return self._due(facts)
    def reason(self, options, facts):
        if self._reason is None:
            raise RuntimeError("no reason")
        return self._reason
@hookimpl
def register_timeout_policies(context):
    return [
        Policy("queue", lambda facts: facts.now, "the queue\\nis empty"),
        Policy("mute", lambda facts: facts.now, None),
        Policy("late", lambda facts: 1.0, "time is up"),
        Policy("text", lambda facts: "5s", ""),
        Policy("yes", lambda facts: True, ""),
    ]
"""


async def test_a_policy_gives_a_reason(plugin: Install, start: "Callable[..., RunningAgent]") -> None:
    """The exit has it in one line; a reason that fails stops nothing less. A moment that is none is named."""
    plugin("reasons", POLICY)
    agent = start(f"[plugins]\nenabled = [{BUILT_IN}, 'reasons']\n")
    async with agent.client() as client:

        async def outcome(policy: str, timeout: str | None = None) -> tuple[str, str]:
            """Return the message of the exit, and what became of the limit."""
            spec = JobSpec(argv=["sleep", "1000"], timeout=timeout, timeout_policies=[TimeoutSpec(policy)])
            job = await client.start((await client.create(spec)).id)
            ended = await client.wait(job.id, DEADLINE)
            assert ended.exit is not None
            links = (await client.call("job.explain", id=job.id))["chain"]
            return ended.exit.message, " ".join(link["detail"] for link in links if link["by"] == policy)

        assert "by queue (): the queue is empty: killed" in (await outcome("queue"))[0]
        assert "by mute (): killed" in (await outcome("mute"))[0]
        assert "before the job started" in (await outcome("late"))[0]
        for policy, value in (("text", "'5s'"), ("yes", "True")):
            assert f"due: {value}; expected seconds on the clock of facts.now" in (await outcome(policy, "200ms"))[1]


async def test_what_a_strategy_raises_is_reported(plugin: Install, start: "Callable[..., RunningAgent]") -> None:
    """It is in the receipt, in the explanation with the agent as cause, in the output of `jw stop` and in the log."""
    source = """
    from jobworker import hookimpl
    class Broken:
        name = "broken"
        def check(self, options): pass
        async def stop(self, job, options):
            if options.signal == "SIGHUP":
                await job.signal("SIGBANANA")
            raise RuntimeError("the knocker fell off")
    @hookimpl
    def register_stop_strategies(context):
        return [Broken()]
    """
    plugin("knock", source)
    agent = start(f"[agent]\non_shutdown = 'stop'\n[plugins]\nenabled = [{BUILT_IN}, 'knock']\n")
    for signal, why in (
        ("SIGTERM", "raised RuntimeError: the knocker fell off"),
        ("SIGHUP", "'SIGBANANA'; expected"),
    ):
        async with agent.client() as client:
            job = await client.start((await client.create(JobSpec(argv=["sleep", "1000"]))).id)
        said = await asyncio.to_thread(agent.jw, "stop", "--strategy", "broken", "--signal", signal, job.id)
        assert said.returncode == 0
        assert why in said.stderr
        async with agent.client() as client:
            story = (await client.call("job.explain", id=job.id))["chain"]
            state = (await client.call("agent.info"))["plugins"][-1]
        assert [(link["what"], link["by"]) for link in story][2:4] == [
            ("strategy failed", "agent"),
            ("kill", "agent"),
        ]
    assert state["faults"] == 2
    assert "broken of plugin knock failed" in agent.home.agent_log.read_text()


@pytest.mark.parametrize("number", [2**63, 2**64, 10**30])
async def test_options_with_a_huge_number(plugin: Install, start: "Callable[..., RunningAgent]", number: int) -> None:
    """A number that no store holds is kept or refused, and other jobs are created as before."""
    plugin("none", Path(faulty.__file__).read_text())
    agent = start(f"[plugins]\nenabled = [{BUILT_IN}, 'none']\n")
    stop: dict[str, Any] = {"strategy": "none.stop", "options": {"n": number}}
    async with agent.client() as client, asyncio.timeout(DEADLINE):
        code = 0
        try:
            job = await client.call("job.create", spec={"shell": ":", "stop": stop})
        except RpcError as error:
            code = error.code
        assert code in (-32700, -32602, 40001) or job["spec"]["stop"]["options"] == {"n": number}
        assert (await client.create(JobSpec(shell=":"))).state == State.CREATED


async def test_a_plugin_that_is_taken_away(plugin: Install, start: "Callable[..., RunningAgent]") -> None:
    """Jobs that rely on it run on under the next agent, which starts, and can be stopped."""
    plugin("hangs", Path(faulty.__file__).read_text())
    config = f"[agent]\non_shutdown = 'leave'\n[plugins]\nenabled = [{BUILT_IN}, 'hangs']\n"
    agent = start(config)
    spec = JobSpec(
        argv=["sleep", "1000"],
        stop=StopSpec(strategy="hangs.stop"),
        timeout_policies=[TimeoutSpec("hangs.due", {"n": 1})],
    )
    async with agent.client() as client:
        job = await client.start((await client.create(spec)).id)
    await asyncio.to_thread(agent.end)
    agent.config = ""
    try:
        agent.start()
    except BaseException:
        agent.config = config  # for the cleaning
        raise
    async with agent.client() as client:
        assert (await client.status(job.id)).pid == job.pid
        assert (await client.stop(job.id, StopSpec(strategy="kill"))).state == State.EXITED


STUBBORN = """
from jobworker.interfaces import hookimpl
class Unwritable(Exception):
    def __str__(self):
        raise IndexError("no words")
class Odd:
    name = "odd"
    def check(self, options):
        if self.changed.exists():
            raise RuntimeError("not any more")
    async def stop(self, job, options):
        if options.signal == "SIGHUP":
            raise ValueError("half a character: \\udc80")
        raise Unwritable
    def due(self, options, facts):
        raise Unwritable
@hookimpl
def register_stop_strategies(context):
    Odd.changed = context.state / "changed"
    return [Odd()]
@hookimpl
def register_timeout_policies(context):
    return [Odd()]
"""


@pytest.fixture
def odd(plugin: Install, start: "Callable[..., RunningAgent]") -> "RunningAgent":
    """An agent whose default stop strategy raises text that cannot be encoded, and later refuses its options."""
    plugin("odd", STUBBORN)
    config = "[jobs]\nstop_strategy = 'odd'\n[agent]\non_shutdown = 'stop'\n"
    return start(f"{config}[plugins]\nenabled = [{BUILT_IN}, 'odd']\n")


@pytest.mark.parametrize("signal", ["SIGHUP", "SIGTERM"])
async def test_text_that_cannot_be_encoded(odd: "RunningAgent", signal: str) -> None:
    """The job is killed all the same, and the job table is still written."""
    async with odd.client() as client, asyncio.timeout(DEADLINE):
        policies = [TimeoutSpec("odd", {})]
        spec = JobSpec(argv=["sleep", "1000"], timeout_policies=policies)
        job = await client.start((await client.create(spec)).id)
        stopped = await client.stop(job.id, StopSpec(signal=signal))
        assert stopped.exit is not None
        assert stopped.exit.receipt is not None
        assert [step.action for step in stopped.exit.receipt.steps] == ["strategy_failed", "kill", "signal"]
        told = (await client.call("job.explain", id=job.id))["chain"]
        assert [link["by"] for link in told if link["what"] == "time limit not enforced, after a fault"] == ["odd"]
        assert (await client.create(JobSpec(shell=":"))).state == State.CREATED


async def test_a_usual_strategy_that_fails(odd: "RunningAgent") -> None:
    """Time limits still end jobs, and the agent still ends them when it ends."""
    async with odd.client() as client:
        late = await client.start((await client.create(JobSpec(argv=["sleep", "1000"], timeout="2s"))).id)
        other = await client.start((await client.create(JobSpec(argv=["sleep", "1000"]))).id)
        (odd.home.path / "changed").touch()
    await asyncio.to_thread(odd.kill)  # else it is known by now that the options, which are none, will do
    (odd.home.path / "changed").unlink()
    odd.start()
    (odd.home.path / "changed").touch()
    async with odd.client() as client:
        ended = await client.wait(late.id, DEADLINE)
    assert ended.exit is not None
    assert (ended.exit.reason, ended.exit.signal) == (Reason.TIMEOUT, "SIGKILL")
    assert await asyncio.to_thread(odd.end) == 0
    assert other.pid is not None
    assert not Path(f"/proc/{other.pid}").exists()
    (odd.home.path / "changed").unlink()  # for the cleaning


async def test_a_limit_whose_plugin_is_busy(
    plugin: Install, start: "Callable[..., RunningAgent]", tmp_path: Path
) -> None:
    """It waits until the plugin answers again, for it was another part of that which blocked, and then holds."""
    source = """
    import os
    from jobworker.interfaces import hookimpl
    class Busy:
        name = "busy"
        def check(self, options):
            if options.get("block"):
                open(options["block"]).read()
        async def stop(self, job, options): pass
        def due(self, options, facts): return facts.started + 0.1
    @hookimpl
    def register_stop_strategies(context): return [Busy()]
    @hookimpl
    def register_timeout_policies(context): return [Busy()]
    """
    plugin("busy", source)
    config = "[limits]\nplugin_call = '200ms'\n[agent]\non_shutdown = 'stop'\n"
    agent = start(f"{config}[plugins]\nenabled = [{BUILT_IN}, 'busy']\n")
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    async with agent.client() as client, asyncio.timeout(DEADLINE):
        job = await client.create(JobSpec(argv=["sleep", "1000"], timeout_policies=[TimeoutSpec("busy", {"a": 1})]))
        with pytest.raises(PolicyRejected):
            await client.create(JobSpec(shell=":", stop=StopSpec(strategy="busy", options={"block": str(gate)})))
        assert (await client.call("agent.info"))["plugins"][-1]["blocked"]
        await client.start(job.id)
        fd = await asyncio.to_thread(os.open, gate, os.O_WRONLY)
        os.close(fd)
        ended = await client.wait(job.id, DEADLINE)
    assert ended.exit is not None
    assert (ended.exit.reason, ended.exit.by) == (Reason.TIMEOUT, "busy")


async def test_a_thread_that_a_plugin_leaves(plugin: Install, start: "Callable[..., RunningAgent]") -> None:
    """It does not keep the agent from ending."""
    source = """
    import threading, time
    from jobworker.interfaces import hookimpl
    @hookimpl
    def register_stop_strategies(context):
        threading.Thread(target=time.sleep, args=[3600], daemon=False).start()
        return []
    """
    plugin("threaded", source)
    agent = start(f"[plugins]\nenabled = [{BUILT_IN}, 'threaded']\n")
    async with agent.client() as client:
        await client.call("agent.ping")
    assert await asyncio.to_thread(agent.end) == 0


async def test_a_run_whose_time_limit_fails(start: "Callable[..., RunningAgent]", plugin: "Install") -> None:
    """`jw run` reports it: the job runs on without the limit."""
    source = """
    from jobworker import hookimpl
    class Maxout:
        name = "maxout"
        def check(self, options): pass
        def due(self, options, facts):
            raise RuntimeError("no quota server")
    @hookimpl
    def register_timeout_policies(context):
        return [Maxout()]
    """
    plugin("quota", source)
    agent = start(f"[plugins]\nenabled = [{BUILT_IN}, 'quota']\n")
    done = await asyncio.to_thread(agent.jw, "run", "--timeout-policy", "maxout", "--", "sleep", "1")
    assert done.returncode == 0
    assert "its time limit maxout does not hold: maxout raised RuntimeError: no quota server" in done.stderr
