"""Signals by name and number: Python names of the real-time signals only the first and the last."""

import re
import signal

# `SIGRT+3` is how exits and receipts name `SIGRTMIN+3`.
_REAL_TIME = re.compile(r"(?:SIG)?RT(MIN|MAX)?([+-][0-9]{1,2})", re.IGNORECASE)


def number_of(text: str) -> int | None:
    """Return the signal of `SIGTERM`, `term`, `15`, `SIGRTMIN+3`, `rtmax-1` or `SIGRT+3`; None if there is none."""
    if text.isascii() and text.isdigit():
        number = int(text[:4])
    elif match := _REAL_TIME.fullmatch(text):
        base = signal.SIGRTMAX if (match[1] or "").upper() == "MAX" else signal.SIGRTMIN
        number = base + int(match[2])
        if not signal.SIGRTMIN <= number <= signal.SIGRTMAX:
            return None
    else:
        name = text.upper()
        found = signal.Signals.__members__.get(name if name.startswith("SIG") else f"SIG{name}")
        return None if found is None else int(found)
    return number if number in {*signal.Signals} or signal.SIGRTMIN <= number <= signal.SIGRTMAX else None


def name_of(number: int) -> str:
    """Return the name of a signal; those that have none are `SIGRT+3` or `signal 33`."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRT{number - signal.SIGRTMIN:+d}" if number >= signal.SIGRTMIN else f"signal {number}"
