"""Timeout policy `maintenance`: nothing runs in the window, and nothing past the hour at which it begins."""

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
    """From `begin` to `end` (without one, a moment) on some days, all where none is named, in the time of a zone."""

    begin: str
    end: str = ""
    zone: str = "UTC"
    days: list[str] = []

    def __post_init__(self) -> None:
        """Raise ValueError for what is no window."""
        for name in ("begin", "end"):
            if (value := getattr(self, name)) and not CLOCK.fullmatch(value):
                raise ValueError(f"{name}: {value[:40]!r} is no time of day; {EXPECTED}")
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
        """Return when what was started at a moment (seconds since 1970) has to end: at once, within the window."""
        zone = ZoneInfo(self.zone)
        today = datetime.fromtimestamp(moment, zone).date()
        for number in range(-1, 9):  # from a window that began yesterday to the one in a week
            day = today + timedelta(days=number)
            if self.days and DAYS[day.weekday()] not in self.days:
                continue
            begin = _at(day, self.begin, zone)
            end = _at(day + timedelta(days=self.end <= self.begin), self.end, zone) if self.end else begin
            if moment < begin or moment < end:
                return max(begin, moment)
        raise AssertionError("every week has its window")


def _at(day: date, clock: str, zone: ZoneInfo) -> float:
    return datetime.combine(day, time.fromisoformat(clock), zone).timestamp()


class Settings(Window, frozen=True, forbid_unknown_fields=True):
    """The table `[plugins.maintenance]`: the window of jobs whose policy names no other."""


class Maintenance:
    name = "maintenance"
    wants_cpu = False

    def __init__(self, window: Window) -> None:
        self._window = window

    def check(self, options: Mapping[str, Any]) -> None:
        self._of(options)

    def due(self, options: Mapping[str, Any], facts: RunFacts) -> float | None:
        """The window is of the wall clock: where that is set, the moment moves with it."""
        started = facts.wall - (facts.now - facts.started)
        return facts.now + self._of(options).stops(started) - facts.wall

    def _of(self, options: Mapping[str, Any]) -> Window:
        if not options:
            return self._window
        try:
            return msgspec.convert(dict(options), Window)
        except msgspec.ValidationError as error:
            raise ValueError(f"{error}; {EXPECTED}") from error


@hookimpl
def register_timeout_policies(context: PluginContext[Settings]) -> Iterable[TimeoutPolicy]:
    return [Maintenance(context.settings)]
