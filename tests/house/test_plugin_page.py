"""Hooks and interfaces on the pages about plugins are those of the code, word for word."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobworker import executors, interfaces, model, units, validation
from jobworker.config import BUILT_IN
from jobworker.plugin import hookspecs
from jobworker.plugin.loader import KINDS, OBSERVER
from jobworker_cli.skeleton import KINDS as SKELETONS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "reference" / "hooks.md").read_text()
BUILT_IN_PAGE = (DOCS / "reference" / "plugins.md").read_text()
GUIDE = (DOCS / "how-to" / "write-a-plugin.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
# Their fields and methods stand on the page; of what else is exported the name does.
SHOWN = {
    "AuthProvider", "Authorizer", "StopStrategy", "LongStopStrategy", "TimeoutPolicy", "JobHandle", "StopOptions",
    "RunFacts", "JobEvent", "PluginContext", "Credentials", "Grant", "Principal", "SecretProvider", "Executor",
    "Need", "Sighting",
}  # fmt: skip


def header(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    kind = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    return f"{kind} {node.name}({ast.unparse(node.args)}) -> {ast.unparse(node.returns) if node.returns else '?'}"


def members(node: ast.ClassDef) -> list[str]:
    """Return fields and methods of a class as they stand in its source, in order."""
    found = []
    for each in node.body:
        if isinstance(each, ast.AnnAssign):
            found.append(ast.unparse(each))
        elif isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and not each.decorator_list:
            found.append(header(each))
    return found


def declares(node: ast.AST) -> bool:
    """Whether it is a signature, or a class of nothing but signatures and fields."""
    if isinstance(node, ast.ClassDef):
        return all(isinstance(each, ast.AnnAssign) or declares(each) for each in node.body)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return ast.unparse(node.body) == "..."  # type: ignore[arg-type]
    return False


def shown() -> Iterator[tuple[str, object]]:
    """Yield what the page declares."""
    for node in (node for block in BLOCKS for node in ast.parse(block).body if declares(node)):
        if isinstance(node, ast.ClassDef):
            yield node.name, members(node)
        elif isinstance(node, ast.FunctionDef):
            yield node.name, header(node)


def real() -> dict[str, object]:
    found: dict[str, object] = {}
    alone = (Path(str(module.__file__)) for module in (units, validation, executors, interfaces, hookspecs))
    for path in (*Path(str(model.__file__)).parent.glob("*.py"), *alone):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                found[node.name] = members(node)
            elif isinstance(node, ast.FunctionDef):
                found[node.name] = header(node)
    return found


DECLARED = dict(shown())


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_a_signature_on_the_page(name: str) -> None:
    assert DECLARED[name] == real()[name]


def test_every_hook_and_interface_stands_on_the_page() -> None:
    hooks = {name for name, each in vars(hookspecs).items() if hasattr(each, "jobworker_spec")}
    assert hooks == {*KINDS, OBSERVER}
    assert hooks | SHOWN <= set(DECLARED)
    for hook in hooks:
        assert f"### `{hook}`\n" in PAGE, f"{hook} has no heading"


def test_everything_exported_is_documented() -> None:
    protocols = {name for name in interfaces.__all__ if getattr(getattr(interfaces, name), "_is_protocol", False)}
    assert protocols <= SHOWN
    for name in interfaces.__all__:
        assert getattr(interfaces, name).__doc__ or name in ("Duration", "hookimpl"), f"{name} has no docstring"


def test_the_events_that_the_page_names() -> None:
    (said,) = re.findall(r"`event\.event` is (.*?)\.\n", PAGE, re.DOTALL)
    told = str(model.JobEvent.__doc__).partition("`event` is")[2].partition("In the params")[0]
    assert set(re.findall(r"`(\w+)`", said)) == set(re.findall(r"`(\w+)`", told)) - {"exit"}


def test_the_plugins_that_come_with_jobworker() -> None:
    assert set(BUILT_IN) <= set(re.findall(r"^\| `(\w+)` \|", BUILT_IN_PAGE, re.MULTILINE))


def test_the_kinds_that_new_knows() -> None:
    (said,) = re.findall(r"KIND is (.*?)\.\n", GUIDE)
    assert set(re.findall(r"`([\w-]+)`", said)) == set(SKELETONS)
