"""Authorizer `roles`: what each role may do is a table in the configuration, `[plugins.roles.NAME]`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jobworker import hookimpl
from jobworker.interfaces import Authorizer, Grant, PluginContext
from jobworker.model import Principal

WHOSE = ("all", "own", "none")
DEFAULT = {
    "reader": Grant(look="all"),
    "writer": Grant(look="all", control="own", create=True),
    "operator": Grant(look="all", control="all", create=True),
    "admin": Grant(look="all", control="all", create=True, admin=True),
}


def grant(role: str, table: Any) -> Grant:
    """Return what a table says; raise ValueError."""
    if not isinstance(table, Mapping):
        raise ValueError(f"{role}: {table!r}; expected a table of look, control, create, admin, methods, labels")
    for key, value in table.items():
        if not _is_good(key, value):
            raise ValueError(f"{role}.{key}: {value!r}; expected {EXPECTED.get(key, 'no such key')}")
    return Grant(**table)


EXPECTED = {
    "look": '"all", "own" or "none"',
    "control": '"all", "own" or "none"',
    "create": "true or false",
    "admin": "true or false",
    "methods": 'a list of patterns, as "job.*"',
    "labels": 'patterns by label, as {team = "web*"}',
}


def _is_good(key: str, value: Any) -> bool:
    match key:
        case "look" | "control":
            return value in WHOSE
        case "create" | "admin":
            return isinstance(value, bool)
        case "methods":
            return isinstance(value, list) and all(isinstance(one, str) for one in value)
        case "labels":
            return isinstance(value, Mapping) and all(isinstance(one, str) for one in value.values())
    return False


class Roles:
    name = "roles"

    def __init__(self, tables: Mapping[str, Any]) -> None:
        self.roles = DEFAULT | {role: grant(role, table) for role, table in tables.items()}

    async def grants(self, principal: Principal) -> Sequence[Grant]:
        return [self.roles[role] for role in principal.roles if role in self.roles]


@hookimpl
def register_authorizers(context: PluginContext) -> Iterable[Authorizer]:
    return [Roles(context.settings)]
