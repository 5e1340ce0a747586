"""Each fault at each call of a plugin: the outcome is the safe one, without an effect on others."""

import asyncio
import base64
import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import faulty
from tests.support.faulty import BLOCKING, FAULTS, MAY, QUICK, SUBTLE
from tests.support.plugin_site import install_plugin
from tests.support.waiting import DEADLINE
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from jobworker.client import Client
from jobworker.config import BUILT_IN
from jobworker.errors import InvalidSpec, PermissionDenied, PolicyRejected
from jobworker.model import ExecutorSpec, Job, JobSpec, Reason, SecretRef, State, StopSpec, TimeoutSpec
from jobworker.paths import Home
from jobworker.testing import RunningAgent

NAMES = ", ".join(f'"{name}"' for name in FAULTS)
AUTHORIZERS = ", ".join(f'"{name}{MAY}"' for name in FAULTS)
CONFIG = f"""
[auth]
providers = ["token", {NAMES}]
authorizers = [{NAMES}, "roles"]
[limits]
plugin_call = "300ms"
failed_logins = 0
[jobs]
grace = 0
stop_limit = "300ms"
[agent]
on_shutdown = "stop"
[plugins]
enabled = [{", ".join(f'"{name}"' for name in BUILT_IN)}, {NAMES}, {AUTHORIZERS}]
"""
SLEEPS = ["sleep", "1000"]
QUICKLY = {"raises", "wrong", "mutates"}  # the others are many, or take as long as a call may
HARMLESS = ("none", "wrong", "huge", *SUBTLE, "impersonates")  # where nobody looks at what is returned


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that lets go what blocks; those that do not block never look."""
    return tmp_path_factory.mktemp("gate") / "open"


@pytest.fixture(scope="module")
def shared_agent(tmp_path_factory: pytest.TempPathFactory, gate: Path) -> Iterator[RunningAgent]:
    """An agent with a plugin for each fault."""
    folder = tmp_path_factory.mktemp("faulty")
    source = Path(faulty.__file__).read_text()
    for name in FAULTS:
        install_plugin(folder, name, source)
        install_plugin(folder, f"{name}{MAY}", source, module=f"{name}_may_plugin")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        patch.setenv("FAULTY_GATE", str(gate))
        agent = RunningAgent(Home(folder / "home"), CONFIG)
        agent.start()
        yield agent
        gate.touch()
        asyncio.run(agent.clean())


@pytest.fixture
async def agent(
    shared_agent: RunningAgent, gate: Path, kind: str, request: pytest.FixtureRequest
) -> AsyncIterator[RunningAgent]:
    """The same for all; after each test it is the same process, answers, and has no plugin that blocks."""
    pid = shared_agent.pid
    chain = request.function is test_an_authorizer  # in which one that blocks denies everybody
    plugin = f"{kind}{MAY}" if chain else kind
    async with asyncio.timeout(DEADLINE):
        async with shared_agent.client() as client:
            before = await state(client, plugin)
            yield shared_agent
            async with asyncio.timeout(DEADLINE):
                assert chain or await answers(shared_agent)
            after = await state(client, plugin)
            if kind in BLOCKING:
                assert after["blocked"]
                gate.touch()
                async with asyncio.timeout(DEADLINE):
                    while (await state(client, plugin))["blocked"]:
                        pass
                gate.unlink()
            assert await answers(shared_agent)
            assert (await client.call("agent.info"))["pid"] == pid
            if kind not in HARMLESS:
                assert after["faults"] > before["faults"], "it is counted"
            others = [each for each in (await client.call("plugin.list"))["plugins"] if each["name"] in BUILT_IN]
            assert not any(each["faults"] or each["blocked"] for each in others)
    log = shared_agent.home.agent_log.read_text()
    assert "Task exception was never retrieved" not in log


async def state(client: Client, kind: str) -> dict[str, Any]:
    plugins = (await client.call("agent.info"))["plugins"]
    return dict(next(each for each in plugins if each["name"] == kind))


async def answers(agent: RunningAgent) -> bool:
    """Whether the agent lets a good token in and runs a job."""
    async with agent.client() as client:
        run = await client.run(JobSpec(shell="exit 5"))
        async for _ in run:
            pass
        return run.end is not None and run.end.exit is not None and run.end.exit.code == 5


def cells(*kinds: str) -> list[Any]:
    """Return the kinds of fault as parameters."""
    return [pytest.param(kind, marks=[] if kind in QUICKLY else [pytest.mark.slow]) for kind in kinds]


async def holds(true: Callable[[], bool]) -> None:
    """Return when it is true."""
    async with asyncio.timeout(DEADLINE):
        while not true():  # noqa: ASYNC110  # a file, which nobody tells of
            await asyncio.sleep(0.01)


async def login(agent: RunningAgent, name: str) -> int:
    """Return the HTTP status for the name at which a provider misbehaves."""
    credentials = base64.b64encode(f"{name}:x".encode()).decode()
    try:
        async with connect(
            agent.address,
            ssl=ssl.create_default_context(cafile=agent.ca),
            additional_headers={"Authorization": f"Basic {credentials}"},
            proxy=None,
        ):
            return 101
    except InvalidStatus as error:
        response = error.response
    assert b"secret" not in (response.body or b"")
    return response.status_code


# Auth providers


@pytest.mark.parametrize("kind", cells(*FAULTS))
async def test_an_auth_provider(agent: RunningAgent, kind: str) -> None:
    """It denies, or its principal is the one that it returned at the time."""
    right = kind in SUBTLE
    assert await login(agent, kind) == (101 if right else 401)
    if kind == "mutates":
        from jobworker.client import connect as client_of

        async with client_of(agent.address, username=kind, password="x", ca=agent.ca) as client:
            await asyncio.sleep(0.1)  # it changes what it returned after 0.05 s
            assert (await client.whoami()).roles == ["reader"]
            with pytest.raises(PermissionDenied):
                await client.call("token.list")


# Authorizers


@pytest.mark.parametrize("kind", cells(*(kind for kind in FAULTS if kind != "impersonates")))
async def test_an_authorizer(agent: RunningAgent, kind: str) -> None:
    """Its principal may do nothing, or what the next authorizer grants to its real roles."""
    async with agent.client() as admin:
        token = (await admin.call("token.create", name=kind, roles=["reader"]))["token"]
        try:
            async with agent.client(token) as client:
                if kind in ("none", "huge", *SUBTLE):
                    await client.list()
                else:
                    with pytest.raises(PermissionDenied):
                        await client.list()
                with pytest.raises(PermissionDenied):
                    await client.call("token.list")
        finally:
            await admin.call("token.revoke", name=kind)


# Stop strategies

PLAIN = (*QUICK, *BLOCKING, *SUBTLE)  # what a plain function can do wrong


@pytest.mark.parametrize("kind", cells(*PLAIN))
async def test_the_check_of_a_stop_strategy(agent: RunningAgent, kind: str) -> None:
    await _check(agent, kind, JobSpec(argv=SLEEPS, stop=StopSpec(strategy=f"{kind}.check", options={"n": [1]})))


@pytest.mark.parametrize("kind", cells(*PLAIN))
async def test_the_check_of_a_timeout_policy(agent: RunningAgent, kind: str) -> None:
    await _check(agent, kind, JobSpec(argv=SLEEPS, timeout_policies=[TimeoutSpec(f"{kind}.check", {"n": [1]})]))


async def _check(agent: RunningAgent, kind: str, spec: JobSpec) -> None:
    """The options are refused, with few words, or accepted as they are."""
    async with agent.client() as client:
        if kind in ("none", "wrong", *SUBTLE):
            assert (await client.create(spec)).spec == spec
        else:
            with pytest.raises(PolicyRejected) as refused:
                await client.create(spec)
            assert len(refused.value.message) < 1000


@pytest.mark.parametrize("kind", cells(*PLAIN))
async def test_how_long_a_stop_takes(agent: RunningAgent, kind: str) -> None:
    stopped = await _stop(agent, f"{kind}.longest")
    assert _actions(stopped)[0] == ("signal" if kind in SUBTLE else "strategy_failed")


@pytest.mark.parametrize("kind", cells(*(kind for kind in FAULTS if kind != "impersonates")))
async def test_a_stop_strategy(agent: RunningAgent, kind: str) -> None:
    """What it leaves is killed, and what it does to its handle afterwards is of no use."""
    stopped = await _stop(agent, f"{kind}.stop", labels={"a": "b"})
    fails = kind not in HARMLESS
    assert ("strategy_failed" in _actions(stopped)) == fails
    assert ("kill" in _actions(stopped)) == (kind not in ("mutates", "leaks"))
    assert stopped.labels == stopped.spec.labels == {"a": "b"}
    assert stopped.spec.stop.options == {}
    if kind == "keeps":
        kept = agent.home.path / "kept"
        await holds(lambda: kept.exists() and bool(kept.read_text()))
        assert kept.read_text() == "this stop is over"
    if kind == "leaks":
        async with agent.client() as client:
            assert (await state(client, kind))["tasks"] >= 10


async def _stop(agent: RunningAgent, strategy: str, **spec: Any) -> Job:
    """Stop a tree, and check that no process survived."""
    async with agent.client() as client:
        created = await client.create(JobSpec(shell="setsid sleep 1000 & sleep 1000", **spec))
        job = await client.start(created.id)
        stopped = await client.stop(job.id, StopSpec(strategy=strategy))
    assert stopped.exit is not None
    assert (stopped.state, stopped.exit.reason) == (State.EXITED, Reason.STOPPED)
    assert stopped.exit.receipt is not None
    assert stopped.exit.receipt.survivors == []
    assert stopped.exit.receipt.strategy == strategy
    return stopped


def _actions(job: Job) -> list[str]:
    assert job.exit is not None
    assert job.exit.receipt is not None
    return [step.action for step in job.exit.receipt.steps]


# Timeout policies


@pytest.mark.parametrize("kind", cells(*PLAIN))
async def test_a_timeout_policy(agent: RunningAgent, kind: str) -> None:
    """Its limit does not hold, with an event; the other limits of the job do."""
    limits = [TimeoutSpec(f"{kind}.due", {"n": [1]})]
    async with agent.client() as client:
        spec = JobSpec(argv=SLEEPS, timeout="1s" if kind in BLOCKING else "300ms", timeout_policies=limits)
        job = await client.start((await client.create(spec)).id)
        ended = await client.wait(job.id, DEADLINE)
        assert ended.exit is not None
        assert (ended.exit.reason, ended.exit.by) == (Reason.TIMEOUT, "total")
        assert ended.spec.timeout_policies == limits
        told = [link["by"] for link in (await client.call("job.explain", id=job.id))["chain"]]
        assert (f"{kind}.due" in told) == (kind not in ("none", *SUBTLE))


# Secret providers


@pytest.mark.parametrize("kind", cells(*(kind for kind in FAULTS if kind != "impersonates")))
async def test_a_secret_provider(agent: RunningAgent, kind: str) -> None:
    """The start is refused, in few words that are none of the provider's, or the job has the value."""
    spec = JobSpec(shell='test "$A" = "the right value"', secrets={"A": SecretRef(kind, "db")})
    async with agent.client() as client:
        job = await client.create(spec)
        if kind in ("wrong", *SUBTLE):  # it is wrong elsewhere: here each text may be a secret
            await client.start(job.id)
            ended = await client.wait(job.id, DEADLINE)
            assert ended.exit is not None
            assert ended.exit.code == (kind == "wrong")
        else:
            with pytest.raises((PolicyRejected, InvalidSpec)) as refused:
                await client.start(job.id)
            assert len(refused.value.message) < 300
            assert kind != "raises" or "secret" not in refused.value.message.removeprefix("secrets.A: ")


# Executors


@pytest.mark.parametrize("kind", cells(*PLAIN))
async def test_the_check_of_an_executor(agent: RunningAgent, kind: str) -> None:
    await _check(agent, kind, JobSpec(argv=SLEEPS, executor=ExecutorSpec(f"{kind}.check", {"n": [1]})))


@pytest.mark.parametrize("place", ["submit", "find", "poll", "cancel"])
@pytest.mark.parametrize("kind", cells(*(kind for kind in FAULTS if kind != "impersonates")))
async def test_an_executor(agent: RunningAgent, kind: str, place: str) -> None:
    """The job is queued, and a stop takes it out of the queue, whatever the executor does."""
    async with agent.client() as client:
        before = (await state(client, kind))["faults"]
        spec = JobSpec(argv=SLEEPS, executor=ExecutorSpec(f"{kind}.{place}", {}))
        job = await client.start((await client.create(spec)).id)
        assert job.state == State.QUEUED
        async with asyncio.timeout(DEADLINE):
            while place != "cancel" and kind not in HARMLESS and (await state(client, kind))["faults"] == before:
                pass
        stopped = await client.stop(job.id)
        assert stopped.exit is not None
        assert (stopped.exit.reason, stopped.started_at) == (Reason.STOPPED, None)
        assert stopped.exit.receipt is not None
        assert (stopped.exit.receipt.method, stopped.exit.receipt.proof) == ("queue", "complete")
        assert stopped.spec.executor == spec.executor
        async with asyncio.timeout(DEADLINE):
            while kind in BLOCKING and not (await state(client, kind))["blocked"]:
                pass


# Observers


@pytest.mark.parametrize("kind", cells(*FAULTS))
async def test_an_observer(agent: RunningAgent, kind: str) -> None:
    """The job is not affected, and the observer gets the later events."""
    async with agent.client() as client:
        spec = JobSpec(shell="exit 7", labels={"observe": kind})
        job = await client.start((await client.create(spec)).id)
        ended = await client.wait(job.id, DEADLINE)
        assert ended.exit is not None
        assert ended.exit.code == 7
        assert ended.labels == {"observe": kind}
        heard = agent.home.path / f"heard-{kind}"
        last = "started" if kind in BLOCKING else "exited"  # one that blocks hears no more until it is done
        await holds(lambda: heard.exists() and f"{job.id} {last}" in heard.read_text())
        async with asyncio.timeout(DEADLINE):
            while kind in BLOCKING and not (await state(client, kind))["blocked"]:
                pass
        assert not (await state(client, kind))["dropped"]


@pytest.mark.parametrize("kind", ["raises"])
async def test_an_observer_that_always_fails(agent: RunningAgent, kind: str) -> None:
    """After some faults in a row it gets no more events, and `plugin.list` has that."""
    async with agent.client() as client:
        for _ in range(2):
            spec = JobSpec(shell="exit 7", labels={"observe": kind, "always": "yes"})
            await client.wait((await client.start((await client.create(spec)).id)).id, DEADLINE)
        async with asyncio.timeout(DEADLINE):
            while not (await state(client, kind))["dropped"]:
                pass


def test_the_matrix_is_whole() -> None:
    """Every hook and interface has its cells: a new one without them is noticed here."""
    from jobworker.plugin import hookspecs

    hooks = {name for name in vars(hookspecs) if name.startswith("register_") or name == "job_changed"}
    assert hooks == {name for name in vars(faulty) if name.startswith("register_") or name == "job_changed"}


@pytest.mark.slow
async def test_a_plugin_that_ends_the_process(
    plugin: Callable[[str, str], None], start: Callable[..., RunningAgent]
) -> None:
    """It is a crash of the agent: the job goes on, and what was due meanwhile is done when the agent is back."""
    source = """
    import os
    from jobworker.interfaces import hookimpl
    class Deadly:
        name = "deadly"
        def check(self, options): pass
        async def stop(self, job, options): os._exit(9)
    @hookimpl
    def register_stop_strategies(context): return [Deadly()]
    """
    plugin("deadly", source)
    enabled = ", ".join(f'"{name}"' for name in [*BUILT_IN, "deadly"])
    agent = start(f'[agent]\non_shutdown = "stop"\n[plugins]\nenabled = [{enabled}]\n')
    async with agent.client() as client:
        spec = JobSpec(argv=SLEEPS, timeout="2s", stop=StopSpec(strategy="deadly"))
        job = await client.start((await client.create(spec)).id)
    assert agent.process is not None
    assert await asyncio.to_thread(agent.process.wait, 10) == 9  # it killed the agent when the time was up
    assert job.pid is not None
    os.kill(job.pid, 0)
    agent.config = agent.config.replace(', "deadly"', "")
    agent.start()
    async with agent.client() as client:
        ended = await client.wait(job.id, DEADLINE)
    assert ended.exit is not None
    assert ended.exit.reason == Reason.TIMEOUT
