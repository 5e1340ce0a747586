"""Compare what is used of disk, descriptors, inotify and retention with what there is."""

from collections.abc import Iterator, Mapping
from typing import Any

from jobworker.units import bytes_text
from jobworker_cli.doctor.finding import NOTE, OK, WRONG, Finding

MIN_FREE_BYTES, LOW_FREE_BYTES = 64 << 20, 1 << 30
MIN_FREE_INODES = 1000
LOW = 0.1  # of the whole that is free
Amount = Mapping[str, Any]


def examine(health: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield findings about `agent.health`."""
    yield from disk(health)
    descriptors = "LimitNOFILE= of the unit, or ulimit -Hn before the agent starts; then jw agent restart"
    yield _number("descriptors", "open files", health["descriptors"], descriptors)
    yield inotify(health["inotify"])
    yield from _retention(health)
    audit = health["audit"]
    yield Finding("audit", OK, f"{_of(audit, size=True)} of the audit log; the oldest file makes room")


def disk(health: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield findings about the file system of the state folder."""
    space, inodes, folder = health["disk"], health["inodes"], health["state"]
    free = space["limit"] - space["used"]
    text = f"{bytes_text(free)} free of {bytes_text(space['limit'])} for {folder}"
    hint = f"make room: df -h {folder}; jw rm jobs that have ended, or lower retention.bytes"
    if health["read_only"]:
        hint = "mount -o remount,rw; dmesg has why the kernel made it read-only"
        yield Finding("disk", WRONG, f"the file system of {folder} is read-only", hint)
    elif free < MIN_FREE_BYTES:
        yield Finding("disk", WRONG, text, hint)
    elif free < min(LOW_FREE_BYTES, LOW * space["limit"]):
        yield Finding("disk", NOTE, text, hint)
    else:
        yield Finding("disk", OK, text)
    if inodes["limit"]:
        left = inodes["limit"] - inodes["used"]
        state = WRONG if left < MIN_FREE_INODES else NOTE if left < LOW * inodes["limit"] else OK
        hint = f"remove files: df -i {folder}; jw rm jobs that have ended, or lower retention.jobs"
        yield Finding("inodes", state, f"{left:,} free of {inodes['limit']:,}", "" if state == OK else hint)


def inotify(amount: Amount) -> Finding:
    """Return the finding about inotify instances of the agent's user."""
    return _number("inotify", "instances", amount, "sysctl fs.inotify.max_user_instances=1024, and in /etc/sysctl.d")


def _number(check: str, what: str, amount: Amount, hint: str) -> Finding:
    used, limit = amount["used"], amount["limit"]
    if limit is None:
        return Finding(check, OK, f"{used:,} {what}, without a limit")
    state = WRONG if used >= 0.95 * limit else NOTE if used >= 0.8 * limit else OK
    return Finding(check, state, f"{used:,} of {limit:,} {what}", "" if state == OK else hint)


def _retention(health: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what is kept of ended jobs, and whether the disk can hold as much as may be kept."""
    jobs, logs, space = health["jobs"], health["logs"], health["disk"]
    text = f"{_of(jobs)} ended jobs, {_of(logs, size=True)} of their logs"
    free = space["limit"] - space["used"]
    if logs["limit"] is None:
        yield Finding("retention", NOTE, f"{text}: logs of ended jobs may fill the disk", "set retention.bytes")
    elif (more := logs["limit"] - logs["used"]) > free:
        hint = "lower retention.bytes in the configuration, or make room"
        yield Finding("retention", NOTE, f"{text}: {bytes_text(more)} more may be kept than the disk has free", hint)
    else:
        yield Finding("retention", OK, text)


def _of(amount: Amount, *, size: bool = False) -> str:
    used, limit = (
        "no limit" if value is None else bytes_text(value) if size else f"{value:,}"
        for value in (amount["used"], amount["limit"])
    )
    return f"{used} of {limit}"
