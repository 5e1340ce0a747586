"""Plugins that fail: at the start they are named, later they cost nobody but their own callers."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from tests.agent.conftest import install_plugin
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from jobworker import config
from jobworker.errors import ConnectionFailed, PolicyRejected, RpcError
from jobworker.model import JobSpec, Reason, State, StopSpec, TimeoutSpec
from jobworker.paths import Home

if TYPE_CHECKING:
    from tests.conftest import RunningAgent

Install = Callable[[str, str], None]
BUILT_IN = '"token", "roles", "graceful", "kill", "total"'

# At the start


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module", "no_such_module"),
        ("def broken(:", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit"),
        (
            """
            from jobworker import hookimpl
            class Mine:
                name = "graceful"
                def check(self, options): pass
                async def stop(self, job, options): pass
            @hookimpl
            def register_stop_strategies(context):
                return [Mine()]
            """,
            "'graceful' is taken by plugin 'graceful' (jobworker ",
        ),
        (
            """
            from jobworker import hookimpl
            @hookimpl
            def register_stop_strategies(context, bogus):
                return []
            """,
            "bogus",
        ),
        (
            """
            from jobworker import hookimpl
            @hookimpl
            def register_moons(context):
                return []
            """,
            "register_moons",
        ),
        (
            """
            from jobworker import hookimpl
            @hookimpl
            def register_stop_strategies(context):
                raise KeyError("settings")
            """,
            "KeyError: 'settings'",
        ),
        (
            """
            from jobworker import hookimpl
            @hookimpl
            def register_stop_strategies(context):
                return 5
            """,
            "register_stop_strategies: it returned int; expected a list",
        ),
        (
            """
            from jobworker import hookimpl
            @hookimpl
            def register_stop_strategies(context):
                return [object()]
            """,
            "name",
        ),
    ],
    ids=["import", "syntax", "exit", "taken", "argument", "hook", "raises", "rubbish", "nameless"],
)
def test_a_plugin_that_cannot_be_loaded(
    plugin: Install, refused: Callable[..., str], source: str, reason: str
) -> None:
    """The start is refused with the plugin, its package, its version and the reason."""
    plugin("broken", source)
    said = refused(f"[plugins]\nenabled = [{BUILT_IN}, 'broken']\n")
    assert "plugin 'broken' (jobworker-broken 4.5.6)" in said
    assert reason in said


async def test_what_is_not_enabled_is_not_imported(plugin: Install, start: "Callable[..., RunningAgent]") -> None:
    """An installed plugin that the configuration does not name is never run."""
    plugin("broken", "raise RuntimeError")
    async with start().client() as client:
        names = [each["name"] for each in (await client.call("agent.info"))["plugins"]]
    assert names == [*config.BUILT_IN]


async def test_settings_are_for_one_plugin(plugin: Install, start: "Callable[..., RunningAgent]") -> None:
    """Each plugin is shown its own table and no other."""
    source = """
    from jobworker import hookimpl
    Settings = dict[str, int]
    class Shown:
        def __init__(self, context):
            ((key, value),) = context.settings.items()
            self.name = f"{context.name}:{key}-{value}"
        def check(self, options): pass
        async def stop(self, job, options): pass
    @hookimpl
    def register_stop_strategies(context):
        return [Shown(context)]
    """
    plugin("one", source)
    plugin("two", source)
    agent = start(f"[plugins]\nenabled = [{BUILT_IN}, 'one', 'two']\n[plugins.one]\na = 1\n[plugins.two]\nb = 2\n")
    async with agent.client() as client:
        shown = (await client.call("agent.info"))["plugins"]
    assert [each["registers"] for each in shown[-2:]] == [
        ["stop_strategies:one:a-1"],
        ["stop_strategies:two:b-2"],
    ]
    assert (shown[-1]["package"], shown[-1]["version"]) == ("jobworker-two", "4.5.6")


# At work

RUDE = """
import asyncio
from jobworker import hookimpl
from jobworker.model import Principal

def plainly(kind):
    if kind == "plain-raises":
        raise ValueError("secret")
    return 5

async def rudely(kind):
    if kind == "raises":
        raise ValueError("secret")
    if kind == "exits":
        raise SystemExit(3)
    if kind == "interrupts":
        raise KeyboardInterrupt
    if kind == "cancels":
        raise asyncio.CancelledError
    if kind == "times-out":
        raise TimeoutError("secret")
    if kind == "hangs":
        await asyncio.sleep(3600)
    if kind == "nothing":
        return None
    return 5

class Auth:
    name = "rude"
    def authenticate(self, credentials):
        kind = credentials.username or "nothing"
        return plainly(kind) if kind.startswith("plain") else rudely(kind)

class Strategy:
    def __init__(self, name):
        self.name = name
    def check(self, options):
        if "check" in options:
            raise {"KeyError": KeyError, "SystemExit": SystemExit}[options["check"]]
    def stop(self, job, options):
        return plainly(self.name) if self.name.startswith("plain") else rudely(self.name)

class Policy:
    name = "rude"
    def check(self, options):
        pass
    def due(self, options, facts):
        kind = options["kind"]
        if kind == "raises":
            raise ValueError("secret")
        if kind == "exits":
            raise SystemExit(3)
        return {"text": "soon", "list": [], "nan": float("nan"), "infinite": float("inf"), "never": None}[kind]

KINDS = "raises exits interrupts cancels times-out hangs nothing rubbish plain-raises plain-rubbish".split()

@hookimpl
def register_auth_providers(context):
    return [Auth()]

@hookimpl
def register_stop_strategies(context):
    return [Strategy(kind) for kind in KINDS]

@hookimpl
def register_timeout_policies(context):
    return [Policy()]
"""
CONFIG = f"""
[auth]
providers = ["rude", "token"]
[jobs]
grace = "100ms"
stop_limit = "300ms"
[agent]
on_shutdown = "stop"
[plugins]
enabled = [{BUILT_IN}, "rude"]
"""
FAULTS = ["raises", "exits", "interrupts", "cancels", "times-out", "rubbish", "plain-raises", "plain-rubbish"]


@pytest.fixture(scope="module")
def rude(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[RunningAgent]":
    """An agent with the rude plugin."""
    from tests.conftest import RunningAgent

    folder = tmp_path_factory.mktemp("rude")
    install_plugin(folder, "rude", RUDE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        agent = RunningAgent(Home(folder / "home"), CONFIG)
        agent.start()
        yield agent
        asyncio.run(agent.clean())


@pytest.fixture
async def agent(rude: "RunningAgent", monkeypatch: pytest.MonkeyPatch) -> "AsyncIterator[RunningAgent]":
    """The same for all tests; another process after one that harmed it."""
    yield rude
    try:
        async with asyncio.timeout(2), rude.client() as client:
            await client.create(JobSpec(shell=":"))
    except (TimeoutError, ConnectionFailed, RpcError):
        monkeypatch.setenv("PYTHONPATH", str(rude.home.path.parent))
        await asyncio.to_thread(rude.end)
        rude.start()


async def answers(agent: "RunningAgent") -> bool:
    """Whether the agent lets a good token in and runs a job."""
    async with asyncio.timeout(4), agent.client() as client:
        run = await client.run(JobSpec(shell="exit 5"))
        async for _ in run:
            pass
        return run.end is not None and run.end.exit is not None and run.end.exit.code == 5


async def login(agent: "RunningAgent", kind: str) -> int:
    """Return the HTTP status for the credentials that make the provider misbehave."""
    credentials = base64.b64encode(f"{kind}:x".encode()).decode()
    try:
        async with connect(
            agent.address,
            ssl=ssl.create_default_context(cafile=agent.ca),
            additional_headers={"Authorization": f"Basic {credentials}"},
            open_timeout=20,
            proxy=None,
        ):
            return 101
    except InvalidStatus as error:
        response = error.response
    assert b"secret" not in (response.body or b"")
    return response.status_code


@pytest.mark.parametrize("kind", FAULTS)
async def test_an_auth_provider_that_fails_denies(agent: "RunningAgent", kind: str) -> None:
    """401, whatever it does; afterwards others get in as before."""
    async with asyncio.timeout(4):
        assert await login(agent, kind) == 401
    assert await answers(agent)


@pytest.mark.slow
async def test_an_auth_provider_that_hangs_denies(agent: "RunningAgent") -> None:
    """401 when its time is up; meanwhile others get in."""
    hanging = asyncio.create_task(login(agent, "hangs"))
    for _ in range(3):
        assert await answers(agent)
    assert not hanging.done()
    assert await hanging == 401


@pytest.mark.parametrize("kind", [*FAULTS, "nothing", "hangs"])
async def test_a_stop_strategy_that_fails(agent: "RunningAgent", kind: str) -> None:
    """The agent kills the tree itself, within its own limit, and the receipt says so."""
    async with agent.client() as client:
        job = await client.start((await client.create(JobSpec(shell="setsid sleep 1000 & sleep 1000"))).id)
        async with asyncio.timeout(4):
            stopped = await client.stop(job.id, StopSpec(strategy=kind, grace=0))
        assert stopped.exit is not None
        assert (stopped.state, stopped.exit.signal, stopped.exit.reason) == (State.EXITED, "SIGKILL", Reason.STOPPED)
        assert stopped.exit.receipt is not None
        assert stopped.exit.receipt.survivors == []
        assert stopped.exit.receipt.strategy == kind
        actions = [step.action for step in stopped.exit.receipt.steps]
        assert "kill" in actions
        assert ("strategy_failed" in actions) == (kind not in ("nothing", "rubbish"))
    assert await answers(agent)


@pytest.mark.parametrize("kind", ["raises", "exits", "text", "list", "nan", "infinite", "never"])
async def test_a_timeout_policy_that_fails(agent: "RunningAgent", kind: str) -> None:
    """It sets no limit, and the other limits of the job hold."""
    spec = JobSpec(argv=["sleep", "1000"], timeout="300ms", timeout_policies=[TimeoutSpec("rude", {"kind": kind})])
    async with agent.client() as client:
        job = await client.start((await client.create(spec)).id)
        ended = await client.wait(job.id, 4)
        assert ended.exit is not None
        assert (ended.exit.reason, ended.exit.by) == (Reason.TIMEOUT, "total")
    assert await answers(agent)


@pytest.mark.parametrize("kind", ["KeyError", "SystemExit"])
async def test_a_check_that_fails_refuses(agent: "RunningAgent", kind: str) -> None:
    """Options at which a plugin falls over are refused: 42201."""
    async with agent.client() as client:
        with pytest.raises(PolicyRejected):
            await client.create(JobSpec(shell=":", stop=StopSpec(strategy="raises", options={"check": kind})))
    assert await answers(agent)


@pytest.mark.parametrize("number", [2**63, 2**64, 10**30])
async def test_options_with_a_huge_number(agent: "RunningAgent", number: int) -> None:
    """A number that no store holds is kept or refused, and other jobs are created as before."""
    stop: dict[str, Any] = {"strategy": "nothing", "options": {"n": number}}
    async with agent.client() as client, asyncio.timeout(4):
        code = 0
        try:
            job = await client.call("job.create", spec={"shell": ":", "stop": stop})
        except RpcError as error:
            code = error.code
        assert code in (-32700, -32602, 40001) or job["spec"]["stop"]["options"] == {"n": number}
    assert await answers(agent)


async def test_a_plugin_that_is_taken_away(plugin: Install, start: "Callable[..., RunningAgent]") -> None:
    """Jobs that rely on it run on under the next agent, which starts, and can be stopped."""
    plugin("rude", RUDE)
    agent = start(CONFIG.replace('"stop"', '"leave"'))
    spec = JobSpec(
        argv=["sleep", "1000"],
        stop=StopSpec(strategy="hangs"),
        timeout_policies=[TimeoutSpec("rude", {"kind": "never"})],
    )
    async with agent.client() as client:
        job = await client.start((await client.create(spec)).id)
    await asyncio.to_thread(agent.end)
    agent.config = ""
    try:
        agent.start()
    except BaseException:
        agent.config = CONFIG  # for the cleaning
        raise
    async with agent.client() as client:
        assert (await client.status(job.id)).pid == job.pid
        assert (await client.stop(job.id, StopSpec(strategy="kill"))).state == State.EXITED
