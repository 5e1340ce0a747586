"""No file and no room imports another that imports it, in the agent, the command line and the plugins."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
# The folders from which modules are imported; a plugin distribution has its own.
SOURCES = (*(ROOT / "plugins").glob("jobworker-*"), ROOT / "agent", ROOT / "cli", ROOT / "plugins")
AGENT = "jobworker"

# Circles that are still to be broken, as pairs of files in them: the test asks to remove a pair with its circle.
KNOWN: set[frozenset[str]] = set()

Graph = Mapping[str, set[str]]


def name_of(path: Path, source: Path) -> str:
    """Return the dotted name of a file; of `__init__.py`, that of its package."""
    parts = path.relative_to(source).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, name: str) -> Iterator[str]:
    """Return candidates for the modules that a file imports: in functions and for types, too."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [base])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def files() -> dict[str, Path]:
    """Return all files by their dotted names, without tests."""
    found: dict[Path, str] = {}
    for source in SOURCES:
        for path in source.rglob("*.py"):
            if "tests" not in path.relative_to(ROOT).parts:
                found.setdefault(path, name_of(path, source))
    return {name: path for path, name in found.items()}


def arrows(paths: Mapping[str, Path]) -> dict[str, set[str]]:
    """Return which of these files each of them imports."""
    graph: dict[str, set[str]] = {}
    for name, path in paths.items():
        graph[name] = set()
        for candidate in imported(path, name):
            target = candidate if candidate in paths else candidate.rpartition(".")[0]
            if target in paths and target != name:
                graph[name].add(target)
    return graph


def room_of(name: str) -> str:
    """Return the room of a file: the folder or the file below the package of the agent, else the package."""
    first, *rest = name.split(".")
    return f"{first}.{rest[0]}" if first == AGENT and rest else first


def reachable(graph: Graph, start: str) -> set[str]:
    found: set[str] = set()
    queue = list(graph[start])
    while queue:
        name = queue.pop()
        if name not in found:
            found.add(name)
            queue += graph[name]
    return found


def circles(graph: Graph) -> set[frozenset[str]]:
    """Return the groups of names that all reach each other."""
    reached = {name: reachable(graph, name) for name in graph}
    members = [name for name in graph if name in reached[name]]
    return {frozenset(other for other in reached[name] if name in reached[other]) for name in members}


def known(circle: frozenset[str]) -> bool:
    return any(pair <= circle for pair in KNOWN)


def shown(found: Iterable[frozenset[str]]) -> str:
    return "; ".join(" <-> ".join(sorted(circle)) for circle in found)


def test_a_circle_is_found() -> None:
    """The test below would see one, however long, and nothing else."""
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set[str](), "f": {"a"}}
    assert circles(graph) == {frozenset("abc")}


def test_imports_are_seen(tmp_path: Path) -> None:
    """Also those of a function, for types, and relative ones."""
    path = tmp_path / "file.py"
    path.write_text(
        "from typing import TYPE_CHECKING\nimport a.b\nif TYPE_CHECKING:\n    from c import d\n"
        "def f():\n    from e import g\nfrom . import h\nfrom .i import j\nfrom ..k import m\n"
    )
    assert {"a.b", "c.d", "e.g", "x.y.h", "x.y.i.j", "x.k.m"} <= set(imported(path, "x.y.file"))
    graph = arrows(files())
    assert "jobworker.server.jsonrpc" in graph["jobworker.server.dispatch"]
    assert "jobworker.errors" in graph["jobworker.server.dispatch"], "a module named by `from package import module`"


def test_no_file_is_in_a_circle() -> None:
    """Arrows between files point one way, inside a room and between rooms."""
    new = [circle for circle in circles(arrows(files())) if not known(circle)]
    assert not new, f"files that import each other: {shown(new)}"


def test_known_circles_still_exist() -> None:
    """A circle that is broken is no longer in the list of those that are known."""
    found = circles(arrows(files()))
    gone = [pair for pair in KNOWN if not any(pair <= circle for circle in found)]
    assert not gone, f"no longer circles; remove them from KNOWN: {shown(gone)}"


def test_no_room_is_in_a_circle() -> None:
    """Rooms are the folders and single files of the agent; the command line and each plugin are one each."""
    graph: dict[str, set[str]] = {}
    for name, targets in arrows(files()).items():
        room = room_of(name)
        graph.setdefault(room, set()).update(room_of(target) for target in targets if room_of(target) != room)
    # The package itself loads `connect` and `hookimpl` lazily, and is imported by all for its version.
    found = circles({room: targets - {AGENT} for room, targets in graph.items() if room != AGENT})
    assert not found, f"rooms that import each other: {shown(found)}"
