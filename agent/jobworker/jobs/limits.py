"""Resource limits of a whole job: parse those in a spec, and check that the host can hold them."""

import re
from collections.abc import Collection
from typing import Any

from jobworker.errors import InvalidSpec, NotSupported
from jobworker.host import usage
from jobworker.model import LimitSpec
from jobworker.units import Rate, size

# By name in the spec: the kind, as the keeper calls it.
KINDS = {"memory": "memory", "pids": "pids", "cpus": "cpus", "io_read": "io", "io_write": "io"}
MAX_PIDS = 1 << 22
MIN_CPUS, MAX_CPUS = 0.01, 1024
MAX_DEVICES = 64
UNDER_CWD = ""  # in place of a device: the disk under the job's folder

_DEVICE = re.compile(r"\d{1,7}:\d{1,7}")


def parse_limits(limits: LimitSpec) -> dict[str, Any]:
    """Return the limits as the keeper has them: bytes, tasks, CPUs, bytes a second by device; raise InvalidSpec."""
    memory = None if limits.memory is None else _positive(limits.memory, "limits.memory")
    parsed: dict[str, Any] = {"memory": memory, "pids": limits.pids, "cpus": limits.cpus}
    for name, way in (("io_read", "read"), ("io_write", "write")):
        if (rate := getattr(limits, name)) is not None:
            parsed.setdefault("io", {})[way] = _rates(rate, f"limits.{name}")
    return {kind: value for kind, value in parsed.items() if value is not None}


def check_limits(limits: LimitSpec, parsed: dict[str, Any], can: Collection[str]) -> None:
    """Raise NotSupported if the host has no controller for a limit (`can`: the kinds it has), or no such device."""
    for name, kind in KINDS.items():
        if getattr(limits, name) is not None and kind not in can:
            text = f"spec.limits.{name}: this agent cannot limit that: its host gives it no cgroup controller for it"
            hint = "`jw agent info` has the reason in capabilities.missing"
            raise NotSupported(text, hint=hint, field=f"limits.{name}")
    for way, rates in parsed.get("io", {}).items():
        _check_devices(rates, f"limits.io_{way}")


def with_disks(parsed: dict[str, Any], folder: str) -> dict[str, Any]:
    """Return parsed limits with the number of the disk under `folder`. Blocking; raises OSError."""
    if "io" not in parsed:
        return parsed
    return parsed | {"io": {way: _numbered(rates, folder) for way, rates in parsed["io"].items()}}


def _numbered(rates: dict[str, int], folder: str) -> dict[str, int]:
    return {usage.disk_of(device) if device else usage.disk_under(folder): rate for device, rate in rates.items()}


def _rates(rate: Rate, field: str) -> dict[str, int]:
    if not isinstance(rate, dict):
        return {UNDER_CWD: _positive(rate, field)}
    if not 1 <= len(rate) <= MAX_DEVICES:
        raise InvalidSpec(f"{field}: {len(rate)} devices; expected 1 to {MAX_DEVICES}", field=field)
    for device in rate:
        if _DEVICE.fullmatch(device) is None:
            text = f'{field}: {device[:40]!r}; expected the number of a block device, as "8:0" (lsblk shows it)'
            raise InvalidSpec(text, field=field)
    return {device: _positive(value, field) for device, value in rate.items()}


def _positive(value: int | str, field: str) -> int:
    count = size(value, field)
    if not count:
        raise InvalidSpec(f"{field}: 0; expected 1 byte or more", field=field)
    return count


def _check_devices(rates: dict[str, int], field: str) -> None:
    """Raise InvalidSpec for a device that does not exist."""
    for device in filter(None, rates):
        try:
            usage.disk_of(device)
        except OSError as error:
            why = (error.strerror or str(error)).removeprefix("limit io: ")
            raise InvalidSpec(f"{field}: {why}", field=field) from error
