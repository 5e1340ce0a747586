"""Resource limits of a whole job: check those in a spec, and build the message to the keeper."""

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


def check_limits(limits: LimitSpec, can: Collection[str]) -> None:
    """Raise InvalidSpec, or NotSupported if the host has no controller for one of them (`can`: the kinds it has)."""
    limits_message(limits)
    for name, kind in KINDS.items():
        if getattr(limits, name) is None:
            continue
        if kind not in can:
            text = f"spec.limits.{name}: this host or this version cannot limit it"
            raise NotSupported(text, field=f"limits.{name}")
        if kind == "io":
            _check_devices(getattr(limits, name), f"limits.{name}")


def limits_message(limits: LimitSpec) -> dict[str, Any]:
    """Return the limits for the keeper: bytes, tasks, CPUs, bytes a second by device; raise InvalidSpec."""
    message: dict[str, Any] = {}
    if limits.memory is not None:
        message["memory"] = _positive(limits.memory, "limits.memory")
    if limits.pids is not None:
        if not 1 <= limits.pids <= MAX_PIDS:
            text = f"limits.pids: {limits.pids}; expected 1 to {MAX_PIDS} processes"
            raise InvalidSpec(text, field="limits.pids")
        message["pids"] = limits.pids
    if limits.cpus is not None:
        if not MIN_CPUS <= limits.cpus <= MAX_CPUS:
            text = f"limits.cpus: {limits.cpus}; expected {MIN_CPUS} to {MAX_CPUS} CPUs"
            raise InvalidSpec(text, field="limits.cpus")
        message["cpus"] = limits.cpus
    for name, way in (("io_read", "read"), ("io_write", "write")):
        if (rate := getattr(limits, name)) is not None:
            message.setdefault("io", {})[way] = _rates(rate, f"limits.{name}")
    return message


def live_message(limits: LimitSpec, folder: str) -> dict[str, Any]:
    """Return the same with the number of the disk under `folder`. Blocking; raises OSError."""
    message = limits_message(limits)
    if "io" in message:
        message["io"] = {way: _numbered(rates, folder) for way, rates in message["io"].items()}
    return message


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


def _check_devices(rate: Rate, field: str) -> None:
    """Raise InvalidSpec for a device that does not exist."""
    for device in rate if isinstance(rate, dict) else ():
        try:
            usage.disk_of(device)
        except OSError as error:
            why = (error.strerror or str(error)).removeprefix("limit io: ")
            raise InvalidSpec(f"{field}: {why}", field=field) from error
