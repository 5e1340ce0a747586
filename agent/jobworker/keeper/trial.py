"""Believe of a host only what one real process could do: start it in a cgroup with each limit, and end it there."""

import os
import select
import signal
import time

from jobworker.keeper.cgroups import Cgroups
from jobworker.keeper.limits import Limits
from jobworker.linux import cgroupfs, spawn_into
from jobworker.linux.clone import fork_into
from jobworker.linux.syscalls import die_with

VALUES = {"memory": 64 << 20, "pids": 64, "cpus": 0.5}  # what the process of the trial may use
END_SECONDS = 5.0  # for a process that was killed to end


def try_out(cgroups: Cgroups, limits: Limits) -> float:
    """Give up what does not work of cgroups and limits; return how long that took, in seconds."""
    began = time.monotonic()
    if cgroups.root:
        group = cgroups.group(f"trial-{os.getpid()}")
        try:
            os.makedirs(group, exist_ok=True)
            for kind in [*limits.roots]:
                if limits.in_cgroup(kind):
                    _try_limit(limits, kind, os.path.basename(group))
            _try_process(cgroups, group)
        except OSError as error:
            why = f"a trial process could not be started and ended there: {error.strerror or error}"
            for kind in [*limits.roots]:
                if limits.in_cgroup(kind):
                    limits.give_up(kind, why)
            cgroupfs.remove(group)
            cgroups.give_up(why)
        else:
            cgroupfs.remove(group)
    return time.monotonic() - began


def _try_limit(limits: Limits, kind: str, name: str) -> None:
    try:
        if kind == "io":
            with os.scandir("/sys/block") as disks:
                device = next(cgroupfs.read(f"{disk.path}/dev") for disk in disks)
            limits.apply(name, {"io": {"read": {device: 1 << 30}, "write": {device: 1 << 30}}})
        else:
            limits.apply(name, {kind: VALUES[kind]})
    except StopIteration:
        limits.give_up(kind, "this host has no block device")
    except OSError as error:
        limits.give_up(kind, error.strerror or str(error))


def _try_process(cgroups: Cgroups, group: str) -> None:
    """Start a process in the group and end it as the jobs will be; raise OSError if either does not work."""
    keeper = os.getpid()
    child = _fork(cgroups, group)
    if child == 0:
        try:
            die_with(keeper)  # a keeper that is killed now leaves no process behind
            while True:
                signal.pause()
        finally:
            os._exit(1)
    pidfd = os.pidfd_open(child)
    try:
        if cgroupfs.members(group) != [child]:
            raise OSError(0, f"{group} does not hold the process that was started in it")
        cgroupfs.kill(group)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(END_SECONDS * 1000):
            raise OSError(0, f"cgroup.kill of {group} did not end the process in it")
    finally:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)  # not reaped yet: it is still the same process
        os.close(pidfd)
        os.waitpid(child, 0)


def _fork(cgroups: Cgroups, group: str) -> int:
    """Fork a child into the group, by clone3 if that works here; return 0 in the child."""
    try:
        child = fork_into(group)
    except OSError:  # an older kernel, or a container that forbids it
        cgroups.enter(group)
        child = -1
        try:
            child = os.fork()
        finally:
            if child:  # the child stays in the group
                cgroups.leave()
        return child
    cgroups.clones = True
    cgroups.spawns = spawn_into.is_available()
    return child
