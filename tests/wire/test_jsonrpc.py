"""JSON-RPC 2.0 as the protocol defines it, whatever a client sends."""

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.support.wire import Wire

pytestmark = pytest.mark.usefixtures("unharmed")

PING = {"jsonrpc": "2.0", "method": "agent.ping"}
FOREIGN_IDS = [None, True, False, 1.0, 1.5, [], [1], {}, {"a": 1}, 2**53 + 1, -(2**53) - 1, 2**64, 10**30]


def nested(depth: int) -> str:
    """Return a ping with params of a label that makes it this deep."""
    inner = "[" * (depth - 2) + "]" * (depth - 2)
    return f'{{"jsonrpc": "2.0", "id": 1, "method": "job.list", "params": {{"labels": {inner}}}}}'


async def test_an_unknown_method_is_named(wire: "Wire") -> None:
    """A method that is not in the protocol: -32601, with its name."""
    error = await wire.refused("job.fly")
    assert error["code"] == -32601
    assert "job.fly" in error["message"]


@pytest.mark.parametrize(
    ("method", "params", "field"),
    [
        ("job.status", {}, "id"),
        ("job.status", {"id": 5}, "id"),
        ("job.status", {"id": None}, "id"),
        ("job.status", {"id": "a", "bogus": 1}, "bogus"),
        ("job.status", {"id": "a", "call": 1}, "call"),
        ("job.create", {}, "spec"),
        ("job.create", {"spec": []}, "spec"),
        ("job.create", {"spec": {"argv": "ls"}}, "spec.argv"),
        ("job.create", {"spec": {"argv": ["ls", 5]}}, "spec.argv[1]"),
        ("job.create", {"spec": {"shell": ["ls"]}}, "spec.shell"),
        ("job.create", {"spec": {"shell": None}}, "spec.shell"),
        ("job.create", {"spec": {"shell": "ls", "env": ["A=1"]}}, "spec.env"),
        ("job.create", {"spec": {"shell": "ls", "bogus": 1}}, "spec.bogus"),
        ("job.create", {"spec": {"shell": "ls", "timeout": True}}, "spec.timeout"),
        ("job.create", {"spec": {"shell": "ls", "stop": {"bogus": 1}}}, "spec.stop.bogus"),
        ("job.create", {"spec": {"shell": "ls", "tty": 1}}, "spec.tty"),
        ("job.create", {"spec": {"shell": "ls"}, "key": 5}, "key"),
        ("job.run", {"spec": {"shell": "ls"}, "encoding": "utf8"}, "encoding"),
        ("job.list", {"limit": 0}, "limit"),
        ("job.list", {"limit": 1001}, "limit"),
        ("job.list", {"limit": "5"}, "limit"),
        ("job.list", {"cursor": "../x"}, "cursor"),
        ("job.list", {"states": "running"}, "states"),
        ("job.list", {"states": ["asleep"]}, "states[0]"),
        ("job.stop", {"id": "a", "stop": "kill"}, "stop"),
        ("job.delete", {"id": "a", "force": "yes"}, "force"),
        ("log.subscribe", {"id": "a", "offset": "0"}, "offset"),
        ("log.subscribe", {"id": "a", "offset": 0.5}, "offset"),
        ("log.subscribe", {"id": "a", "offset": True}, "offset"),
        ("log.subscribe", {"id": "a", "follow": 1}, "follow"),
        ("log.subscribe", {"id": "a", "encoding": "latin1"}, "encoding"),
        ("log.unsubscribe", {}, "subscription"),
        ("agent.ping", {"bogus": 1}, "bogus"),
        ("token.create", {"name": "x"}, "roles"),
        ("token.create", {"name": "x", "roles": ["king"]}, "roles"),
        ("token.create", {"name": "", "roles": ["reader"]}, "name"),
        ("token.revoke", {"name": "nobody"}, "name"),
    ],
)
async def test_a_bad_param_is_named(wire: "Wire", method: str, params: dict[str, Any], field: str) -> None:
    """A missing, unknown or ill-typed param: -32602, with its name in data.field."""
    error = await wire.refused(method, **params)
    assert error["code"] == -32602
    assert error["data"]["field"] == field
    assert field.rpartition(".")[2].partition("[")[0] in error["message"]


@pytest.mark.parametrize("params", [[], ["a"], "a", 5, None])
async def test_params_are_given_by_name(wire: "Wire", params: Any) -> None:
    """Positional params, or none at all: -32602."""
    answer = await wire.tell({**PING, "id": 7, "params": params})
    assert answer["id"] == 7
    assert answer["error"]["code"] == -32602


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{",
        "nonsense",
        "{'id': 1}",
        '{"jsonrpc": "2.0", "id": 1, "method": "agent.ping",}',
        '{"jsonrpc": "2.0", "id": NaN, "method": "agent.ping"}',
        '{"jsonrpc": "2.0", "id": Infinity, "method": "agent.ping"}',
        '{"jsonrpc": "2.0", "id": 1e400, "method": "agent.ping"}',
        '{"jsonrpc": "2.0", "id": 01, "method": "agent.ping"}',
        '{"jsonrpc": "2.0", "id": "\\ud800", "method": "agent.ping"}',
        '{"jsonrpc": "2.0", "id": "\\udc00x", "method": "agent.ping"}',
        '{"jsonrpc": "2.0", "id": 1, "method": "agent.ping"} {}',
        '{"jsonrpc": "2.0", "id": "a\tb", "method": "agent.ping"}',
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        "[" * 100_000,
    ],
    ids=lambda text: ascii(text)[:60],
)
async def test_only_strict_json_is_read(wire: "Wire", text: str) -> None:
    """What is not the JSON of RFC 8259: -32700 with id null."""
    answer = await wire.tell(text)
    assert answer["id"] is None
    assert answer["error"]["code"] == -32700


async def test_an_integer_of_5000_digits_is_answered(wire: "Wire") -> None:
    """A number that no id can be is an error, not a silence."""
    answer = await wire.tell('{"jsonrpc": "2.0", "id": ' + "1" * 5000 + ', "method": "agent.ping"}')
    assert answer["id"] is None
    assert answer["error"]["code"] in (-32700, -32600)
    answer = await wire.tell(
        '{"jsonrpc": "2.0", "id": 1, "method": "job.list", "params": {"limit": ' + "1" * 5000 + "}}"
    )
    assert answer["error"]["code"] in (-32700, -32600, -32602)


async def test_a_depth_of_33_is_too_deep(wire: "Wire") -> None:
    """32 levels are read, one more is an invalid request, and so are more than any decoder reads."""
    read = await wire.tell(nested(32))
    assert (read["id"], read["error"]["code"], read["error"]["data"]["field"]) == (1, -32602, "labels")
    for depth in (33, 900, 1100, 4999):
        refused = await wire.tell(nested(depth))
        assert (refused["id"], refused["error"]["code"]) == (None, -32600), depth


@pytest.mark.parametrize(
    "request_",
    [
        {"method": "agent.ping", "id": 1},
        {"jsonrpc": "1.0", "method": "agent.ping", "id": 1},
        {"jsonrpc": 2.0, "method": "agent.ping", "id": 1},
        {"jsonrpc": "2.0", "id": 1},
        {"jsonrpc": "2.0", "method": 5, "id": 1},
        {"jsonrpc": "2.0", "method": None, "id": 1},
        {"jsonrpc": "2.0", "result": 1, "id": 1},
    ],
    ids=str,
)
async def test_another_request_than_of_json_rpc_2(wire: "Wire", request_: Any) -> None:
    """A wrong version or no method: -32600, with the id of the request if it has one."""
    answer = await wire.tell(request_)
    assert (answer["id"], answer["error"]["code"]) == (1, -32600)


@pytest.mark.parametrize("message", [5, "text", None, True, 1.5])
async def test_a_request_is_an_object(wire: "Wire", message: Any) -> None:
    """Any other JSON value: -32600 with id null."""
    answer = await wire.tell(json.dumps(message))
    assert (answer["id"], answer["error"]["code"]) == (None, -32600)


@pytest.mark.parametrize("id_", ["", "a", "ä\U0001f600", "x" * 5000, 0, 1, -1, 2**53, -(2**53)])
async def test_an_id_comes_back_as_it_was(wire: "Wire", id_: Any) -> None:
    """Strings and integers within ±2^53 are ids."""
    answer = await wire.tell({**PING, "id": id_})
    assert answer["id"] == id_
    assert type(answer["id"]) is type(id_)
    assert answer["jsonrpc"] == "2.0"
    assert set(answer["result"]) == {"time"}


@pytest.mark.parametrize("id_", FOREIGN_IDS, ids=str)
async def test_any_other_id_is_refused(wire: "Wire", id_: Any) -> None:
    """Any other id: -32600 with id null, and the method does not run."""
    request = {"jsonrpc": "2.0", "method": "job.create", "params": {"spec": {"shell": ":"}}, "id": id_}
    newest = (await wire.ask("job.list", limit=1))["jobs"]
    answer = await wire.tell(request)
    assert (answer["id"], answer["error"]["code"]) == (None, -32600)
    assert (await wire.ask("job.list", limit=1))["jobs"] == newest


async def test_a_notification_runs_and_is_not_answered(wire: "Wire") -> None:
    """A request without id is carried out without an answer, also if it fails."""
    await wire.say({"jsonrpc": "2.0", "method": "job.fly"})
    await wire.say({"jsonrpc": "2.0", "method": "job.status", "params": {"id": 5}})
    spec = {"shell": ":", "labels": {"made": "in-silence"}}
    await wire.say({"jsonrpc": "2.0", "method": "job.create", "params": {"spec": spec}})
    found: list[Any] = []
    while not found:
        found = (await wire.ask("job.list", labels={"made": "in-silence"}))["jobs"]
    assert wire.strays == [], "no answer but those to the calls above"
    await wire.ask("job.delete", id=found[0]["id"])


async def test_a_batch_gets_one_array(wire: "Wire") -> None:
    """Each member of a batch has its own answer, an invalid one an error with id null."""
    batch = [{**PING, "id": 1}, 5, {**PING, "id": None}, {"jsonrpc": "2.0", "method": "job.fly", "id": "b"}, PING, []]
    answers = await wire.tell(batch)
    assert [answer["id"] for answer in answers] == [1, None, None, "b", None]
    assert "result" in answers[0]
    assert [answer["error"]["code"] for answer in answers[1:]] == [-32600, -32600, -32601, -32600]


async def test_a_batch_of_fifty(wire: "Wire") -> None:
    """Fifty are answered, fifty-one get one error."""
    answers = await wire.tell([{**PING, "id": number} for number in range(50)])
    assert sorted(answer["id"] for answer in answers) == list(range(50))
    answer = await wire.tell([{**PING, "id": number} for number in range(51)])
    assert (answer["id"], answer["error"]["code"]) == (None, -32600)


async def test_an_empty_batch(wire: "Wire") -> None:
    """One error, not an empty array."""
    answer = await wire.tell([])
    assert (answer["id"], answer["error"]["code"]) == (None, -32600)


async def test_a_batch_of_notifications_is_not_answered(wire: "Wire") -> None:
    """Not even with an empty array."""
    await wire.say([PING, PING])
    assert (await wire.tell({**PING, "id": "next"}))["id"] == "next"


async def test_answers_come_as_calls_finish(wire: "Wire") -> None:
    """A call that waits holds up no other call of its connection."""
    job = await wire.run(argv=["sleep", "1000"])
    waiting = await wire.begin("job.wait", id=job["id"])
    assert "time" in await wire.ask("agent.ping")
    await wire.ask("job.stop", id=job["id"])
    assert (await wire.answer(waiting))["result"]["exit"]["signal"] == "SIGTERM"


async def test_a_batch_with_a_call_that_waits(wire: "Wire") -> None:
    """A batch is answered when all of it has ended; single calls go on meanwhile."""
    job = await wire.run(argv=["sleep", "1000"])
    await wire.say(
        [{**PING, "id": "p"}, {"jsonrpc": "2.0", "id": "w", "method": "job.wait", "params": {"id": job["id"]}}]
    )
    await wire.ask("job.stop", id=job["id"])
    while not wire.strays:
        wire.strays.append(await wire.hear())
    answers = wire.strays[0]
    assert {answer["id"] for answer in answers} == {"p", "w"}


@pytest.mark.parametrize(
    "text",
    [
        '{"jsonrpc": "2.0", "id": 1, "id": 2, "method": "agent.ping"}',
        '{"jsonrpc": "2.0", "id": 1, "method": "agent.info", "method": "agent.ping"}',
        '{"jsonrpc": "2.0", "id": 1, "m\\u0065thod": "agent.info", "method": "agent.ping"}',
        '{"jsonrpc": "2.0", "id": 1, "method": "job.run", "params": {"spec": {"argv": ["a"], "argv": ["true"]}}}',
        '{"jsonrpc": "2.0", "id": 1, "method": "job.run", "params": {"spec": {"argv": ["true"]}, "spec": {}}}',
        '{"jsonrpc": "2.0", "id": 1, "method": "agent.ping", "params": {}, "params": {}}',
        '[{"jsonrpc": "2.0", "id": 1, "method": "agent.ping", "id": 2}]',
    ],
)
async def test_a_key_that_is_twice_in_an_object(wire: "Wire", text: str) -> None:
    """A proxy may have checked the other value: it is no JSON that the agent reads."""
    answer = await wire.tell(text)
    answer = answer[0] if isinstance(answer, list) else answer
    assert answer["error"]["code"] == -32700
    assert "is twice in an object; expected once" in answer["error"]["message"]


async def test_the_same_key_in_two_objects(wire: "Wire") -> None:
    """And texts with colons and quotes are no keys."""
    job = await wire.create(argv=["echo", '"id":1,"id":2'], env={"id": "a:b"}, labels={"id": ":"})
    assert (await wire.ask("job.status", id=job))["labels"] == {"id": ":"}
    text = '{"id": "a:b:c", "jsonrpc": "2.0", "method": "agent.ping"}'
    assert "result" in await wire.tell(text)
