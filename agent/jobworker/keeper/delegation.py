"""Find a cgroup in which we may make others, without touching one that was not given to us.

Without systemd, as in a container, that is our own cgroup if it can be written. With systemd it is our own if it was
delegated to us, else a scope beside it that systemd makes for us. A service needs the scope as well, although its
cgroup was delegated, unless systemd starts its processes in a leaf: else it could not start again while jobs run.
"""

import errno
import os
import time
from typing import NamedTuple

from jobworker.keeper import systemd
from jobworker.linux import cgroupfs
from jobworker.linux.cgroupfs import Hierarchy
from jobworker.linux.departure import LEAF, OURS
from jobworker.linux.proc import group_of

MOVES = 50  # rounds of moving processes that fork meanwhile
HINT = "run the agent as a service: jw agent install --systemd"
USER_HINT = (
    "run the agent as a service of the user (jw agent install --systemd --user, loginctl enable-linger), "
    "or in a scope: systemd-run --user --scope -p Delegate=yes jw agent start"
)


class Base(NamedTuple):
    """A cgroup below which jobs get theirs: `leaf` is our own one, `controllers` whether any may be enabled."""

    folder: str
    leaf: str
    controllers: bool
    why_no_controllers: str = ""


class NotDelegatedError(Exception):
    """There is no cgroup for us; the text has the reason and what to change."""


def find_base(hierarchy: Hierarchy, name: str, description: str) -> Base:
    """Return the cgroup to use, with this process in its leaf; raise NotDelegatedError.

    `name` tells this agent's scope from those of other agents on the host.
    """
    uid = os.geteuid()
    path = group_of("self")
    own = OURS.sub("", path) or "/"
    folder = hierarchy.folder(own)
    if not systemd.is_running():
        return _own_without_systemd(folder, uid)
    unit = next((part for part in reversed(own.split("/")) if part.endswith((".service", ".scope"))), "")
    managed = uid == 0 or f"/user@{uid}.service/" in f"{own}/"  # by a systemd that we can reach, and move within
    explicit, subgroup = _delegated(folder, unit, uid, managed)
    restarts = unit.endswith(".service") and not subgroup  # and then must find no controllers enabled
    foreign = f"/{LEAF}" not in path and own != path  # a job of another agent started us
    if explicit and not restarts and not foreign:
        return _step_into_leaf(folder)
    refused = ""
    if managed:
        try:
            return _own_scope(hierarchy, name, description, uid, unit if unit.endswith(".service") else "")
        except OSError as error:
            refused = f" ({error.strerror or error})"
    if explicit:
        why = f"{unit} could not start again while jobs run: it lacks DelegateSubgroup={LEAF}{refused}"
        if foreign:
            why = f"a job of another agent started this one{refused}"
        return _step_into_leaf(folder)._replace(controllers=False, why_no_controllers=why)
    hint = USER_HINT if uid else HINT
    raise NotDelegatedError(f"the cgroup {own} was not delegated to this agent{refused}; {hint}")


def _delegated(folder: str, unit: str, uid: int, managed: bool) -> tuple[bool, bool]:
    """Return whether our own cgroup was delegated to us, and whether systemd starts the unit's processes below it."""
    if not uid:
        explicit = any(_attribute(folder, name) == b"1" for name in ("user.delegate", "trusted.delegate"))
        if not explicit or not unit.endswith(".service"):
            return explicit, False
        return True, bool(systemd.properties(unit, uid).get("DelegateSubgroup"))
    if not _is_own(folder, uid):
        return False, False
    if not managed:
        return True, False  # root gave it to this user, without systemd
    found = systemd.properties(unit, uid)
    return found.get("Delegate") == "yes", bool(found.get("DelegateSubgroup"))


def _attribute(folder: str, name: str) -> bytes:
    try:
        return os.getxattr(folder, name)
    except OSError:
        return b""


def _is_own(folder: str, uid: int) -> bool:
    files = (folder, f"{folder}/cgroup.procs", f"{folder}/cgroup.subtree_control")
    try:
        return all(os.stat(file).st_uid == uid for file in files)
    except OSError:
        return False


def _own_without_systemd(folder: str, uid: int) -> Base:
    """Return our own cgroup, as in a container: what is in it belongs to its processes."""
    if not os.access(folder, os.W_OK) or not os.access(f"{folder}/cgroup.procs", os.W_OK):
        text = "the cgroup {} cannot be written: mount /sys/fs/cgroup read-write, with a cgroup namespace of its own"
        raise NotDelegatedError(text.format(folder))
    if uid and not _is_own(folder, uid):
        files = "the folder, its cgroup.procs and its cgroup.subtree_control"
        raise NotDelegatedError(f"the cgroup {folder} does not belong to uid {uid}: chown {files}")
    if cgroupfs.is_real_root(folder):
        return Base(folder, folder, controllers=True)
    return _step_into_leaf(folder)


def _own_scope(hierarchy: Hierarchy, name: str, description: str, uid: int, before: str) -> Base:
    """Step into the scope of this agent, which systemd makes if there is none; raise OSError."""
    unit = f"jobworker-{name}.scope"
    scope = None
    try:
        scope = systemd.Scope(unit, description, uid, before)
        path = scope.path
    except OSError:
        path = systemd.properties(unit, uid).get("ControlGroup", "")  # of the keeper before us: jobs run in it
        if not path:
            raise
    try:
        folder = hierarchy.folder(path)
        if not folder:
            raise OSError(errno.ENOENT, f"the path {path} of {unit} is not below {hierarchy.mount}")
        os.makedirs(f"{folder}/{LEAF}", exist_ok=True)
        cgroupfs.write(f"{folder}/{LEAF}/cgroup.procs", "0")
    finally:
        if scope is not None:
            scope.release()
    return Base(folder, f"{folder}/{LEAF}", controllers=True)


def _step_into_leaf(folder: str) -> Base:
    """Move all processes of a delegated cgroup into a leaf of it: only then can controllers be enabled for others."""
    leaf = f"{folder}/{LEAF}"
    try:
        os.makedirs(leaf, exist_ok=True)
        cgroupfs.write(f"{leaf}/cgroup.procs", "0")
        for _ in range(MOVES):
            pids = [pid for pid in cgroupfs.pids_in(folder) if pid]
            if not pids:
                break
            for pid in pids:
                _move(pid, leaf)
            time.sleep(0.001)
    except OSError as error:
        raise NotDelegatedError(f"the cgroup {folder} was delegated and cannot be used: {error.strerror}") from error
    return Base(folder, leaf, controllers=True)


def _move(pid: int, leaf: str) -> None:
    try:
        cgroupfs.write(f"{leaf}/cgroup.procs", str(pid))
    except OSError as error:
        if error.errno not in (errno.ESRCH, errno.EACCES, errno.EPERM):  # ended, or not ours to move
            raise
