"""Parse and format durations, sizes and times."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, TypeAlias

from jobworker.errors import InvalidSpec

Duration: TypeAlias = int | float | str
Size: TypeAlias = int | str
Rate: TypeAlias = int | str | dict[str, int | str]  # bytes a second: of the disk of the cwd, or by MAJ:MIN

# Also as people write them: 90sec, 5 minutes, 1hr.
_PART = (
    r"(\d+(?:\.\d+)?)\s*(ms|s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:(?:ou)?rs?)?|d(?:ays?)?|w(?:eeks?)?)(?![a-z])"
)
_DURATION = re.compile(_PART, re.ASCII)
_DURATIONS = re.compile(rf"{_PART}(\s*{_PART})*", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
MAX_DURATION = 10 * 365 * 86400  # seconds: ten years; a longer duration is a mistake

_SIZE = re.compile(r"(\d{1,20}(?:\.\d{1,20})?)\s*(?:([kmgt])(i)?)?(?:b|bytes)?", re.ASCII | re.IGNORECASE)
MAX_SIZE = 1 << 50  # bytes: 1 PiB; a larger size is a mistake
_UIDS = re.compile(r"(\d{1,10})-(\d{1,10})", re.ASCII)
MAX_UID = (1 << 32) - 3
RESERVED_UIDS = (65534, 65535)  # the overflow uid, and -1 in 16 bits
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SPANS = ((31_536_000, "year"), (86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def seconds(value: Duration, field: str) -> float:
    """Return a duration (seconds as a number, or "90s", "10m", "1h30m") in seconds; raise InvalidSpec."""
    shown = f"{field}: {repr(value)[:80]}"
    if isinstance(value, str):
        text = value.strip()
        parts = [
            (float(number), _UNITS[unit if unit == "ms" else unit[0]]) for number, unit in _DURATION.findall(text)
        ]
        units = [unit for _, unit in parts]
        if _DURATIONS.fullmatch(text) is None or units != sorted({*units}, reverse=True):
            raise InvalidSpec(f'{shown}; expected seconds or a text like "90s", "10m", "2h"', field=field)
        value = sum(number * unit for number, unit in parts)
    if not 0 <= value <= MAX_DURATION:
        raise InvalidSpec(f"{shown}; expected 0 to {MAX_DURATION} seconds", field=field)
    return float(value)


def size(value: Size, field: str) -> int:
    """Return a size (bytes as a number, or "512", "64MiB", "2GB", "2G") in bytes; raise InvalidSpec."""
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if match is None:
            raise InvalidSpec(f'{field}: {value[:40]!r}; expected bytes or a text like "64MiB", "2GB"', field=field)
        value = int(float(match[1]) * (1024 if match[3] else 1000) ** " kmgt".index((match[2] or " ").lower()))
    if not 0 <= value <= MAX_SIZE:
        raise InvalidSpec(f"{field}: {value!r}; expected 0 to {MAX_SIZE} bytes", field=field)
    return value


def uid_range(text: str, field: str) -> range:
    """Return a range of uids, as "70000-70999"; raise InvalidSpec."""
    match = _UIDS.fullmatch(text)
    low, high = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 0 < low <= high <= MAX_UID or any(low <= reserved <= high for reserved in RESERVED_UIDS):
        expected = f'a range of uids as "70000-70999", from 1 to {MAX_UID}, without 65534 and 65535'
        raise InvalidSpec(f"{field}: {text[:40]!r}; expected {expected}", field=field)
    return range(low, high + 1)


def bytes_text(count: float) -> str:
    """Return bytes as text: 512B, 1.5MiB, 64MiB."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024 or unit == "TiB":
            break
        count /= 1024
    return f"{count:.1f}".removesuffix(".0") + unit


def span_text(seconds: float) -> str:
    """Return a duration as text in its largest unit: `2 days`."""
    for unit, name in SPANS:
        if seconds >= unit:
            count = round(seconds / unit)
            return f"{count} {name}" + ("s" if count != 1 else "")
    return "less than a second"


def validity_fault(begin: float, end: float, now: float) -> str:
    """Return why a certificate is not valid now, as `expired at TIME, 2 days ago`; "" if it is. In seconds."""
    if now < begin:
        return f"is not valid before {rfc3339(int(begin) * 10**9)}, in {span_text(begin - now)}"
    if now >= end:
        return f"expired at {rfc3339(int(end) * 10**9)}, {span_text(now - end)} ago"
    return ""


def rfc3339(ns: int) -> str:
    """Return a time (ns since 1970) as text for the wire, with microseconds."""
    return f"{_second(ns // 1_000_000_000)}.{ns % 1_000_000_000 // 1000:06d}Z"


def nanoseconds(moment: datetime) -> int:
    """Return a moment in ns since 1970, exactly: a float of seconds is off by up to 240 ns."""
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000


@lru_cache(maxsize=64)  # the chunks of a log share a few seconds
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def duration(value: Any, field: str) -> float:
    """Return a duration (a number, or "90s", "10m", "2h") in seconds; raise ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f'{field}: {repr(value)[:80]}; expected seconds or a text like "90s", "10m", "2h"')
    try:
        return seconds(value, field)
    except InvalidSpec as error:
        raise ValueError(error.message) from error


def positive(value: Any, field: str) -> float:
    """Return a duration in seconds; raise ValueError for 0, and for a value that is not a duration."""
    limit = duration(value, field)
    if not limit:
        raise ValueError(f"{field}: 0; expected more than 0 seconds")
    return limit
