"""Describe the methods as an OpenRPC document: of the types of their params and results, and of the errors.

What a param or a field means is in `descriptions.json`, which docs/generate.py makes of the pages of the reference.
"""

import functools
import json
import re
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec

from jobworker import __version__, errors
from jobworker.model import EventGap, JobEvent, LogEnd, LogGap
from jobworker.results import LogRecord
from jobworker.server.dispatch import FUNCTIONS, PARAMS

VERSION = "1.3.2"  # of the OpenRPC specification
REFERENCES = "#/components/schemas/"
# What the agent sends by itself, with the type of its params.
NOTIFICATIONS = {
    "log.data": LogRecord,
    "log.gap": LogGap,
    "log.end": LogEnd,
    "job.event": JobEvent,
    "event.gap": EventGap,
}

Schema = dict[str, Any]


def result_type(function: Callable[..., Any]) -> Any:
    """Return the type of a result: the return annotation, in which a coroutine stands for what it returns."""
    annotation = function.__annotations__["return"]
    if get_origin(annotation) is None:
        return annotation
    choices = [choice for choice in get_args(annotation) if get_origin(choice) is not Coroutine]
    return choices[0] if len(choices) < len(get_args(annotation)) else annotation


@functools.cache
def document() -> dict[str, Any]:
    """Return the document as plain data; it is the same for all callers, and must not be changed."""
    results = {name: result_type(function) for name, function in FUNCTIONS.items()}
    types = [*PARAMS.values(), *results.values(), *NOTIFICATIONS.values()]
    schemas, components = msgspec.json.schema_components(types, ref_template=REFERENCES + "{name}")
    of_type = dict(zip(types, schemas, strict=True))
    meanings: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("descriptions.json").read_text())
    described = {
        "methods": [
            {
                "name": name,
                "summary": _summary(FUNCTIONS[name]),
                "paramStructure": "by-name",
                "params": _params(components[_target(of_type[PARAMS[name]])], meanings.get(name, {})),
                "result": {"name": "result", "schema": of_type[results[name]]},
            }
            for name in sorted(FUNCTIONS)
        ],
        "x-notifications": [
            {"name": name, "params": {"name": "params", "schema": of_type[kind]}}
            for name, kind in NOTIFICATIONS.items()
        ],
    }
    needed = _reachable(described, components)
    names = _short_names(needed)
    return {
        "openrpc": VERSION,
        "info": {
            "title": "jobworker",
            "version": __version__,
            "description": "Run Linux processes: JSON-RPC 2.0 over a WebSocket with TLS, at wss://HOST:PORT/rpc.",
            "license": {"name": "Apache-2.0"},
        },
        **_renamed(described, names),
        "components": {
            "schemas": {
                names[name]: _renamed(_explained(components[name], meanings.get(names[name], {})), names)
                for name in needed
            },
            "errors": {cls.__name__: _error(cls) for cls in errors.BY_CODE.values()},
        },
    }


def _summary(function: Callable[..., Any]) -> str:
    """Return the first sentence of a docstring, on one line."""
    text, _, _ = (function.__doc__ or "").partition("\n\n")
    return re.sub(r"\s+", " ", text).strip()


def _params(schema: Schema, meanings: dict[str, str]) -> list[dict[str, Any]]:
    """Return the fields of a params type as content descriptors, the required ones first."""
    required = schema.get("required", [])
    params = [
        {"name": name, "required": name in required, "schema": field}
        | ({"description": meanings[name]} if name in meanings else {})
        for name, field in schema["properties"].items()
    ]
    return sorted(params, key=lambda param: not param["required"])


def _explained(schema: Schema, meanings: dict[str, str]) -> Schema:
    """Return the schema of a type with what its fields mean."""
    fields = {
        name: field | {"description": meanings[name]} if name in meanings else field
        for name, field in schema.get("properties", {}).items()
    }
    return schema | ({"properties": fields} if fields else {})


def _error(cls: type[errors.RpcError]) -> dict[str, Any]:
    data = {"reason": cls.reason, "retryable": cls.retryable} if cls.reason else {}
    error: dict[str, Any] = {"code": cls.code, "message": (cls.__doc__ or "").partition("\n")[0]}
    return error | {"data": data} if data else error


def _target(reference: Schema) -> str:
    return str(reference["$ref"].removeprefix(REFERENCES))


def _references(value: Any) -> Iterator[str]:
    """Yield the names of all schemas that a value refers to."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield _target(value)
        for member in value.values():
            yield from _references(member)
    elif isinstance(value, list):
        for member in value:
            yield from _references(member)


def _reachable(value: Any, components: dict[str, Schema]) -> list[str]:
    """Return the names of the schemas that a value needs: not the params types, whose fields it has."""
    found: dict[str, None] = {}
    waiting = [*_references(value)]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = None
            waiting += _references(components[name])
    return sorted(found)


def _short_names(names: list[str]) -> dict[str, str]:
    """Return names without their modules, as far as no two types then have the same."""
    last = [name.rpartition(".")[2] for name in names]
    return {name: short if last.count(short) == 1 else name for name, short in zip(names, last, strict=True)}


def _renamed(value: Any, names: dict[str, str]) -> Any:
    """Return a value whose references have the short names."""
    if isinstance(value, dict):
        renamed = {key: _renamed(member, names) for key, member in value.items()}
        if isinstance(value.get("$ref"), str):
            renamed["$ref"] = REFERENCES + names[_target(value)]
        return renamed
    return [_renamed(member, names) for member in value] if isinstance(value, list) else value
