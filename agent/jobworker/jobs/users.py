"""The user that a job runs as: look it up, check that the caller may use it, and build the launch message."""

import asyncio
import functools
import grp
import os
import pwd
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jobworker.config import Config
from jobworker.errors import InvalidSpec, NotSupported, PermissionDenied
from jobworker.jobs.record import Identity
from jobworker.model import JobSpec, Principal

CACHE_SECONDS = 5.0  # for which an answer of the host's user directory is used again
RLIMITS = {name[7:].lower(): getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
MAX_RLIMIT = (1 << 63) - 1
MAX_NICE, MIN_NICE = 19, -20  # from the lowest priority to the highest
MAX_UMASK = 0o777
CHECKED_FIELDS = ("user", "umask", "nice", "rlimits")  # of a launch message, which an older keeper may not know


class Users:
    """The users of this host, and which of them each principal may run jobs as."""

    def __init__(self, config: Config, capabilities: Callable[[], Mapping[str, Any]]) -> None:
        self._default = config.jobs.user
        self._allowed = config.users
        self._capabilities = capabilities  # returns the capabilities of this host, from the keeper
        self._known: dict[tuple[str, str | None], tuple[float, Identity]] = {}

    async def identify(self, spec: JobSpec, principal: Principal, admin: bool) -> Identity | None:
        """Return the user that the principal's job runs as; None: the agent's own.

        Raises InvalidSpec, NotSupported, and PermissionDenied.
        """
        identity = await self._wanted(spec)
        self.require(identity, principal, admin)
        if os.geteuid() != 0 or not admin:
            check_within_ours(spec)
        self.require_capabilities(process_message(spec, identity))
        return identity

    def require(self, identity: Identity | None, principal: Principal, admin: bool) -> None:
        """Raise PermissionDenied unless the principal may run a job as this user (None: the agent's own)."""
        if os.geteuid() == 0 and not admin:  # else there is only one user, or all are allowed
            permit(principal, identity or own(), self._default, self._allowed)

    def require_capabilities(self, message: Mapping[str, Any]) -> None:
        """Raise NotSupported if the keeper cannot do what the message asks for."""
        can = self._capabilities().get("users")
        for field in CHECKED_FIELDS:
            if field in message and (can is None or (field == "user" and can != "any")):
                lacks = "its keeper is not root with SETUID, SETGID and SETPCAP"
                why = lacks if can else "its keeper is of another version"
                raise NotSupported(f"spec.{field}: this agent cannot set it: {why}", field=field)

    async def _wanted(self, spec: JobSpec) -> Identity | None:
        user = self._default or None if spec.user is None else spec.user
        if user is None and spec.group is None:
            return None
        setting = "user" if spec.user is not None else "jobs.user of the configuration"
        group = None if spec.group is None else str(spec.group)
        identity = await self._find(own().name if user is None else str(user), group, setting)
        if identity == own():
            return None
        if os.geteuid() != 0:
            field, what = ("user", setting) if identity.uid != os.geteuid() else ("group", "group")
            why = f"the agent does not run as root: all its jobs run as {own().name}, in its own group"
            raise NotSupported(f"{what}: {why}", field=field)
        return identity

    async def _find(self, user: str, group: str | None, setting: str) -> Identity:
        """Look up a user in a thread: a directory service may be slow."""
        now = time.monotonic()
        self._known = {key: known for key, known in self._known.items() if known[0] > now}
        if (user, group) not in self._known:
            identity = await asyncio.to_thread(look_up, user, group, setting)
            self._known[user, group] = (time.monotonic() + CACHE_SECONDS, identity)
        return self._known[user, group][1]


def permit(principal: Principal, identity: Identity, default: str, allowed: Mapping[str, Sequence[str]]) -> None:
    """Raise PermissionDenied unless a principal that is no admin may run jobs as this user of the host.

    `default`: the user for specs that name none; `allowed`: the users by principal, `role:NAME` and `*`.
    Root, and groups that the user is not in, are never allowed.
    """
    keys = (principal.id, *(f"role:{role}" for role in principal.roles), "*")
    names = [name for key in keys for name in allowed.get(key, ())] + ([default] if default else [])
    if identity.uid == 0 or not {identity.name, str(identity.uid)} & set(names):
        may = ", ".join(dict.fromkeys(names)) or "no user at all"
        text = f"{principal.name} may not run jobs as {identity.name}: it may use {may}"
        raise PermissionDenied(
            text, hint="name a user (`user` of the spec, jw run -u), or ask an admin to allow one in [users]"
        )
    if identity.gid not in identity.groups:
        text = f"{principal.name} may not run jobs in the group {identity.gid}: {identity.name} is not in it"
        raise PermissionDenied(text)


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
        text = f"{setting}: {user[:80]!r}; expected a user of this host, by name or number"
        raise InvalidSpec(text, field="user") from None
    try:
        return _identity(entry, entry.pw_gid if group is None else _gid(group))
    except (KeyError, ValueError, OverflowError):
        text = f"group: {str(group)[:80]!r}; expected a group of this host, by name or number"
        raise InvalidSpec(text, field="group") from None


def _identity(entry: pwd.struct_passwd, gid: int) -> Identity:
    groups = sorted(os.getgrouplist(entry.pw_name, entry.pw_gid))
    folder = entry.pw_dir if os.path.isdir(entry.pw_dir) else "/"
    return Identity(entry.pw_name, entry.pw_uid, gid, groups, entry.pw_dir, folder)


def _entry(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        if not _is_number(user):
            raise
        return pwd.getpwuid(int(user))


def _gid(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        if not _is_number(group):
            raise
        return grp.getgrgid(int(group)).gr_gid


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10


def process_message(spec: JobSpec, identity: Identity | None) -> dict[str, Any]:
    """Return the part of the launch message about user, umask, nice and rlimits; raise InvalidSpec."""
    message: dict[str, Any] = {}
    if identity is not None:
        message["user"] = user_message(identity)
    if spec.umask is not None:
        message["umask"] = umask(spec.umask)
    if spec.nice is not None:
        if not MIN_NICE <= spec.nice <= MAX_NICE:
            raise InvalidSpec(f"nice: {spec.nice}; expected {MIN_NICE} to {MAX_NICE}", field="nice")
        message["nice"] = spec.nice
    if spec.rlimits:
        message["rlimits"] = {name: rlimit(name, value) for name, value in spec.rlimits.items()}
    return message


def user_message(identity: Identity) -> dict[str, Any]:
    """Return a user as it is in a message to the keeper."""
    return {"uid": identity.uid, "gid": identity.gid, "groups": identity.groups}


def umask(value: int | str) -> int:
    """Return a umask, given as a number or as octal text; raise InvalidSpec."""
    try:
        mask = int(value, 8) if isinstance(value, str) and value.isascii() and value.isdigit() else value
    except ValueError:
        mask = value
    if not isinstance(mask, int) or not 0 <= mask <= MAX_UMASK:
        text = f'umask: {str(value)[:40]!r}; expected octal digits as "027", or a number from 0 to {MAX_UMASK}'
        raise InvalidSpec(text, field="umask")
    return mask


def rlimit(name: str, value: object) -> tuple[int, int]:
    """Return the soft and the hard limit, -1 for unlimited; raise InvalidSpec."""
    field = f"rlimits.{name[:40]}"
    if name not in RLIMITS:
        raise InvalidSpec(f"{field}: unknown; expected one of: {', '.join(RLIMITS)}", field=field)
    pair = value if isinstance(value, dict) else {"soft": value, "hard": value}
    soft, hard = (_amount(pair.get(which)) for which in ("soft", "hard"))
    if soft is None or hard is None or pair.keys() != {"soft", "hard"}:
        expected = f'a number from 0 to {MAX_RLIMIT}, "unlimited", or both as {{"soft", "hard"}}'
        raise InvalidSpec(f"{field}: {repr(value)[:80]}; expected {expected}", field=field)
    if hard != resource.RLIM_INFINITY and not 0 <= soft <= hard:
        raise InvalidSpec(f"{field}: {repr(value)[:80]}; expected soft to be no more than hard", field=field)
    return soft, hard


def _amount(value: object) -> int | None:
    if value == "unlimited":
        return resource.RLIM_INFINITY
    return value if type(value) is int and 0 <= value <= MAX_RLIMIT else None


def check_within_ours(spec: JobSpec) -> None:
    """Raise InvalidSpec for more than the agent itself has: only an agent of root gives that, and only to admins."""
    least = min(os.getpriority(os.PRIO_PROCESS, 0), 20 - resource.getrlimit(resource.RLIMIT_NICE)[0])
    if spec.nice is not None and spec.nice < least:
        text = f"nice: {spec.nice}; expected {least} to {MAX_NICE}: less is for admins, if the agent runs as root"
        raise InvalidSpec(text, field="nice")
    for name, value in spec.rlimits.items():
        most, (_, hard) = resource.getrlimit(RLIMITS[name])[1], rlimit(name, value)
        if most != resource.RLIM_INFINITY and not 0 <= hard <= most:
            text = f"rlimits.{name}: {repr(value)[:80]}; expected at most {most}, which the agent has itself"
            text += ": more is for admins, if it runs as root"
            raise InvalidSpec(text, field=f"rlimits.{name}")
