"""The id of the request that is being answered: the same in the agent's log, in the audit log and in `data.ref`.

Tasks that a request begins have its id too. It is made of the session's id and a number, and only where it is used.
"""

from contextvars import ContextVar

Ref = tuple[str, int]  # the id of the session, and the number of the request in it

NONE: Ref = ("", 0)
_current: ContextVar[Ref] = ContextVar("request_ref", default=NONE)

begin = _current.set  # on the path of each call: no function around it


def end() -> None:
    """What follows in this task is of no request."""
    _current.set(NONE)


def current() -> str:
    """Return the id of the request; "" outside of one."""
    session, number = _current.get()
    return f"{session}-{number}" if number else ""
