"""Each method of the protocol has a typed method in both clients, with all its params, and a row on the page."""

import ast
import inspect
import re
from pathlib import Path

import msgspec
import pytest
from docs import blocking_client
from docs.generate import CLIENT, verbs

from jobworker.client import Client, Events, JobInput, Subscription, connect, connect_blocking
from jobworker.client.blocking import client as blocking
from jobworker.client.blocking import events as blocking_events
from jobworker.client.blocking import input as blocking_input
from jobworker.client.blocking import subscription as blocking_subscription
from jobworker.client.verbs import Changes
from jobworker.server.dispatch import FUNCTIONS, PARAMS
from jobworker.server.openrpc import result_type
from jobworker_cli.commands import MODULES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "rpc.md"
PAIRS: dict[str, tuple[type, type]] = {
    "": (Client, blocking.Client),
    "Subscription": (Subscription, blocking_subscription.Subscription),
    "Events": (Events, blocking_events.Events),
    "JobInput": (JobInput, blocking_input.JobInput),
}
# Params that a client gives by itself, or by another object: the encoding that it wants, the place in an input.
BY_ITSELF = {
    "job.run": {"encoding"},
    "log.read": {"encoding"},
    "log.subscribe": {"encoding", "id"},
    "event.subscribe": {"from"},
    "stdin.write": {"data", "encoding", "offset", "lease", "close_on_disconnect"},
    "stdin.close": {"offset", "lease"},
}


@pytest.mark.parametrize("name", blocking_client.SOURCES)
def test_the_blocking_client_is_made_of_the_other(name: str) -> None:
    path = CLIENT / "blocking" / f"{name}.py"
    assert path.read_text() == blocking_client.blocking(name), "run python docs/generate.py"


def test_each_method_of_the_protocol_is_a_method_of_both_clients() -> None:
    """With a docstring, a type for each param and for the result, and the same names in both."""
    called = verbs()
    assert called.keys() == PARAMS.keys(), (
        "add the method to agent/jobworker/client/verbs.py or agent_verbs.py; docs/generate.py"
    )
    for method, verb in called.items():
        owner, _, name = verb.rpartition(".")
        ours, theirs = (getattr(cls, name) for cls in PAIRS[owner])
        assert inspect.iscoroutinefunction(ours), method
        assert not inspect.iscoroutinefunction(theirs), method
        assert ours.__doc__, verb
        signatures = [inspect.signature(function) for function in (ours, theirs)]
        assert [*signatures[0].parameters] == [*signatures[1].parameters]
        for signature in signatures:
            types = [param.annotation for param in [*signature.parameters.values()][1:]]
            assert inspect.Parameter.empty not in [*types, signature.return_annotation], verb


def test_both_clients_have_the_same_methods() -> None:
    def methods(cls: type) -> dict[str, list[str]]:
        public = inspect.getmembers(cls, inspect.isfunction)
        return {name: [*inspect.signature(method).parameters] for name, method in public if name[0] != "_"}

    ours, theirs = methods(Client), methods(blocking.Client)
    del theirs["call_all"]  # of the other client, calls can be gathered
    assert ours == theirs
    assert [*inspect.signature(connect).parameters] == [*inspect.signature(connect_blocking).parameters]


def names_in(function: ast.AsyncFunctionDef) -> set[str]:
    """Return the params that a method gives, by name."""
    keywords = {word.arg for node in ast.walk(function) if isinstance(node, ast.Call) for word in node.keywords}
    keys = {
        str(key.value)
        for node in ast.walk(function)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    }
    names = {word for word in keywords if word} | keys
    return names | Changes.__annotations__.keys() if function.args.kwarg and function.name == "update" else names


def test_each_param_can_be_given() -> None:
    """And no param that the method does not have."""
    trees = (ast.parse((CLIENT / f"{name}.py").read_text()) for name in ("verbs", "agent_verbs"))
    functions = {
        node.name: node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)
    }
    for method, verb in verbs().items():
        if verb in functions:
            wanted = {field.encode_name for field in msgspec.structs.fields(PARAMS[method])}
            given = names_in(functions[verb])
            assert wanted - BY_ITSELF.get(method, set()) <= given, (method, "has a param that the client lacks")
            if method not in BY_ITSELF:
                assert given <= wanted, (method, "has no such param")


def test_each_result_has_a_type() -> None:
    """Not just any object, but for the one that describes all others; and each method says what it does."""
    for name, function in FUNCTIONS.items():
        kind = result_type(function)
        is_type = kind is bool or (isinstance(kind, type) and issubclass(kind, msgspec.Struct))
        assert is_type or name == "rpc.discover", f"{name}: {kind}; expected a type of jobworker.results"
        assert function.__doc__, name


def test_each_method_has_a_row_and_a_command() -> None:
    rows = re.findall(r"(?m)^\| \[`([\w.]+)`\]\(#\w+\) \| `[\w.]+` \| (.*) \|$", PAGE.read_text())
    assert {method for method, _ in rows} == PARAMS.keys()
    for method, cell in rows:
        words = re.findall(r"`jw (\w+)", cell)
        assert words, f"{method}: which command of jw calls it? `jw rpc` if none does"
        assert set(words) <= MODULES.keys(), method
