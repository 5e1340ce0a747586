"""Make what the JavaScript client has of the protocol: the names of the methods, and the types of TypeScript.

``python docs/generate.py`` writes both files, from the same document as `rpc.discover` answers.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from jobworker.server import methods  # registers them
from jobworker.server.openrpc import REFERENCES, document

__all__ = ["FILES", "FOLDER", "methods", "write"]

FOLDER = Path(__file__).parents[1] / "agent" / "jobworker" / "web" / "static" / "client"
HEADER = "// Made by docs/generate.py of the types of the agent: run it after a change of a type.\n\n"
PLAIN = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}
WORD = re.compile(r"[A-Za-z_]\w*")

Schema = dict[str, Any]


def method_names() -> str:
    """Return methods.js: the methods by the part of their names before the dot."""
    groups: dict[str, list[str]] = {}
    for method in document()["methods"]:
        group, _, name = method["name"].partition(".")
        groups.setdefault(group, []).append(name)
    lines = [f"  {group}: {json.dumps(names)},\n" for group, names in groups.items()]
    kind = "/** @type {Record<string, string[]>} */\n"
    return HEADER + kind + "export const METHODS = {\n" + "".join(lines) + "};\n"


def types() -> str:
    """Return rpc.d.ts: an interface for each type, and `Methods` with the params and the result of each method."""
    described = document()
    schemas = described["components"]["schemas"]
    omitting = {cls.__name__ for cls in structs(msgspec.Struct) if cls.__struct_config__.omit_defaults}
    parts = [declaration(name, schema, omitting=name in omitting) for name, schema in schemas.items()]
    groups: dict[str, list[str]] = {}
    entries = []
    for method in described["methods"]:
        required = [param["name"] for param in method["params"] if param["required"]]
        fields = {param["name"]: param["schema"] for param in method["params"]}
        params = inline(fields, required) if fields else "{}"
        result = type_of(method["result"]["schema"])
        about = f"  /** {method['summary']} */\n"
        entries.append(f'{about}  "{method["name"]}": {{ params: {params}; result: {result} }};\n')
        group, _, name = method["name"].partition(".")
        mark = "" if required else "?"
        full = f'Methods["{method["name"]}"]'
        groups.setdefault(group, []).append(
            f'{about}  {name}(params{mark}: {full}["params"], options?: CallOptions): Promise<{full}["result"]>;\n'
        )
    parts.append("export interface Methods {\n" + "".join(entries) + "}\n")
    parts.append("export interface CallOptions {\n  signal?: AbortSignal;\n}\n")
    for group, lines in groups.items():
        parts.append(f"export interface {group.capitalize()}Methods {{\n{''.join(lines)}}}\n")
    return HEADER + "\n".join(parts)


def structs(base: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    """Yield all types of messages."""
    for cls in base.__subclasses__():
        yield cls
        yield from structs(cls)


def declaration(name: str, schema: Schema, *, omitting: bool) -> str:
    """Return a named type; `omitting`: a field that has its default value is left out of an answer."""
    about = f"/** {schema['description'].replace('*/', '* /')} */\n" if "description" in schema else ""
    if "properties" not in schema:
        return f"{about}export type {name} = {type_of(schema)};\n"
    # What a caller sends may lack what has a default; what the agent sends has it.
    sent = schema.get("additionalProperties") is False or omitting
    required = set(schema.get("required", []))
    lines = []
    for field, kind in schema["properties"].items():
        mark = "" if field in required or ("default" in kind and not sent) else "?"
        lines.append(f"  {field}{mark}: {type_of(kind)};\n")
    return f"{about}export interface {name} {{\n{''.join(lines)}}}\n"


def inline(fields: dict[str, Schema], required: list[str]) -> str:
    """Return an object type on one line."""
    members = (f"{name}{'' if name in required else '?'}: {type_of(kind)}" for name, kind in fields.items())
    return f"{{ {'; '.join(members)} }}"


def type_of(schema: Schema) -> str:
    """Return a schema as a type of TypeScript; raise ValueError for one that this does not know."""
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix(REFERENCES)
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(type_of(choice) for choice in schema["anyOf"]))
    if "enum" in schema:
        return " | ".join(json.dumps(choice) for choice in schema["enum"])
    match schema.get("type"):
        case None:
            return "any"
        case "array":
            inner = type_of(schema.get("items", {}))
            return f"{inner}[]" if WORD.fullmatch(inner) else f"({inner})[]"
        case "object" if "properties" in schema:
            return inline(schema["properties"], schema.get("required", []))
        case "object":
            return f"Record<string, {type_of(schema.get('additionalProperties', {}))}>"
        case str(kind) if kind in PLAIN:
            return PLAIN[kind]
    raise ValueError(f"{schema}: expected a schema that docs/javascript_client.py knows")


FILES = {"methods.js": method_names, "rpc.d.ts": types}


def write() -> None:
    for name, text in FILES.items():
        (FOLDER / name).write_text(text())


if __name__ == "__main__":
    write()
