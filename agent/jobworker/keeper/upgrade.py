"""Execute the next version of the keeper in place: it keeps the pid, and so the children, and all descriptors.

What one version passes to the next is a JSON object in a file in memory; its descriptor is in the environment.
"""

import json
import os
import signal
from typing import Any

from jobworker.keeper.job import Job
from jobworker.keeper.state import State
from jobworker.keeper.wire import VERSION, encode

HANDED = "JOBWORKER_KEEPER"  # in the environment: the descriptor of the file


def received() -> dict[str, Any]:
    """Return what the version before passed on; empty if this keeper was started by an agent."""
    if HANDED not in os.environ:
        return {}
    with open(int(os.environ.pop(HANDED)), "rb") as file:
        file.seek(0)
        handed: dict[str, Any] = json.load(file)
        return handed


def execute(command: list[str], state: State, sockets: dict[str, int], more: dict[str, Any]) -> None:
    """Execute a command in place of this process; raise OSError, with all as before, if that cannot be.

    `sockets` are the descriptors that it gets by name, `more` what else it is to know.
    """
    handed = {
        "v": VERSION,
        **sockets,
        **more,
        "nofile": state.nofile,
        "pump": state.pump_pid,
        "inits": [(pid, job.id) for pid, job in state.inits.items()],
        "ending": list(state.ending),
        "stuck": [(pid, *where) for pid, where in state.stuck.items()],
        "owed": [record.decode() for record in state.journal.owed],
        "jobs": [vars(job) for job in state.jobs.values()],
    }
    memory = os.memfd_create("keeper", 0)
    with open(os.dup(memory), "w") as file:
        file.write(encode(handed))
    try:
        for fd in sockets.values():
            os.set_inheritable(fd, True)
        for job in state.jobs.values():
            job.inherit(True)
        os.execve(command[0], command, {**os.environ, HANDED: str(memory)})
    finally:  # it failed: on as before
        os.close(memory)
        for fd in sockets.values():
            os.set_inheritable(fd, False)
        for job in state.jobs.values():
            job.inherit(False)


def restore(state: State, handed: dict[str, Any]) -> None:
    """Hold what the version before held. The pump is ended: its next version is started."""
    if handed["pump"]:
        os.kill(handed["pump"], signal.SIGKILL)
    state.nofile = tuple(handed["nofile"])
    state.ending = set(handed.get("ending", []))
    state.stuck = {pid: (job, group) for pid, job, group in handed.get("stuck", [])}
    state.journal.owed.extendleft(record.encode() for record in reversed(handed["owed"]))
    for known in handed["jobs"]:
        job = state.jobs[known["id"]] = Job(known["id"], state.fifo, {})
        vars(job).update(known)
        job.inherit(False)
        if job.pidfd < 0 and not job.ended and not job.launching:
            state.pids[job.pid] = job
        if "group" not in known:  # of a version before 2: it did not pass it on
            job.group = state.cgroups.find(job.id, job.pid)
    for pid, name in handed.get("inits", []):
        state.inits[pid] = state.jobs.get(name) or Job(name, state.fifo, {})
