"""Decide which calls are audited: all that change something, before and after if an admin makes them, and denials."""

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
from jobworker.results import Run

# Methods refused while the audit log has no room for their line.
NEED_ROOM = {"job.create", "job.start", "job.run", "auth.ticket", "token.create", "token.renew"}
AGENT = {"agent.shutdown", "agent.restart", "agent.drain", "agent.undrain", "agent.gc"}
CHANGES = (
    NEED_ROOM
    | AGENT
    | {
        "job.stop",
        "job.signal",
        "job.pause",
        "job.resume",
        "job.resize",
        "job.update",
        "job.delete",
        "stdin.write",
        "stdin.close",
        "stdin.claim",
        "stdin.release",
        "token.revoke",
        "session.end",
        "auth.logout",
    }
)
# Methods whose successes have fewer lines than calls, see `audit_input`.
COUNTED = {"stdin.write"}
# Methods of admins: a line is written before each of them too.
AHEAD = AGENT | {"token.create", "token.renew", "token.revoke", "session.end"}


class Subject(msgspec.Struct):
    """What is read of the params of a call that is recorded."""

    id: Any = None  # of a job or session
    name: Any = None  # of a token
    principal: Any = None  # whose sessions


_decode = msgspec.json.Decoder(Subject).decode


def note_ahead(audit: Audit, principal: Principal | None, address: str, method: str, raw: msgspec.Raw) -> None:
    """Record what an admin is about to do; the params were found valid."""
    audit.note("begun", principal, address, method, target=_target(raw))


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
        job=None if method in AHEAD else _job_id(raw, outcome),
        target=_target(raw) if method in AHEAD and error is None else None,
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
    if isinstance(outcome, Run):
        return outcome.job.id
    return _short(_subject(raw).id)


def _target(raw: msgspec.Raw) -> str | None:
    """Return the token or session that a call was for."""
    subject = _subject(raw)
    return _short(subject.name) or _short(subject.id) or _short(subject.principal)


def _subject(raw: msgspec.Raw) -> Subject:
    try:
        return _decode(raw)
    except msgspec.MsgspecError:
        return Subject()


def _short(text: Any) -> str | None:
    return text[:80] if isinstance(text, str) else None
