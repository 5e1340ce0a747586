"""`session.*`: show the open connections with their callers, and end some of them."""

from functools import partial

import msgspec

from jobworker.auth.access import Requires
from jobworker.auth.sessions import OpenSession
from jobworker.errors import InvalidParams
from jobworker.results import Connected, Sessions, SessionsEnded
from jobworker.server.dispatch import Call, method
from jobworker.units import rfc3339


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


class End(msgspec.Struct, forbid_unknown_fields=True):
    id: str | None = None
    principal: str | None = None


@method("session.list", Nothing, Requires.ADMIN)
def list_(call: Call, params: Nothing) -> Sessions:
    """List the open connections, the oldest first."""
    sessions = sorted(call.session.services.sessions.open(), key=lambda session: session.since)
    return Sessions([_described(session, call) for session in sessions])


@method("session.end", End, Requires.ADMIN)
def end(call: Call, params: End) -> SessionsEnded:
    """Take the access from one session, or from all of a principal; they may log in again if they can."""
    if (params.id is None) == (params.principal is None):
        raise InvalidParams("id: expected either the id of a session or a principal", field="id")
    sessions = call.session.services.sessions
    wanted = [session for session in sessions.open() if _is_wanted(session, params)]
    pages = call.session.services.pages
    # Pages would log in again with the secrets of their sessions.
    ended = [pages.end(session.page_session) for session in wanted if session.page_session]
    if params.principal is not None:
        ended.append(pages.end_of(params.principal))
    if not wanted and not any(ended):
        field, value = ("id", params.id) if params.id is not None else ("principal", params.principal)
        raise InvalidParams(f"{field}: no session of {str(value)[:80]!r}; expected one of session.list", field=field)
    for session in wanted:
        session.drop()
        close = partial(sessions.close_ended, session, "an admin has ended the session")
        if session is call.session:  # a caller that ends its own session gets its answer first
            call.after.append(close)
        else:
            close()
    return SessionsEnded(len(wanted))


def _is_wanted(session: OpenSession, params: End) -> bool:
    principal = session.principal
    return session.id == params.id or (principal is not None and principal.id == params.principal)


def _described(session: OpenSession, call: Call) -> Connected:
    principal = session.principal
    return Connected(
        id=session.id,
        principal=None if principal is None else principal.id,
        roles=[] if principal is None else principal.roles,
        address=session.address,
        since=rfc3339(session.since),
        own=session is call.session,
    )
