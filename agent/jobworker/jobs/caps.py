"""What the roles of a principal allow it at most: fill what a spec leaves open, refuse what goes beyond.

Settings under `[jobs]` are defaults that a spec may change; these are maxima that it may not exceed.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import UNSET, Struct
from msgspec.structs import replace

from jobworker.config import RoleLimits
from jobworker.errors import PermissionDenied
from jobworker.jobs.plan import TOTAL, Defaults, LaunchPlan
from jobworker.model import JobSpec, Principal
from jobworker.units import bytes_text, seconds, size

EVERY_ROLE = "*"
RESOURCES = ("memory", "pids", "cpus")
# By a field that `job.update` changes.
_BY_FIELD = {"timeout": ("time",), "timeout_policies": ("time", "policies"), "labels": ("labels",)}
_BY_FIELD |= {name: (name,) for name in RESOURCES}
_PARSED: dict[str, Callable[[Any, str], Any]] = {"grace": seconds, "time": seconds, "log": size, "memory": size}


class Cap(Struct, frozen=True):
    """One maximum, and the key of the configuration that sets it."""

    value: float
    key: str


class Caps(Struct, frozen=True):
    """The maxima of one principal; what is None has none. Seconds, bytes and counts."""

    grace: Cap | None = None
    time: Cap | None = None
    log: Cap | None = None
    memory: Cap | None = None
    pids: Cap | None = None
    cpus: Cap | None = None
    running: Cap | None = None
    created: Cap | None = None
    starts_per_second: Cap | None = None
    labels: Cap | None = None
    policies: Cap | None = None

    def fill(self, spec: JobSpec, defaults: Defaults) -> JobSpec:
        """Return the spec with a maximum wherever it leaves a value open and the default is more."""
        changes: dict[str, Any] = {}
        if self.time is not None and spec.timeout is UNSET and not 0 < defaults.timeout <= self.time.value:
            changes["timeout"] = self.time.value
        if self.log is not None and spec.log.max_bytes is None and not 0 < defaults.log_max_bytes <= self.log.value:
            changes["log"] = replace(spec.log, max_bytes=int(self.log.value))
        if self.grace is not None and spec.stop.grace is None and defaults.stop.grace > self.grace.value:
            changes["stop"] = replace(spec.stop, grace=self.grace.value)
        open_ = {
            name: cap for name in RESOURCES if (cap := getattr(self, name)) and getattr(spec.limits, name) is None
        }
        if open_:
            values = {name: cap.value if name == "cpus" else int(cap.value) for name, cap in open_.items()}
            changes["limits"] = replace(spec.limits, **values)
        return replace(spec, **changes) if changes else spec

    def check(self, plan: LaunchPlan) -> None:
        """Raise PermissionDenied for a plan that goes beyond a maximum; `check_stop` does so for its stop."""
        total = [seconds(limit.options["limit"], "limit") for limit in plan.time_limits if limit.policy == TOTAL]
        if self.time is not None and (not total or min(total) > self.time.value):
            _refuse("timeout", f"{min(total):g} s" if total else "no limit", self.time, f"{self.time.value:g} s")
        _bytes("log.max_bytes", plan.log.max_bytes, self.log)
        _bytes("limits.memory", plan.limits.get("memory", 0), self.memory)
        for name in ("pids", "cpus"):
            _count(f"limits.{name}", plan.limits.get(name), getattr(self, name))
        _count("labels", len(plan.spec.labels), self.labels)
        _count("timeout_policies", len(plan.spec.timeout_policies), self.policies)

    def for_changes(self, fields: Iterable[str]) -> "Caps":
        """Return those that concern these fields of a spec, or of its `limits`."""
        names = {name for field in fields for name in _BY_FIELD.get(field, ())}
        return Caps(**{name: getattr(self, name) for name in names})

    def check_stop(self, longest: float) -> None:
        """Raise PermissionDenied for a stop that may take so many seconds before it kills."""
        if self.grace is not None and longest > self.grace.value:
            _refuse("stop", f"it may take {longest:g} s until SIGKILL", self.grace, f"{self.grace.value:g} s")


NO_CAPS = Caps()


class RoleCaps:
    """The tables `[limits.roles.NAME]`, parsed."""

    def __init__(self, roles: Mapping[str, RoleLimits]) -> None:
        self._roles = {role: _parsed(f"limits.roles.{role}", limits) for role, limits in roles.items()}

    def of(self, principal: Principal, *, admin: bool) -> Caps:
        """Return the widest maxima among the principal's roles; a role without a table has those of `*`.

        To admins `*` does not apply.
        """
        if not self._roles:
            return NO_CAPS
        other = NO_CAPS if admin else self._roles.get(EVERY_ROLE, NO_CAPS)
        found = [self._roles.get(role, other) for role in principal.roles] or [other]
        return Caps(**{name: _widest([getattr(caps, name) for caps in found]) for name in Caps.__struct_fields__})


def _parsed(key: str, limits: RoleLimits) -> Caps:
    caps = {}
    for name in Caps.__struct_fields__:
        if (value := getattr(limits, name)) is not None:
            own = f"{key}.{name}"
            caps[name] = Cap(_PARSED[name](value, own) if name in _PARSED else value, own)
    return Caps(**caps)


def _widest(caps: list[Cap | None]) -> Cap | None:
    limited = [cap for cap in caps if cap is not None]
    return None if len(limited) < len(caps) else max(limited, key=lambda cap: cap.value)


def _bytes(field: str, value: int, cap: Cap | None) -> None:
    """Raise PermissionDenied for more bytes than the maximum; 0 is no limit, and so more."""
    if cap is not None and not 0 < value <= cap.value:
        _refuse(field, bytes_text(value) if value else "no limit", cap, bytes_text(cap.value))


def _count(field: str, value: float | None, cap: Cap | None) -> None:
    if cap is not None and (value is None or value > cap.value):
        _refuse(field, "no limit" if value is None else f"{value:g}", cap, f"{cap.value:g}")


def _refuse(field: str, value: str, cap: Cap, most: str) -> None:
    text = f"{field}: {value}; {cap.key} allows at most {most}"
    raise PermissionDenied(text, hint="ask for less, or ask an admin to raise the limit", field=field, limit=cap.key)
