"""`stdin.*`: write to the input of a job, and end it."""

import base64
from typing import Literal

import msgspec

from jobworker.auth.access import Requires
from jobworker.errors import InvalidParams
from jobworker.results import Claimed, InputEnd, Released, Written
from jobworker.server.dispatch import Call, method


class OfInput(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    id: str
    offset: int | None = None
    lease: int | None = None


class Claim(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    steal: bool = False


class Release(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    lease: int


class Write(OfInput):
    data: str | msgspec.UnsetType = msgspec.UNSET
    encoding: Literal["utf8", "base64"] = "utf8"
    close_on_disconnect: bool = False


class Close(OfInput):
    pass


@method("stdin.write", Write, Requires.READ)
async def write(call: Call, params: Write) -> Written:
    """Append to the input of a job; wait while the job does not read."""
    await call.controlled(params.id)
    data, offset = _data(call, params), _offset(params)
    session = call.session
    done = session.inputs.reserve(len(data))
    try:
        writing = session.services.jobs.inputs.write(params.id, data, offset, params.lease)
        accepted, end = await session.while_connected(writing)
    finally:
        done()
    if params.close_on_disconnect:
        session.inputs.to_close.add(params.id)
    session.inputs.audit.note(session.caller, params.id, accepted)
    return Written(accepted, end)


@method("stdin.close", Close, Requires.READ)
async def close(call: Call, params: Close) -> InputEnd:
    """End the input of a job, once the job was given all that was accepted."""
    await call.controlled(params.id)
    session = call.session
    offset = _offset(params)
    end = await session.while_connected(session.services.jobs.inputs.close(params.id, offset, params.lease))
    session.inputs.audit.settle(session.caller, params.id)
    return InputEnd(end)


@method("stdin.claim", Claim, Requires.READ)
async def claim(call: Call, params: Claim) -> Claimed:
    """Make this connection the only one that writes to the job, until it releases the claim or is closed."""
    await call.controlled(params.id)
    session, caller = call.session, call.session.caller  # the session may have ended when the claim is made
    lease, end = await session.services.jobs.inputs.claim(params.id, caller, steal=params.steal)
    session.inputs.claimed(params.id, lease, caller)
    return Claimed(lease, end)


@method("stdin.release", Release, Requires.READ)
async def release(call: Call, params: Release) -> Released:
    """Give up a claim: each client that controls the job may write to it again."""
    await call.controlled(params.id)
    call.session.services.jobs.inputs.release(params.id, params.lease, call.session.caller.name)
    return Released(True)


def _offset(params: OfInput) -> int | None:
    if params.offset is not None and params.offset < 0:
        raise InvalidParams(f"offset: {params.offset}; expected 0 or more", field="offset")
    return params.offset


def _data(call: Call, params: Write) -> bytes | memoryview:
    """Return the data, from the params or from the binary frame that has them."""
    if call.data is not None and params.data is msgspec.UNSET:
        return call.data
    if call.data is not None or params.data is msgspec.UNSET:
        raise InvalidParams("data: expected it in the params, or after them in a binary frame", field="data")
    try:
        return params.data.encode() if params.encoding == "utf8" else base64.b64decode(params.data, validate=True)
    except ValueError:
        text = f"data: it is no {params.encoding}; expected text in this encoding"
        raise InvalidParams(text, field="data") from None
