"""`audit.list`: the audit log of the agent, for admins."""

import asyncio
from functools import partial
from typing import Annotated

import msgspec

from jobworker import audit_log
from jobworker.auth.access import Requires
from jobworker.results import AuditEntries, AuditEntry
from jobworker.server.dispatch import Call, method

MAX_ENTRIES = 1000


class List(msgspec.Struct, forbid_unknown_fields=True):
    limit: Annotated[int, msgspec.Meta(ge=0, le=MAX_ENTRIES)] = 100
    job: str | None = None
    principal: str | None = None
    denied: bool = False


@method("audit.list", List, Requires.ADMIN)
async def list_(call: Call, params: List) -> AuditEntries:
    """Return the newest entries of the audit log."""
    path = call.session.services.home.audit
    read = partial(
        audit_log.newest, path, params.limit, job=params.job, principal=params.principal, denied=params.denied
    )
    found = await call.session.read_in_turn(asyncio.to_thread(read))
    return AuditEntries([entry for each in found if (entry := _typed(each)) is not None])


def _typed(entry: object) -> AuditEntry | None:
    """Return an entry; None if it is none, as after a disk lost a part of the file."""
    try:
        return msgspec.convert(entry, AuditEntry)
    except msgspec.ValidationError:
        return None
