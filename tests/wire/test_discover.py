"""`rpc.discover` describes what the agent really takes and answers."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

if TYPE_CHECKING:
    from tests.conftest import RunningAgent

# The meta-schema of OpenRPC as its authors publish it (Apache-2.0: tests/data/openrpc/LICENSE.md).
META: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "openrpc" / "meta-schema.json").read_text())
# It refers to JSON Schema by this address, and to the type of its `$ref`.
ADDRESS = "https://meta.json-schema.tools"
ANY_SCHEMA: dict[str, Any] = {name: value for name, value in Draft7Validator.META_SCHEMA.items() if name != "$id"}
ANY_SCHEMA["definitions"] |= {"JSONSchemaObject": {"properties": {"$ref": {"type": "string"}}}}
RESOURCE = Resource.from_contents(ANY_SCHEMA, default_specification=DRAFT7)
REGISTRY: Registry[Any] = Registry().with_resources([(ADDRESS, RESOURCE), (f"{ADDRESS}/", RESOURCE)])


def whole(document: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    """Return what validates a value against a part of the document, with what that refers to."""
    return Draft202012Validator(schema | {"components": document["components"]})


async def test_the_document_is_openrpc(shared: "RunningAgent") -> None:
    """Its names are unique, its schemas are JSON Schema, and each reference leads to one of them."""
    async with shared.client() as client:
        document = await client.call("rpc.discover")
    official = Draft7Validator(META, registry=REGISTRY)
    official.validate(document)
    for fault in (
        {"openrpc": "9.9"},
        {"methods": [{"name": "x"}]},
        {"methods": [{"name": "x", "params": [{"name": "y", "schema": {"type": 1}}], "result": {}}]},
    ):
        assert not official.is_valid(document | fault), fault
    names = [method["name"] for method in document["methods"]]
    assert names == sorted(set(names))
    for method in document["methods"]:
        params = [param["name"] for param in method["params"]]
        assert len(params) == len(set(params))
        assert method["summary"]
        assert [param["name"] for param in method["params"] if not param.get("description")] == []
        required = [param["required"] for param in method["params"]]
        assert required == sorted(required, reverse=True), "as OpenRPC wants it: the required ones first"
        for described in [*method["params"], method["result"]]:
            Draft202012Validator.check_schema(described["schema"])
            list(whole(document, described["schema"]).iter_errors(None))  # raises if a reference leads nowhere
    for name, schema in document["components"]["schemas"].items():
        if name in ("Job", "JobSpec", "Exit", "LimitSpec", "LogSpec", "StopSpec"):
            assert [field for field, how in schema["properties"].items() if not how.get("description")] == [], name
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
            "agent.garbage",
            "agent.gc",
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
