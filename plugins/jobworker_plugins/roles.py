"""Authorizer `roles`: a table `[plugins.roles.NAME]` of the configuration defines what the role NAME may do."""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from jobworker.interfaces import Authorizer, Grant, PluginContext, Principal, hookimpl


class Role(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One role. It holds for methods that match `methods`, and for jobs whose labels match `labels`; see `Grant`."""

    look: Literal["all", "own", "none"] = "none"
    control: Literal["all", "own", "none"] = "none"
    create: bool = False
    admin: bool = False
    methods: tuple[str, ...] = ("*",)
    labels: dict[str, str] = {}

    def grant(self) -> Grant:
        return Grant(self.look, self.control, self.create, self.admin, self.methods, self.labels)


Settings = dict[str, Role]
DEFAULT = {
    "reader": Role(look="all"),
    "writer": Role(look="all", control="own", create=True),
    "operator": Role(look="all", control="all", create=True),
    "admin": Role(look="all", control="all", create=True, admin=True),
}


class Roles:
    name = "roles"

    def __init__(self, roles: dict[str, Role]) -> None:
        self.roles = {name: role.grant() for name, role in (DEFAULT | roles).items()}

    async def grants(self, principal: Principal) -> Sequence[Grant]:
        return [self.roles[role] for role in principal.roles if role in self.roles]  # an unknown role grants nothing


@hookimpl
def register_authorizers(context: PluginContext[Settings]) -> Iterable[Authorizer]:
    return [Roles(context.settings)]
