"""Read a moment as people write it, in the time zone of `jw`: a date, an hour, yesterday, 10m ago, @1764500000."""

import re
from datetime import datetime, timedelta

from jobworker.errors import JobworkerError
from jobworker_cli.declare import UsageError

DAYS = {"today": 0, "yesterday": 1}
HOUR = r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?"
OF_TODAY = re.compile(HOUR, re.ASCII)
LOCAL = re.compile(rf"\d{{4}}-\d{{2}}-\d{{2}}(?:[T ]{HOUR})?", re.ASCII)
EPOCH = re.compile(r"@(\d{1,11}(?:\.\d+)?)|(\d{10})", re.ASCII)  # ten digits are too many for seconds ago


def moment(text: str) -> str:
    """Return a time with its zone as text for the agent; a duration, and what is none of these, without "ago"."""
    plain = re.sub(r"(?<!\d)(\d:)", r"0\1", text.strip())  # 9:30 is 09:30
    now = datetime.now().astimezone()
    if plain == "now":
        return now.isoformat()
    if plain in DAYS:
        return _local(f"{now.date() - timedelta(days=DAYS[plain])}")
    if found := EPOCH.fullmatch(plain):
        return datetime.fromtimestamp(float(found[1] or found[2]), now.tzinfo).isoformat()
    if OF_TODAY.fullmatch(plain):
        later = plain > now.time().isoformat()
        return _local(f"{now.date() - timedelta(days=later)} {plain}")
    if LOCAL.fullmatch(plain):
        return _local(plain)
    return plain.removesuffix("ago").removeprefix("-").strip()


def instant(option: str, text: str) -> datetime:
    """Return the same as a time; raise UsageError."""
    from jobworker.units import seconds

    plain = moment(text)
    try:
        found = datetime.fromisoformat(plain)
        if found.tzinfo is not None:
            return found
    except ValueError:
        pass
    try:
        ago = seconds(float(plain) if re.fullmatch(r"\d+(\.\d+)?", plain, re.ASCII) else plain, option)
    except JobworkerError:
        expected = 'a time as "2026-11-28", "14:30" or "yesterday", or how long ago, as "10m"'
        raise UsageError(f"{option}: {text!r}; expected {expected}") from None
    return datetime.now().astimezone() - timedelta(seconds=ago)


def _local(text: str) -> str:
    """Return a time of our zone with that zone; one that cannot be, as 2026-02-30, as it is: the agent names it."""
    try:
        return datetime.fromisoformat(text).astimezone().isoformat()
    except ValueError:
        return text
