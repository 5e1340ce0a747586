"""Make the files that come from the code: ``python docs/generate.py``: the tables of the reference,
what `rpc.discover` has of them, the blocking client, see blocking_client.py, and the types of the JavaScript client,
see javascript_client.py.

Below a comment like ``<!-- generated: params job.run -->`` stands a table of three columns. The first two come from
the types, in the order of the types; the third is written by hand and kept.
"""

import ast
import importlib
import inspect
import json
import re
import runpy
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from jobworker import errors
from jobworker.server import methods  # registers them
from jobworker.server.dispatch import PARAMS

__all__ = ["generated", "main", "methods"]

PAGES = Path(__file__).parent / "reference"
DESCRIPTIONS = Path(__file__).parents[1] / "agent" / "jobworker" / "server" / "descriptions.json"
CLIENT = Path(__file__).parents[1] / "agent" / "jobworker" / "client"
TABLE = re.compile(r"(<!-- generated: (.+) -->\n(.+\n)(\|[-|]+\|\n))((?:\|.*\n)*)")
CELLS = re.compile(r"(?<!\\)\|")  # `\|` is a character of a cell

NAMES = {
    "str": "string",
    "Text": "[text](job-spec.md#text)",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "None": "null",
    "Any": "any value",
    "Duration": "duration",
    "Size": "size",
    "Count": "integer",
    "Positive": "integer",
    "Above": "number",
    "RoleLimits": "[limits](configuration.md#limitsroles)",
    "Level": "string",
    "Rate": "rate",
    "Moment": "moment",
    "JobSpec": "[spec](job-spec.md)",
    "StopSpec": "[stop](job-spec.md#stop)",
    "SecretRef": '`{"provider", "name"}`',
    "TimeoutSpec": "[time limit](job-spec.md#timeout_policies)",
    "LogSpec": "[log](job-spec.md#log)",
    "LimitSpec": "[limits](job-spec.md#limits)",
    "ExecutorSpec": "[executor](job-spec.md#executor)",
    "Queued": "[queued](job.md#queued)",
    "SandboxSpec": "[sandbox](job-spec.md#sandbox)",
    "Writer": "[writer](job.md#writer)",
    "Waiting": "[waiting](job.md#waiting)",
    "TtySpec": "[tty](job-spec.md#tty)",
    "TtySize": "integer",
    "Limits": "[limits](job-spec.md#limits)",
    "State": "[state](job.md#states)",
    "Reason": "reason",
    "Exit": "[exit](job.md#exit)",
    "Receipt": "[receipt](job.md#receipt)",
    "Step": "step",
    "Usage": "[usage](job.md#usage)",
    "LogInfo": "[log](job.md#log)",
    "JobSummary": "[job](job.md)",
}

LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")

Rows = dict[str, str]  # the first cell of a row, and its second


def annotations(struct: type) -> dict[str, ast.expr]:
    """Return the annotation of each field as it stands in the source, those of the bases included."""
    found: dict[str, ast.expr] = {}
    for cls in reversed(struct.__mro__):
        if not issubclass(cls, msgspec.Struct) or cls is msgspec.Struct:
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        assert isinstance(tree, ast.ClassDef)
        for node in tree.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found[node.target.id] = node.annotation
    return found


def type_text(node: ast.expr) -> str:
    """Return a type as a reader of JSON knows it."""
    match node:
        case ast.BinOp(left, ast.BitOr(), right):
            sides = [type_text(left), type_text(right)]
            return " or ".join(side for side in sides if side)
        case ast.Subscript(ast.Name("list" | "tuple" | "Sequence"), item):
            return f"list of {type_text(item)}"
        case ast.Subscript(ast.Name("dict" | "Mapping"), ast.Tuple([_, value])):
            return f"object of {type_text(value)}"
        case ast.Subscript(ast.Name("Literal"), ast.Tuple(choices)):
            return " or ".join(f"`{ast.literal_eval(choice)}`" for choice in choices)
        case ast.Subscript(ast.Name("Annotated"), ast.Tuple([plain, *_])):
            return type_text(plain)
        case ast.Attribute(_, "UnsetType") | ast.Name("UnsetType"):
            return ""
        case ast.Attribute(_, name) | ast.Name(name) if name in NAMES:
            return NAMES[name]
        case ast.Constant(None):
            return "null"
    raise ValueError(f"{ast.unparse(node)}: expected a type that docs/generate.py knows: add it to NAMES")


def default_of(field: msgspec.structs.FieldInfo) -> Any:
    """Return the default, or NODEFAULT."""
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def field_rows(struct: type, show: Callable[[str, Any], str]) -> Rows:
    """Return a row for each field; `show` makes the second cell of the type and the default."""
    types = annotations(struct)
    return {
        f"`{field.encode_name}`": show(type_text(types[field.name]), default_of(field))
        for field in msgspec.structs.fields(struct)
    }


def param(kind: str, default: Any) -> str:
    if default is msgspec.NODEFAULT:
        return f"{kind}, required"
    if default in (None, msgspec.UNSET, "") or isinstance(default, list | dict | msgspec.Struct):
        return kind
    return f"{kind}, default `{msgspec.json.encode(default).decode()}`"


def plain(kind: str, default: Any) -> str:
    return kind


def key(kind: str, default: Any) -> str:
    if isinstance(default, list):
        return f"`[{', '.join(map(toml, default))}]`"
    return f"`{toml(default)}`"


def toml(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def error_rows() -> Rows:
    rows = {}
    for code, cls in sorted(errors.BY_CODE.items(), key=lambda item: (item[0] > 0, abs(item[0]))):
        rows[str(code)] = (f"`{cls.reason}`" + (", retryable" if cls.retryable else "")) if cls.reason else "JSON-RPC"
    return rows


def verbs() -> dict[str, str]:
    """Return which method of a client calls each method of the protocol: those of both clients are the same."""
    found: dict[str, str] = {}
    for module in ("verbs", "agent_verbs", "subscription", "events", "input"):
        tree = ast.parse((CLIENT / f"{module}.py").read_text())
        for cls in (node for node in tree.body if isinstance(node, ast.ClassDef)):
            for function in (node for node in cls.body if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)):
                # What names the method that ends a subscription is its inbox.
                name = "close" if function.name == "__init__" else function.name
                name = name if module.endswith("verbs") else f"{cls.name}.{name}"
                for node in ast.walk(function):
                    if isinstance(node, ast.Constant) and node.value in PARAMS:
                        found.setdefault(str(node.value), name)
    # What begins a subscription is a method of the client as well.
    return found | {"log.subscribe": "subscribe", "event.subscribe": "events"}


def rows_of(what: str) -> Rows:
    """Return the first two cells of each row of a table that is named in a comment."""
    match what.split():
        case ["params", method]:
            return field_rows(PARAMS[method], param)
        case ["fields", module, name]:
            struct = getattr(importlib.import_module(module), name)
            return field_rows(struct, param if name.endswith("Spec") else plain)
        case ["keys", module, name]:
            return field_rows(getattr(importlib.import_module(module), name), key)
        case ["errors"]:
            return error_rows()
        case ["clients"]:
            called = verbs()
            if missing := PARAMS.keys() - called.keys():
                raise ValueError(f"{', '.join(sorted(missing))}: add methods to {CLIENT}/verbs.py or agent_verbs.py")
            return {f"[`{name}`](#{name.replace('.', '')})": f"`{called[name]}`" for name in sorted(PARAMS)}
    raise ValueError(f"{what}: expected params METHOD, fields MODULE TYPE, keys MODULE TYPE, errors or clients")


def generated(text: str) -> str:
    """Return a page with its tables as the code is now."""

    def table(found: re.Match[str]) -> str:
        head, what, body = found[1], found[2], found[5]
        cells = [[cell.strip() for cell in CELLS.split(row)[1:-1]] for row in body.splitlines()]
        by_hand = {row[0]: row[2] for row in cells}
        rows = rows_of(what)
        return head + "".join(f"| {name} | {second} | {by_hand.get(name, '')} |\n" for name, second in rows.items())

    return TABLE.sub(table, text)


def descriptions(pages: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return what the pages write by hand about each param of a method and each field of a type of the protocol."""
    found: dict[str, dict[str, str]] = {}
    for what, body in ((match[2].split(), match[5]) for page in pages for match in TABLE.finditer(page)):
        if what[0] not in ("params", "fields"):
            continue
        rows = [[cell.strip() for cell in CELLS.split(row)[1:-1]] for row in body.splitlines()]
        found[what[-1]] = {
            name.strip("`"): LINK.sub(r"\1", text).replace("\\|", "|") for name, _, text in rows if text
        }
    return found


def main() -> None:
    pages = sorted(PAGES.glob("*.md"))
    for page in pages:
        page.write_text(generated(page.read_text()))
    described = descriptions([page.read_text() for page in pages])
    DESCRIPTIONS.write_text(json.dumps(described, ensure_ascii=False, indent=1, sort_keys=True) + "\n")
    for name in ("blocking_client.py", "javascript_client.py"):
        runpy.run_path(str(Path(__file__).with_name(name)), run_name="__main__")


if __name__ == "__main__":
    main()
