"""The user that a job runs as: find it, and check that the caller may use it and the keeper can."""

import asyncio
import os
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jobworker.config import Config
from jobworker.errors import InvalidSpec, NotSupported, PermissionDenied
from jobworker.jobs.identity import Identity, look_up, own
from jobworker.jobs.plan import MAX_NICE, RLIMITS, Defaults, LaunchPlan
from jobworker.jobs.uid_pool import UidPool
from jobworker.model import JobSpec, Principal

CACHE_SECONDS = 5.0  # for which an answer of the host's user directory is used again


class Users:
    """The users of this host, and which of them each principal may run jobs as."""

    def __init__(
        self,
        config: Config,
        defaults: Defaults,
        capabilities: Callable[[], Mapping[str, Any]],
        pool: UidPool | None = None,
    ) -> None:
        self._default = config.jobs.user
        self._defaults = defaults
        self._allowed = config.allowed_users
        self._pool = pool  # gives each principal the user of its jobs that name none; None: none is configured
        self._capabilities = capabilities  # returns the capabilities of this host, from the keeper
        self._known: dict[tuple[str, str | None], tuple[float, Identity]] = {}

    async def assign(self, plan: LaunchPlan, principal: Principal, admin: bool) -> LaunchPlan:
        """Return the plan for the user that the principal's job runs as.

        Raises InvalidSpec, NotSupported, and PermissionDenied.
        """
        try:
            identity = await self._wanted(plan.spec, principal)
        except InvalidSpec:
            if not admin:  # the same errors as for users and groups that exist: it must not learn which do
                self._refuse_unknown(plan.spec, principal)
            raise
        self.require(identity, principal, admin, plan.spec)
        if os.geteuid() != 0 or not admin:
            check_within_ours(plan)
        if identity is not None:  # else it is the plan for our own user already
            plan = plan.run_as(identity, self._defaults)
        self.require_capabilities(plan)
        return plan

    def require(
        self, identity: Identity | None, principal: Principal, admin: bool, spec: JobSpec | None = None
    ) -> None:
        """Raise PermissionDenied unless the principal may run a job as this user (None: the agent's own).

        The error names user and group as `spec` does: the name of a uid is not for everyone.
        """
        if os.geteuid() == 0 and not admin:  # else there is only one user, or all are allowed
            if self._pool and identity and identity.uid == self._pool.known(principal.id):
                return
            permit(principal, identity or own(), self._default, self._allowed, spec)

    def _refuse_unknown(self, spec: JobSpec, principal: Principal) -> None:
        """Raise what a user or group of the host would be refused with, unless the configuration allows the user."""
        user = own().name if spec.user is None else str(spec.user)
        if os.geteuid() != 0:
            other = spec.user is not None and user not in (own().name, str(own().uid))
            raise _not_root("user" if other else "group")
        names = _names(principal, self._default, self._allowed)
        if spec.user is not None and user not in names:
            raise _user_denied(principal, user, names)
        if spec.group is not None:
            raise _group_denied(principal, str(spec.group), user if spec.user is not None else self._default)

    def require_capabilities(self, plan: LaunchPlan) -> None:
        """Raise NotSupported if the keeper cannot start a process with these settings."""
        can = self._capabilities().get("users")
        for field in plan.process_message():
            if can is None or (field == "user" and can != "any"):
                lacks = "its keeper is not root with SETUID, SETGID and SETPCAP"
                why = lacks if can else "its keeper is of another version"
                raise NotSupported(f"spec.{field}: this agent cannot set it: {why}", field=field)

    async def _wanted(self, spec: JobSpec, principal: Principal) -> Identity | None:
        if self._pool and spec.user is None:
            if spec.group is not None:
                raise PermissionDenied("group: a uid of users.pool is in no other group; expected a user too")
            return await self._pool.identity(principal.id)
        user = self._default or None if spec.user is None else spec.user
        if user is None and spec.group is None:
            return None
        setting = "user" if spec.user is not None else "jobs.user of the configuration"
        group = None if spec.group is None else str(spec.group)
        identity = await self._find(own().name if user is None else str(user), group, setting)
        if identity == own():
            return None
        if os.geteuid() != 0:
            if identity.uid != os.geteuid():
                raise _not_root("user", setting)
            raise _not_root("group")
        return identity

    async def _find(self, user: str, group: str | None, setting: str) -> Identity:
        """Look up a user in a thread: a directory service may be slow."""
        now = time.monotonic()
        self._known = {key: known for key, known in self._known.items() if known[0] > now}
        if (user, group) not in self._known:
            identity = await asyncio.to_thread(look_up, user, group, setting)
            self._known[user, group] = (time.monotonic() + CACHE_SECONDS, identity)
        return self._known[user, group][1]


def _not_root(field: str, setting: str = "") -> NotSupported:
    why = f"the agent does not run as root: all its jobs run as {own().name}, in its own group"
    return NotSupported(f"{setting or field}: {why}", field=field)


def _names(principal: Principal, default: str, allowed: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the users that a principal may run jobs as."""
    keys = (principal.known_as, *(f"role:{role}" for role in principal.roles), "*")
    return [name for key in keys for name in allowed.get(key, ())] + ([default] if default else [])


def _user_denied(principal: Principal, user: str, names: Sequence[str]) -> PermissionDenied:
    may = ", ".join(dict.fromkeys(names)) or "no user at all"
    text = f"{principal.name} may not run jobs as {user[:80]}: it may use {may}"
    return PermissionDenied(
        text, hint="name a user (`user` of the spec, jw run -u), or ask an admin to allow one in [users]"
    )


def _group_denied(principal: Principal, group: str, user: str) -> PermissionDenied:
    return PermissionDenied(f"{principal.name} may not run jobs in the group {group[:80]}: {user} is not in it")


def permit(
    principal: Principal,
    identity: Identity,
    default: str,
    allowed: Mapping[str, Sequence[str]],
    spec: JobSpec | None = None,
) -> None:
    """Raise PermissionDenied unless a principal that is no admin may run jobs as this user of the host.

    `default`: the user for specs that name none; `allowed`: the users by principal, `role:NAME` and `*`.
    Root, and groups that the user is not in, are never allowed.
    """
    names = _names(principal, default, allowed)
    user = identity.name if spec is None or spec.user is None else str(spec.user)
    group = str(identity.gid) if spec is None or spec.group is None else str(spec.group)
    if identity.uid == 0 or not {identity.name, str(identity.uid)} & set(names):
        raise _user_denied(principal, user, names)
    if identity.gid not in identity.groups:
        raise _group_denied(principal, group, user)


def check_within_ours(plan: LaunchPlan) -> None:
    """Raise InvalidSpec for more than the agent itself has: only an agent of root gives that, and only to admins."""
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    usual = 0 if os.geteuid() == 0 else max(0, ours)  # what the keeper has, whatever this process was given
    least = min(usual, 20 - resource.getrlimit(resource.RLIMIT_NICE)[0])
    if plan.nice is not None and plan.nice < least:
        text = f"nice: {plan.nice}; expected {least} to {MAX_NICE}: less is for admins, if the agent runs as root"
        raise InvalidSpec(text, field="nice")
    for name, (_, hard) in plan.rlimits.items():
        most = resource.getrlimit(RLIMITS[name])[1]
        if most != resource.RLIM_INFINITY and not 0 <= hard <= most:
            value = repr(plan.spec.rlimits[name])[:80]
            text = f"rlimits.{name}: {value}; expected at most {most}, which the agent has itself"
            text += ": more is for admins, if it runs as root"
            raise InvalidSpec(text, field=f"rlimits.{name}")
