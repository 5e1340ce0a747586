"""`plugin.list`: which plugins are installed beside the agent, which are enabled, and how those are doing."""

import asyncio
from typing import Any

import msgspec

from jobworker.auth.access import Requires
from jobworker.plugin.loader import installed
from jobworker.server.dispatch import Call, method


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


@method("plugin.list", Nothing, Requires.LOGIN)
async def list_(call: Call, params: Nothing) -> dict[str, Any]:
    """Return the enabled ones in the order of the configuration, then, for an admin, the others by name."""
    services = call.session.services
    enabled = services.registry.plugins
    if not call.permissions.is_admin(call.method):
        return {"plugins": [services.plugin(plugin) for plugin in enabled]}
    there = await call.session.look(asyncio.to_thread(installed))
    names = {plugin.name for plugin in enabled}
    others = [plugin for name in sorted(there) if name not in names for _, plugin in there[name]]
    return {"plugins": [services.plugin(plugin) for plugin in [*enabled, *others]]}
