"""Methods that the protocol names and this version does not support: they are refused, never ignored."""

from typing import Any

import msgspec

from jobworker.auth.access import Requires
from jobworker.errors import NotSupported
from jobworker.server.dispatch import Call, method

UNSUPPORTED = ("rpc.discover",)


class Anything(msgspec.Struct):
    """Any params at all."""


def _register(name: str) -> None:
    @method(name, Anything, Requires.LOGIN)
    def refuse(call: Call, params: Any) -> None:
        raise NotSupported(f"{name}: this version does not support it", method=name)


for _name in UNSUPPORTED:
    _register(_name)
