"""Timeout policy `maintenance`: no job runs in the maintenance window; when it begins, jobs are stopped."""

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from jobworker.interfaces import PluginContext, RunFacts, TimeoutPolicy, hookimpl

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
CLOCK = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
EXPECTED = 'expected {"begin": "22:00", "end": "04:00", "zone": "Europe/Berlin", "days": ["sat"]}'


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A window from `begin` to `end`, in the time of a zone; without `end` it is a moment, without `days` daily."""

    begin: str
    end: str = ""
    zone: str = "UTC"
    days: list[str] = []

    def __post_init__(self) -> None:
        """Raise ValueError if the values are not a window."""
        for name in ("begin", "end"):
            if (value := getattr(self, name)) and not CLOCK.fullmatch(value):
                raise ValueError(f"{name}: {value[:40]!r} is not a time of day; {EXPECTED}")
        if not self.begin:
            raise ValueError(f"begin: ''; {EXPECTED}")
        for day in self.days:
            if day not in DAYS:
                raise ValueError(f"days: {day[:40]!r}; expected some of {', '.join(DAYS)}")
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"zone: {self.zone[:40]!r}; expected a name as Europe/Berlin") from None

    def stops(self, moment: float) -> float:
        """Return when a job that was started at a moment must end: within a window, at once. Seconds since 1970."""
        zone = ZoneInfo(self.zone)
        today = datetime.fromtimestamp(moment, zone).date()
        for number in range(-1, 9):  # from a window that began yesterday to one in a week
            day = today + timedelta(days=number)
            if self.days and DAYS[day.weekday()] not in self.days:
                continue
            begin = _at(day, self.begin, zone)
            end = _at(day + timedelta(days=self.end <= self.begin), self.end, zone) if self.end else begin
            if moment < begin or moment < end:
                return max(begin, moment)
        raise AssertionError("expected a window in every week")


def _at(day: date, clock: str, zone: ZoneInfo) -> float:
    """Return a time of a day in seconds since 1970."""
    return datetime.combine(day, time.fromisoformat(clock), zone).timestamp()


class Settings(Window, frozen=True, forbid_unknown_fields=True):
    """The table `[plugins.maintenance]`: the window for jobs whose spec has no other."""


class Maintenance:
    name = "maintenance"
    wants_cpu = False  # CPU times cost something to read, and `due` does not use them

    def __init__(self, window: Window) -> None:
        self._window = window

    def check(self, options: Mapping[str, Any]) -> None:
        self._window_of(options)

    def due(self, options: Mapping[str, Any], facts: RunFacts) -> float | None:
        """Return when the job must end; the window follows the wall clock, even if that is set."""
        started = facts.wall - (facts.now - facts.started)
        return facts.now + self._window_of(options).stops(started) - facts.wall

    def _window_of(self, options: Mapping[str, Any]) -> Window:
        """Return the window in options, the configured one if they are empty; raise ValueError."""
        if not options:
            return self._window
        try:
            return msgspec.convert(dict(options), Window)
        except msgspec.ValidationError as error:
            raise ValueError(f"{error}; {EXPECTED}") from error


@hookimpl
def register_timeout_policies(context: PluginContext[Settings]) -> Iterable[TimeoutPolicy]:
    return [Maintenance(context.settings)]
