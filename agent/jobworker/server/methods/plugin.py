"""`plugin.list`: the installed plugins, which of them are enabled, and the state of those."""

import asyncio

import msgspec

from jobworker.auth.access import Requires
from jobworker.plugin.loader import installed
from jobworker.results import Plugins
from jobworker.server.dispatch import Call, method


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


@method("plugin.list", Nothing, Requires.READ)
async def list_(call: Call, params: Nothing) -> Plugins:
    """Return enabled plugins in the order of the configuration, then, for an admin, the others by name."""
    services = call.session.services
    enabled = services.registry.plugins
    if not call.permissions.is_admin(call.method):
        return Plugins([services.plugin(plugin) for plugin in enabled])
    by_name = await call.session.read_in_turn(asyncio.to_thread(installed))
    names = {plugin.name for plugin in enabled}
    others = [plugin for name in sorted(by_name) if name not in names for _, plugin in by_name[name]]
    return Plugins([services.plugin(plugin) for plugin in [*enabled, *others]])
