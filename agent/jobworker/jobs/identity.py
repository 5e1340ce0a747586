"""The users of this host: look one up by name or number."""

import functools
import grp
import logging
import os
import pwd
from dataclasses import dataclass

from jobworker.config import Config
from jobworker.errors import InvalidSpec, StartError

MAX_ID = 0xFFFFFFFE
NO_GROUP = 65534  # `nogroup` or `nobody` everywhere; one of the number of the user may be the group of others

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Identity:
    """The user that a job runs as; the host need not have an entry for its number.

    `gid` is the job's group, `groups` are all groups of the user. `home` is the user's home as the host has it,
    `folder` the same if it exists, else `/`.
    """

    name: str
    uid: int
    gid: int
    groups: list[int]
    home: str
    folder: str


@functools.cache
def own() -> Identity:
    """Return the agent's own user, looked up once; in a container it may be one that the host does not know."""
    uid = os.geteuid()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Identity(str(uid), uid, os.getegid(), sorted(os.getgroups()), "/", "/")
    return _identity(entry, entry.pw_gid)


def look_up(user: str, group: str | None, setting: str = "user") -> Identity:
    """Return a user by name or number, in its own group or in another; raise InvalidSpec. It may block."""
    try:
        entry = _entry(user)
    except (KeyError, ValueError, OverflowError):
        if _is_id(user):
            return _unknown(int(user), group)
        text = f"{setting}: {user[:80]!r}; expected a user of this host, by name or number"
        raise InvalidSpec(text, field="user") from None
    try:
        return _identity(entry, entry.pw_gid if group is None else _gid(group))
    except (KeyError, ValueError, OverflowError):
        raise _no_group(group) from None


def _unknown(uid: int, group: str | None) -> Identity:
    """Return a user that the host has no entry for, as in containers: in no group of any user, with no home."""
    try:
        gid = NO_GROUP if group is None else _gid(group)
    except (KeyError, ValueError, OverflowError):
        raise _no_group(group) from None
    return Identity(str(uid), uid, gid, [gid], "/", "/")


def _no_group(group: str | None) -> InvalidSpec:
    return InvalidSpec(f"group: {str(group)[:80]!r}; expected a group of this host, by name or number", field="group")


def require_users(config: Config) -> None:
    """Raise StartError if `jobs.user` does not exist; log which users of `[users]` do not. It may block."""
    if config.jobs.user:
        try:
            look_up(config.jobs.user, None, "jobs.user")
        except InvalidSpec as error:
            raise StartError(error.message, hint="create it with useradd, or set jobs.user to another one") from None
    if config.uid_pool and os.geteuid() == 0:
        _require_mapped(config.uid_pool)
    for key, names in config.allowed_users.items():
        for name in names:
            try:
                look_up(name, None, f"users.{key}")
            except InvalidSpec as error:
                log.warning("%s: no job can run as it", error.message)


def _require_mapped(uids: range) -> None:
    """Raise StartError if the user namespace of this process, such as a container's, lacks some uids of a range."""
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/self/{name}") as file:
            lines = [[int(number) for number in line.split()] for line in file]
        if not any(first <= uids[0] and uids[-1] < first + count for first, _, count in lines):
            text = f"users.pool: {uids[0]}-{uids[-1]}: this user namespace does not have all (/proc/self/{name})"
            raise StartError(text, hint="choose a range that the container has, such as one below 65534")


def user_message(identity: Identity) -> dict[str, object]:
    """Return a user as it is in a message to the keeper."""
    return {"uid": identity.uid, "gid": identity.gid, "groups": identity.groups}


def name_of(uid: int) -> str:
    """Return the name of a user, or its number if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _identity(entry: pwd.struct_passwd, gid: int) -> Identity:
    groups = sorted(os.getgrouplist(entry.pw_name, entry.pw_gid))
    folder = entry.pw_dir if os.path.isdir(entry.pw_dir) else "/"
    return Identity(entry.pw_name, entry.pw_uid, gid, groups, entry.pw_dir, folder)


def _entry(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        if not _is_id(user):
            raise
        return pwd.getpwuid(int(user))


def _gid(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        if not _is_id(group):
            raise
        return int(group)


def _is_id(text: str) -> bool:
    """Whether a text is the number of a user or group; the last number means none."""
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= MAX_ID
