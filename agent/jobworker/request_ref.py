"""The id of the request that is being answered: the same in the agent's log, in the audit log and in `data.ref`.

Tasks that a request begins have its id too. It is the session's id and a number, put together when it is needed.
"""

from contextvars import ContextVar
from typing import Any

Ref = tuple[str, int, Any]  # the id of the session, the number of the request in it, and its span if spans are made

NONE: Ref = ("", 0, None)
_current: ContextVar[Ref] = ContextVar("request_ref", default=NONE)

begin = _current.set  # on the path of each call: no function around it


def end() -> None:
    """What follows in this task is of no request."""
    _current.set(NONE)


def current() -> str:
    """Return the id of the request; "" outside of one."""
    session, number, _ = _current.get()
    return f"{session}-{number}" if number else ""


def span() -> Any:
    """Return the span of the request, see tracing.py; None if it has none."""
    return _current.get()[2]
