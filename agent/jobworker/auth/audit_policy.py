"""Decide which calls are audited: all that change something, and those that were denied."""

from typing import Any

import msgspec

from jobworker.auth.audit import Audit
from jobworker.errors import (
    InvalidParams,
    InvalidSpec,
    JobNotFound,
    NotSupported,
    PermissionDenied,
    PolicyRejected,
    RpcError,
)
from jobworker.model import JobSummary, Principal

# Methods refused while the audit log has no room for their line.
NEED_ROOM = {"job.create", "job.start", "job.run", "token.create"}
CHANGES = NEED_ROOM | {
    "job.stop",
    "job.signal",
    "job.pause",
    "job.resume",
    "job.update",
    "job.delete",
    "stdin.write",
    "stdin.close",
    "token.revoke",
    "agent.shutdown",
    "agent.restart",
}


class OfJob(msgspec.Struct):
    """What is read of the params of a call that is recorded."""

    id: Any = None


_decode = msgspec.json.Decoder(OfJob).decode


def note(
    audit: Audit, principal: Principal | None, address: str, method: str, raw: msgspec.Raw, outcome: Any
) -> None:
    """Record how a call went; `raw` are its params as JSON, `outcome` is its result or its error.

    Calls without a principal are not recorded here: admission records logins.
    """
    denied = isinstance(outcome, PermissionDenied) or (isinstance(outcome, JobNotFound) and method in CHANGES)
    if principal is None or not (denied or method in CHANGES):
        return
    error = outcome if isinstance(outcome, RpcError) else None
    audit.note(
        "denied" if denied else "allowed",
        principal,
        address,
        method,
        job=_job_id(raw, outcome),
        outcome=None if denied else str(error.code) if error else "ok",
        reason=_reason(error) if error else None,
    )


def _reason(error: RpcError) -> str:
    """Return what may be recorded of an error: for params and specs only the field, as values may be secrets."""
    if isinstance(error, InvalidParams | InvalidSpec | PolicyRejected | NotSupported):
        return f"{type(error).__name__}: {str(error.data.get('field', ''))[:80]}"
    return error.message


def _job_id(raw: msgspec.Raw, outcome: Any) -> str | None:
    """Return the id of the job that a call was for."""
    if isinstance(outcome, JobSummary):
        return outcome.id
    if isinstance(outcome, dict) and isinstance(outcome.get("job"), JobSummary):
        return str(outcome["job"].id)
    try:
        job = _decode(raw).id
    except msgspec.MsgspecError:
        return None
    return job[:80] if isinstance(job, str) else None
