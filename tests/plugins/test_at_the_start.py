"""Plugins at the start of an agent: the faults of one are named, with what was expected."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.plugin_site import BUILT_IN, Install

from jobworker import config

if TYPE_CHECKING:
    from tests.conftest import RunningAgent


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
    """The start is refused, because it is ambiguous."""
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
def test_limits_for_every_job_that_cannot_be_used(unfit: Callable[[str], str], limit: str, reason: str) -> None:
    assert reason in unfit(f"[jobs]\ntimeout_policies = [{limit}]\n")
