"""`rpc.discover` describes what the agent really takes and answers."""

from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from jsonschema.exceptions import ValidationError

if TYPE_CHECKING:
    from tests.conftest import RunningAgent

# The parts of OpenRPC 1.3.2 that the document has, as its specification describes them; nothing else is allowed.
TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
DESCRIPTOR: dict[str, Any] = {
    "type": "object",
    "required": ["name", "schema"],
    "additionalProperties": False,
    "properties": {
        "name": TEXT,
        "summary": TEXT,
        "description": TEXT,
        "required": {"type": "boolean"},
        "deprecated": {"type": "boolean"},
        "schema": {"type": ["object", "boolean"]},
    },
}
ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["code", "message"],
    "additionalProperties": False,
    "properties": {"code": {"type": "integer"}, "message": TEXT, "data": True},
}
METHOD: dict[str, Any] = {
    "type": "object",
    "required": ["name", "params", "result", "summary"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "pattern": r"^[a-z]+\.[a-z_]+$"},
        "summary": TEXT,
        "paramStructure": {"enum": ["by-name"]},
        "params": {"type": "array", "items": DESCRIPTOR},
        "result": DESCRIPTOR,
    },
}
DOCUMENT: dict[str, Any] = {
    "type": "object",
    "required": ["openrpc", "info", "methods"],
    "additionalProperties": False,
    "patternProperties": {"^x-": True},
    "properties": {
        "openrpc": {"const": "1.3.2"},
        "info": {
            "type": "object",
            "required": ["title", "version"],
            "additionalProperties": False,
            "properties": {
                "title": TEXT,
                "version": TEXT,
                "description": TEXT,
                "license": {"type": "object", "required": ["name"]},
            },
        },
        "methods": {"type": "array", "items": METHOD, "minItems": 30},
        "components": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "schemas": {"type": "object"},
                "errors": {"type": "object", "additionalProperties": ERROR},
            },
        },
    },
}


def whole(document: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    """Return what validates a value against a part of the document, with what that refers to."""
    return Draft202012Validator(schema | {"components": document["components"]})


async def test_the_document_is_openrpc(shared: "RunningAgent") -> None:
    """Its names are unique, its schemas are JSON Schema, and each reference leads to one of them."""
    async with shared.client() as client:
        document = await client.call("rpc.discover")
    Draft7Validator(DOCUMENT).validate(document)
    names = [method["name"] for method in document["methods"]]
    assert names == sorted(set(names))
    for method in document["methods"]:
        params = [param["name"] for param in method["params"]]
        assert len(params) == len(set(params))
        required = [param["required"] for param in method["params"]]
        assert required == sorted(required, reverse=True), "as OpenRPC wants it: the required ones first"
        for described in [*method["params"], method["result"]]:
            Draft202012Validator.check_schema(described["schema"])
            list(whole(document, described["schema"]).iter_errors(None))  # raises if a reference leads nowhere
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
        list(whole(document, schema).iter_errors({}))
    notifications = {described["name"] for described in document["x-notifications"]}
    assert notifications == {"log.data", "log.gap", "log.end", "job.event", "event.gap"}


async def test_real_answers(shared: "RunningAgent") -> None:
    """What is sent and answered is what the document describes; a method that the agent lacks is not in it."""
    seen: set[str] = set()
    async with shared.client() as client:
        document = await client.call("rpc.discover")
        methods = {method["name"]: method for method in document["methods"]}

        async def ask(name: str, /, **params: Any) -> Any:
            described = {param["name"]: param for param in methods[name]["params"]}
            assert params.keys() <= described.keys()
            assert {param for param, how in described.items() if how["required"]} <= params.keys()
            for param, value in params.items():
                whole(document, described[param]["schema"]).validate(value)
            answer = await client.call(name, **params)
            whole(document, methods[name]["result"]["schema"]).validate(answer)
            seen.add(name)
            return answer

        for name in (
            "agent.ping",
            "agent.info",
            "agent.health",
            "audit.list",
            "auth.whoami",
            "plugin.list",
            "session.list",
            "rpc.discover",
        ):
            await ask(name)
        created = (await ask("job.create", spec={"argv": ["sleep", "600"], "stdin": "pipe", "name": "discovered"}))[
            "id"
        ]
        await ask("job.start", id=created)
        lease = (await ask("stdin.claim", id=created))["lease"]
        await ask("stdin.write", id=created, data="x", lease=lease)
        await ask("job.status", id=created)
        await ask("log.unsubscribe", subscription=(await ask("log.subscribe", id=created))["subscription"])
        await ask("stdin.release", id=created, lease=lease)
        await ask("stdin.close", id=created)
        await ask("job.pause", id=created)
        await ask("job.resume", id=created)
        await ask("job.update", id=created, labels={"a": "b"}, timeout="1h")
        await ask("job.signal", id=created, signal="CONT")
        await ask("job.stats", id=created, processes=True)
        await ask("job.stop", id=created, stop={"strategy": "kill"})
        run = await ask("job.run", spec={"shell": r"echo a; printf '\377'; echo b >&2"})
        await ask("job.wait", id=run["job"]["id"], timeout=60)
        await ask("log.read", id=run["job"]["id"])
        await ask("log.search", id=run["job"]["id"], pattern="a", **{"from": 0})
        await ask("log.lines", id=run["job"]["id"], line=1)
        await ask("event.unsubscribe", subscription=(await ask("event.subscribe"))["subscription"])
        await ask("job.explain", id=created)
        await ask("job.list", states=["exited"], limit=1)
        await ask("job.delete", id=created)
        await ask("token.create", name="discovered", roles=["admin"])
        await ask("token.renew", name="discovered", expires_in="1h")
        await ask("token.list")
        await ask("token.revoke", name="discovered")
        broken = methods["job.status"]["result"]["schema"]
        with pytest.raises(ValidationError):
            whole(document, broken).validate({"id": 1})
    assert len(seen) >= 30
