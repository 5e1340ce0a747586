"""The files of cgroup v2 that limit a group."""

from typing import Any

from jobworker.linux import cgroupfs

CPU_PERIOD = 100000  # us, in which a quota holds
IO_KEYS = {"read": "rbps", "write": "wbps"}


def values(kind: str, value: Any, group: str) -> list[tuple[str, str]]:
    """Return the files of the group to write, and what; None stands for no limit."""
    if kind == "memory":
        return [("memory.max", _or_max(value)), ("memory.swap.max", "max" if value is None else "0")]
    if kind == "pids":
        return [("pids.max", _or_max(value))]
    if kind == "cpus":
        return [("cpu.max", f"{_or_max(value if value is None else int(value * CPU_PERIOD))} {CPU_PERIOD}")]
    return [("io.max", line) for line in _io_lines(value, group)]


def _or_max(value: int | None) -> str:
    return "max" if value is None else str(value)


def _io_lines(value: dict[str, dict[str, int | None]] | None, group: str) -> list[str]:
    """Return a line for each device; without a value, lines that lift what holds now."""
    if value is None:
        devices = [line.split()[0] for line in cgroupfs.read(f"{group}/io.max").splitlines()]
        return [f"{device} rbps=max wbps=max" for device in devices]
    devices = sorted({device for rates in value.values() for device in rates})
    lines = []
    for device in devices:
        rates = [f"{IO_KEYS[way]}={_or_max(rates[device])}" for way, rates in value.items() if device in rates]
        lines.append(" ".join([device, *rates]))
    return lines
