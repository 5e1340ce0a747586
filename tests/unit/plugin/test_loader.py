"""Each fault of each hook that registers: the agent does not start, and the hook and the reason are named."""

import gc
import sys
import textwrap
from collections.abc import Callable
from types import ModuleType

import pytest

from jobworker.config import BUILT_IN
from jobworker.errors import StartError
from jobworker.plugin.loader import KINDS, MAX_OBJECTS, OBSERVER, installed
from jobworker.testing import load, make_event

FAULTS = {
    "raises": ("raise KeyError('x')", "KeyError: 'x'"),
    "exits": ("raise SystemExit(3)", "SystemExit: 3"),
    "interrupts": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "cancels": ("raise asyncio.CancelledError", "CancelledError"),
    "speechless": ("raise Speechless", "Speechless: its text cannot be read"),
    "none": ("return None", "it returned NoneType; expected a list of objects"),
    "number": ("return 5", "it returned int; expected a list of objects"),
    "text": ("return 'mine'", "it returned str; expected a list of objects"),
    "mapping": ("return {'mine': Mine()}", "it returned dict; expected a list of objects"),
    "promise": ("return later()", "it returned coroutine; expected a list of objects"),
    "nameless": ("return [object()]", "an object whose name is 'None'"),
    "misnamed": ("Mine.name = 'a b'; return [Mine()]", "an object whose name is 'a b'"),
    "renamed": ("Mine.name = 'x' * 1_000_000; return [Mine()]", "an object whose name is 'xxx"),
    "methodless": ("return [Bare()]", "'mine' has no method "),
    "fields": ("return [Fields()]", "'mine' has no method "),
    "twice": ("return [Mine(), Mine()]", "the name 'mine' is taken by the same plugin"),
    "endless": ("return iter(Mine, None)", f"it returned more than {MAX_OBJECTS} objects"),
    "half-way": ("return (Mine() if n < 3 else 1 / 0 for n in range(9))", "ZeroDivisionError"),
    "changes its context": ("context.name = 'token'", "FrozenInstanceError"),
    "wants more": ("return []", "Argument(s) {'more'} are declared"),
}
SOURCE = """
import asyncio
from jobworker.interfaces import hookimpl

class Speechless(Exception):
    def __str__(self): raise IndexError

class Bare:
    name = "mine"

class Fields(Bare):
    authenticate = grants = check = stop = due = secret = submit = 5

class Mine(Bare):
    async def authenticate(self, credentials): ...
    async def grants(self, principal): ...
    def check(self, options): ...
    async def stop(self, job, options): ...
    def due(self, options, facts): ...
    async def secret(self, name, principal): ...
    kill_grace, users, folder, python = 30, False, "/shared", "python3"
    async def submit(self, tag, command, folder, need, options): ...
    async def find(self, prefix): ...
    async def poll(self, jobs): ...
    async def ring(self, tag, engine_id): ...
    async def cancel(self, tag, engine_id): ...

async def later(): ...

@hookimpl
def {hook}({arguments}):
    {body}
"""


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """Make a module of a hook with a body."""

    def make(hook: str, body: str, arguments: str = "context") -> ModuleType:
        made = ModuleType("misregistered")
        exec(textwrap.dedent(SOURCE.format(hook=hook, body=body, arguments=arguments)), vars(made))
        monkeypatch.setitem(sys.modules, made.__name__, made)
        return made

    return make


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("hook", KINDS)
def test_a_fault_at_a_hook(module: Callable[..., ModuleType], hook: str, fault: str) -> None:
    body, reason = FAULTS[fault]
    with pytest.raises(StartError) as refused:
        load(module(hook, body, "context, more" if fault == "wants more" else "context"))
    assert reason in refused.value.message
    assert "plugin 'misregistered' (under test 0): " in refused.value.message
    assert len(refused.value.message) < 1000
    del refused
    gc.collect()  # of the coroutine, while its warning is ignored: later it would fail another test


@pytest.mark.parametrize("hook", KINDS)
def test_what_is_right(module: Callable[..., ModuleType], hook: str) -> None:
    assert list(getattr(load(module(hook, "return [Mine()]")), KINDS[hook].objects)) == ["mine"]
    assert list(getattr(load(module(hook, "yield Mine()")), KINDS[hook].objects)) == ["mine"]
    assert not getattr(load(module(hook, "return []", "")), KINDS[hook].objects)


def test_an_observer_takes_what_it_wants(module: Callable[..., ModuleType]) -> None:
    for arguments in ("event", "context, event", "event, context"):
        observe = load(module(OBSERVER, "return event.event", arguments)).observers["misregistered"]
        assert observe(make_event("started")) == "started"


def test_our_own_plugins_need_no_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of an editable installation are as old as its last `pip install`: a new plugin works all the same."""
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: [])
    found = installed()
    assert set(found) == set(BUILT_IN)
    for name, [(point, plugin)] in found.items():
        assert (point.load().__name__, plugin.package) == (f"jobworker_plugins.{name}", "jobworker")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("Mine.name = 'local'", "whose name is 'local'"),
        ("Mine.kill_grace = 'soon'", "kill_grace is 'soon'; expected a float"),
        ("del Mine.folder", "folder is None; expected a str"),
    ],
)
def test_an_executor_whose_attributes_are_wrong(module: Callable[..., ModuleType], change: str, reason: str) -> None:
    with pytest.raises(StartError) as caught:
        load(module("register_executors", f"{change}; return [Mine()]"))
    assert reason in caught.value.message
