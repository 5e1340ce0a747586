"""`rpc.discover`: describe all methods of this agent."""

from typing import Any

import msgspec

from jobworker.auth.access import Requires
from jobworker.server import openrpc
from jobworker.server.dispatch import Call, method


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


@method("rpc.discover", Nothing, Requires.LOGIN)
def discover(call: Call, params: Nothing) -> dict[str, Any]:
    """Return an OpenRPC document with the params and the result of each method."""
    return openrpc.document()
