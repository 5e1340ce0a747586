"""Plugins: at the start the faults of one are named, and what those that are loaded do to a job is told."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import faulty

from jobworker import config
from jobworker.errors import PolicyRejected, RpcError
from jobworker.model import JobSpec, Reason, State, StopSpec, TimeoutSpec

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
        ("x = 1", "implements no hook; expected one of register_auth_providers"),
        (
            """
            from jobworker import hookimpl
            @hookimpl(wrapper=True)
            def register_stop_strategies(context):
                return (yield)
            """,
            "it is a wrapper; expected a plain hook",
        ),
        (
            """
            from jobworker import hookimpl
            Settings = 5
            @hookimpl
            def register_stop_strategies(context):
                return []
            """,
            "TypeError",
        ),
        (
            """
            import msgspec
            from jobworker import hookimpl
            class Settings(msgspec.Struct, forbid_unknown_fields=True):
                size: int
                def __post_init__(self): raise ValueError("size: of no use")
            @hookimpl
            def register_stop_strategies(context):
                return []
            """,
            "[plugins.broken] size: missing",
        ),
    ],
    ids=["import", "syntax", "exit", "taken", "argument", "hook", "empty", "wrapper", "schema", "missing"],
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


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("[plugins.sized]\nsize = 'x'", "[plugins.sized] size: 'x'; expected int"),
        ("[plugins.sized]\nsize = 0", "[plugins.sized] size: 0; expected more"),
        (
            "[plugins.sized]\nsize = 1\ncolour = 2",
            "[plugins.sized] colour: unknown; expected some of size (required)",
        ),
        ("[plugins.sized]\nsize = 7", "TypeError: seven"),
        (
            "[plugins.sized]\nsize = 1\n[plugins.kill]\na = 1",
            "[plugins.kill] a: unknown; the plugin takes no settings",
        ),
        ("[plugins.sized]\nsize = 1\n[plugins.seized]", "[plugins.seized]: no such plugin is installed"),
    ],
)
def test_settings_that_cannot_be_used(plugin: Install, refused: Callable[..., str], table: str, reason: str) -> None:
    """The key, the value and what was expected, and no other plugin's table is read for it."""
    source = """
    import msgspec
    from jobworker import hookimpl
    class Settings(msgspec.Struct, forbid_unknown_fields=True):
        size: int
        def __post_init__(self):
            if self.size == 7:
                raise TypeError("seven")
            if not self.size:
                raise ValueError(f"size: {self.size}; expected more")
    @hookimpl
    def register_stop_strategies(context):
        return []
    """
    plugin("sized", source)
    assert reason in refused(f"[plugins]\nenabled = [{BUILT_IN}, 'sized']\n{table}\n")


def test_two_packages_with_a_plugin_of_one_name(plugin: Install, refused: Callable[..., str], tmp_path: Path) -> None:
    """Nobody can say which of them is meant."""
    source = "from jobworker import hookimpl\n@hookimpl\ndef register_stop_strategies(context): return []\n"
    plugin("one", source)
    plugin("two", source)
    (tmp_path / "site" / "jobworker_two-4.5.6.dist-info" / "entry_points.txt").write_text(
        "[jobworker]\none = two_plugin\n"
    )
    said = refused(f"[plugins]\nenabled = [{BUILT_IN}, 'one']\n")
    assert "'one' is provided by jobworker-one 4.5.6 and jobworker-two 4.5.6" in said or (
        "'one' is provided by jobworker-two 4.5.6 and jobworker-one 4.5.6" in said
    )


def test_one_that_is_enabled_twice(refused: Callable[..., str]) -> None:
    assert "'kill' is there twice" in refused(f"[plugins]\nenabled = [{BUILT_IN}, 'kill']\n")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["time.sleep(3600)", "[x for x in iter(int, 1)]"], ids=["sleeps", "spins"])
def test_one_that_never_gets_ready(plugin: Install, refused: Callable[..., str], what: str) -> None:
    """The start is given up in time."""
    plugin("late", f"import time\n{what}\n")
    said = refused(f"[plugins]\nenabled = [{BUILT_IN}, 'late']\n")
    assert "plugin 'late' (jobworker-late 4.5.6): it is not loaded after 10 s" in said


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ("{policy = 'never'}", "jobs.timeout_policies: no plugin registers 'never'"),
        ("{policy = 'idle'}", "jobs.timeout_policies: idle refuses its options: "),
    ],
)
def test_limits_for_every_job_that_cannot_be_used(refused: Callable[..., str], limit: str, reason: str) -> None:
    assert reason in refused(f"[jobs]\ntimeout_policies = [{limit}]\n")


# At work


async def test_a_limit_for_every_job(start: "Callable[..., RunningAgent]") -> None:
    """It holds whatever the spec says, which is not changed by it."""
    agent = start("[jobs]\ntimeout_policies = [{policy = 'idle', options = {limit = '200ms'}}]\n")
    async with agent.client() as client:
        spec = JobSpec(argv=["sleep", "1000"], timeout=None)
        job = await client.start((await client.create(spec)).id)
        ended = await client.wait(job.id, 10)
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
        ended = await client.wait(job.id, 10)
        told = (await client.call("job.explain", id=job.id))["chain"]
    assert ended.exit is not None
    assert (ended.exit.reason, ended.exit.by) == (Reason.TIMEOUT, "total")
    failed = [link["detail"] for link in told if link["by"] == "raises.due"]
    assert len(failed) == 2
    assert all("RuntimeError" in detail and "0.3 s in all instead" in detail for detail in failed)


async def test_an_observer_hears_all_in_order(plugin: Install, start: "Callable[..., RunningAgent]") -> None:
    """However slow it is, and nobody waits for it."""
    source = """
    import asyncio
    from jobworker.interfaces import hookimpl
    @hookimpl
    async def job_changed(event, context):
        await asyncio.sleep(0.01)
        with open(context.state / "heard", "a") as file:
            file.write(f"{event.revision} {event.job.id} {event.event}\\n")
    """
    plugin("listener", source)
    agent = start(f"[plugins]\nenabled = [{BUILT_IN}, 'listener']\n")
    async with agent.client() as client:
        async with asyncio.timeout(10):
            ids = [(await client.create(JobSpec(shell="exit 3"))).id for _ in range(20)]
            await asyncio.gather(*(client.start(job) for job in ids))
            await asyncio.gather(*(client.wait(job, 10) for job in ids))
        heard = agent.home.path / "heard"
        async with asyncio.timeout(10):
            while not heard.exists() or len(heard.read_text().splitlines()) < 60:  # noqa: ASYNC110  # a file
                await asyncio.sleep(0.01)
    lines = [line.split() for line in heard.read_text().splitlines()]
    revisions = [int(revision) for revision, _, _ in lines]
    assert revisions == sorted(set(revisions))
    for job in ids:
        assert [what for _, about, what in lines if about == job] == ["created", "started", "exited"]


async def test_what_a_strategy_raises_is_told(plugin: Install, start: "Callable[..., RunningAgent]") -> None:
    """In the receipt, in the explanation as the agent's doing, by `jw stop`; its line is in the log."""
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
    async with agent.client() as client, asyncio.timeout(4):
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
    """An agent whose usual stop strategy says what nobody can write down, and refuses later what it took first."""
    plugin("odd", STUBBORN)
    config = "[jobs]\nstop_strategy = 'odd'\n[agent]\non_shutdown = 'stop'\n"
    return start(f"{config}[plugins]\nenabled = [{BUILT_IN}, 'odd']\n")


@pytest.mark.parametrize("signal", ["SIGHUP", "SIGTERM"])
async def test_what_nobody_can_write_down(odd: "RunningAgent", signal: str) -> None:
    """The job is killed all the same, and the job table goes on to be written."""
    async with odd.client() as client, asyncio.timeout(10):
        policies = [TimeoutSpec("odd", {})]
        spec = JobSpec(argv=["sleep", "1000"], timeout_policies=policies)
        job = await client.start((await client.create(spec)).id)
        stopped = await client.stop(job.id, StopSpec(signal=signal))
        assert stopped.exit is not None
        assert stopped.exit.receipt is not None
        assert [step.action for step in stopped.exit.receipt.steps] == ["strategy_failed", "kill", "signal"]
        told = (await client.call("job.explain", id=job.id))["chain"]
        assert [link["by"] for link in told if link["what"] == "a time limit failed and is not enforced"] == ["odd"]
        assert (await client.create(JobSpec(shell=":"))).state == State.CREATED


async def test_a_usual_strategy_that_fails(odd: "RunningAgent") -> None:
    """Time limits still end jobs, and the agent still ends them when it is told to end."""
    async with odd.client() as client:
        late = await client.start((await client.create(JobSpec(argv=["sleep", "1000"], timeout="2s"))).id)
        other = await client.start((await client.create(JobSpec(argv=["sleep", "1000"]))).id)
        (odd.home.path / "changed").touch()
    await asyncio.to_thread(odd.kill)  # else it is known by now that the options, which are none, will do
    (odd.home.path / "changed").unlink()
    odd.start()
    (odd.home.path / "changed").touch()
    async with odd.client() as client:
        ended = await client.wait(late.id, 10)
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
    async with agent.client() as client, asyncio.timeout(15):
        job = await client.create(JobSpec(argv=["sleep", "1000"], timeout_policies=[TimeoutSpec("busy", {"a": 1})]))
        with pytest.raises(PolicyRejected):
            await client.create(JobSpec(shell=":", stop=StopSpec(strategy="busy", options={"block": str(gate)})))
        assert (await client.call("agent.info"))["plugins"][-1]["blocked"]
        await client.start(job.id)
        fd = await asyncio.to_thread(os.open, gate, os.O_WRONLY)
        os.close(fd)
        ended = await client.wait(job.id, 10)
    assert ended.exit is not None
    assert (ended.exit.reason, ended.exit.by) == (Reason.TIMEOUT, "busy")


async def test_an_observer_goes_on_where_it_was(plugin: Install, start: "Callable[..., RunningAgent]") -> None:
    """What it had not heard yet when the agent was killed, and what happened meanwhile, it hears from the next."""
    source = """
    import asyncio
    from jobworker.interfaces import hookimpl
    @hookimpl
    async def job_changed(event, context):
        with open(context.state / "heard", "a") as file:
            file.write(f"{event.job.id} {event.event}\\n")
        await asyncio.sleep(0.1)
    """
    plugin("listener", source)
    agent = start(f"[plugins]\nenabled = [{BUILT_IN}, 'listener']\n")
    heard = agent.home.path / "heard"
    async with agent.client() as client:
        made = [(await client.create(JobSpec(argv=["sleep", "1000"]))).id for _ in range(5)]
        job = await client.start(made[0])
    await _until(heard.exists)
    await asyncio.to_thread(agent.kill)
    assert len(heard.read_text().splitlines()) < 5
    assert job.pid is not None
    os.kill(job.pid, 9)
    agent.start()
    await _until(lambda: f"{job.id} exited" in heard.read_text())
    told = [f"{each} created" for each in made] + [f"{job.id} started", f"{job.id} exited"]
    assert [*dict.fromkeys(heard.read_text().splitlines())] == told


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110  # a file, which nobody tells of
            await asyncio.sleep(0.01)


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
