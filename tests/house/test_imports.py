"""The arrows between the rooms point one way."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.keeper_copy import copy_keeper

ROOT = Path(__file__).parents[2]
AGENT = ROOT / "agent" / "jobworker"
# The common ground: any room of the agent may import it.
COMMON = {"model", "errors", "protocol", "paths", "validation", "units", "tasks", "rate_limit", "untrusted"}
COMMON |= {
    "audit_forward",
    "audit_log",
    "executors",
    "measures",
    "private",
    "request_ref",
    "resources",
    "results",
    "run_folder",
    "signal_names",
    "state_lock",
    "text",
    "tracing",
    "words",
}
GROUND = {"config", "interfaces", "tokens"}

# What a room may import of ours, besides itself and the common ground.
ROOMS = {
    "logs": {"formats", "linux"},
    "host": {"formats", "linux", "logs"},
    "client": set[str](),
    "tls": GROUND | {"host", "linux"},
    "plugin": GROUND | {"hookspecs", "_hookimpl"},
    "screen": set[str](),
    "jobs": GROUND | {"plugin", "host", "logs", "linux", "formats", "screen"},
    "backup": {"formats", "jobs", "linux", "logs"},
    "auth": GROUND | {"plugin", "jobs", "linux"},
    "web": set[str](),
    "server": GROUND | {"auth", "jobs", "tls", "plugin", "host", "logs", "linux", "screen", "web"},
}
# Processes of their own.
PROCESSES = {
    "keeper": {"linux", "formats"},
    "pump": {"linux", "formats"},
    "linux": set[str](),
    "formats": set[str](),
}
# One third-party library, one room.
LIBRARIES = {
    "websockets": {"server", "client", "auth"},
    "jsonrpcserver": {"server"},
    "pluggy": {"plugin", "_hookimpl"},
    "sqlite3": {"jobs"},
    "typer": set[str](),
    "opentelemetry": {"tracing"},
    "cryptography": {"tls", "untrusted"},
    "uvloop": {"__main__"},
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def room_of(path: Path) -> str:
    return path.relative_to(AGENT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_is_below_it(room: str) -> None:
    allowed = COMMON | ROOMS[room] | {room}
    for path in (AGENT / room).rglob("*.py"):
        for name in imports(path):
            package, _, rest = name.partition(".")
            if package == "jobworker" and rest:
                assert rest.split(".")[0] in allowed, f"{path.relative_to(ROOT)} imports {name}"


def test_each_library_is_used_in_its_room_only() -> None:
    for path in AGENT.rglob("*.py"):
        for name in imports(path):
            rooms = LIBRARIES.get(name.split(".")[0])
            assert rooms is None or room_of(path) in rooms, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("room", PROCESSES)
def test_keeper_and_pump_need_the_standard_library_alone(room: str) -> None:
    """And of ours their own folder, `linux` and `formats`; all imports stand at the top of a file."""
    for path in (AGENT / room).rglob("*.py"):
        for name in imports(path):
            package, _, rest = name.partition(".")
            if package == "jobworker":
                assert rest.split(".")[0] in PROCESSES[room] | {room}, f"{path.relative_to(ROOT)} imports {name}"
            else:
                assert package in sys.stdlib_module_names, f"{path.relative_to(ROOT)} imports {name}"
        nodes = ast.walk(ast.parse(path.read_text()))
        late = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) and node.col_offset]
        assert not late, f"{path.relative_to(ROOT)} imports inside a function"


def test_nothing_shadows_the_standard_library_for_the_keeper(tmp_path: Path) -> None:
    """Files beside ours, with the names of its modules, are not what it imports."""
    keeper = copy_keeper(tmp_path, {})
    for folder in (tmp_path, keeper.parent, keeper.parents[1], keeper.parents[1] / "linux"):
        for name in ("json", "socket", "select", "fcntl", "gc", "resource", "traceback"):
            (folder / f"{name}.py").write_text("raise SystemExit('a stranger was imported')\n")
    command = [sys.executable, "-I", "-S", str(keeper)]
    ran = subprocess.run(command, capture_output=True, cwd=keeper.parent, check=False)
    assert b"stranger" not in ran.stderr
    assert b"not enough values" in ran.stderr, "it got as far as its folders"


def test_the_command_line_knows_nothing_of_the_inside() -> None:
    allowed = COMMON | {"client", "__main__", "tls", "config", "plugin", "backup", "__version__"}
    for path in (ROOT / "cli").rglob("*.py"):
        for name in imports(path):
            package, _, rest = name.partition(".")
            if package == "jobworker" and rest:
                assert rest.split(".")[0] in allowed, f"{path.relative_to(ROOT)} imports {name}"


def test_plugins_use_only_what_every_author_may() -> None:
    """Ours and the distributions beside them: what is exported in one place, and in tests what is for tests."""
    for path in (ROOT / "plugins").rglob("*.py"):
        allowed = {"interfaces", "testing", "errors", "client"} if path.parent.name == "tests" else {"interfaces"}
        for name in imports(path):
            package, _, rest = name.partition(".")
            if package == "jobworker":
                assert rest.split(".")[0] in allowed, f"{path.relative_to(ROOT)} imports {name}"


def test_the_agent_imports_nothing_that_it_does_not_use() -> None:
    """Not what the package jsonrpcserver imports beside its steps; a plugin that imports it gets all of it."""
    script = "import sys, jobworker.app, jobworker.instance; from jobworker.server import library\n"
    script += "print({'jsonschema', 'http.server', 'jsonrpcserver', 'opentelemetry', 'requests'} & {*sys.modules})\n"
    script += (
        "import jsonrpcserver; print(jsonrpcserver.Success is library.Success, callable(jsonrpcserver.dispatch))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\nTrue True\n"
