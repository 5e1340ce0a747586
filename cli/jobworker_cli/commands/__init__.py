"""The commands of `jw`. The module of a command is imported when it is called: others would slow it down."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from jobworker_cli.declare import Group

MODULES = {
    "run": "run",
    "attach": "attach",
    "create": "jobs",
    "start": "jobs",
    "stop": "jobs",
    "kill": "jobs",
    "pause": "jobs",
    "resume": "jobs",
    "update": "jobs",
    "rm": "jobs",
    "prune": "prune",
    "ps": "ps",
    "status": "look",
    "explain": "look",
    "wait": "wait",
    "stats": "stats",
    "top": "stats",
    "screen": "screen",
    "replay": "replay",
    "write": "write",
    "mcp": "mcp",
    "logs": "logs",
    "events": "events",
    "rpc": "rpc",
    "agent": "agent",
    "plugins": "plugins",
    "cert": "cert",
    "token": "tokens",
    "session": "sessions",
    "audit": "audit",
    "context": "context",
    "login": "login",
    "open": "page",
    "completion": "completion",
    "doctor": "doctor",
    "version": "version",
}
# Other words for a command: those of docker and kubectl.
ALIASES = {
    "ls": "ps",
    "list": "ps",
    "inspect": "status",
    "log": "logs",
    "unpause": "resume",
    "delete": "rm",
    "why": "explain",
}
# The same in a group of commands.
SAME = ({"ls", "list"}, {"rm", "delete", "remove", "revoke"}, {"create", "add"})
LISTS = SAME[0]
# Commands that take a command: its own options follow it.
TAKE_COMMAND = {"run", "create"}


def load(name: str) -> Group | Callable[..., Any]:
    """Return a command, or the group of that name: `group` in its module."""
    module = import_module(f"jobworker_cli.commands.{MODULES[name]}")
    inner = "open_" if name == "open" else name  # a word that Python uses itself
    found: Group | Callable[..., Any] = getattr(module, "group", None) or getattr(module, inner)
    return found


def inner_name(group: Group, word: str) -> str:
    """Return the name of a command of a group that is meant by a word; the word itself if there is none."""
    if word in group.commands:
        return word
    same = next((words for words in SAME if word in words), set())
    return next((name for name in group.commands if name in same), word)
