"""One thing that was looked at."""

from typing import NamedTuple

from jobworker.errors import JobworkerError

OK, NOTE, WRONG = "ok", "note", "wrong"
CERTIFICATE_NOTE_DAYS, CERTIFICATE_WRONG_DAYS = 30, 7


class Finding(NamedTuple):
    """`state` is `ok`, `note` for what a host lacks or will need soon, or `wrong`; `hint` is what to do."""

    check: str
    state: str
    text: str
    hint: str = ""


def of_error(check: str, error: Exception, hint: str = "") -> Finding:
    """Return what is wrong by an error, with its own hint if it has one."""
    text = error.message if isinstance(error, JobworkerError) else str(getattr(error, "message", "") or error)
    return Finding(check, WRONG, text, getattr(error, "hint", "") or hint)


def certificate(check: str, name: str, days: int, hint: str) -> Finding:
    """Return the finding about the days that are left of a certificate."""
    if days < 0:
        return Finding(check, WRONG, f"{name} has expired", hint)
    state = WRONG if days < CERTIFICATE_WRONG_DAYS else NOTE if days < CERTIFICATE_NOTE_DAYS else OK
    return Finding(check, state, f"{name} is valid for {days} more days", "" if state == OK else hint)
