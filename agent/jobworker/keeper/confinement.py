"""The sandbox and the /tmp that a spec can ask for: find out at the start of the keeper what this host has."""

import errno
import json
import os
import socket

from jobworker.keeper.namespace import run_in_fork
from jobworker.linux import sandbox
from jobworker.linux.private_tmp import FOLDERS, enter_private_tmp
from jobworker.linux.syscalls import CLONE_NEWUSER, LIBC

PARTS = ("network", "userns", "write")


def find_sandbox(folder: str) -> tuple[list[str], str]:
    """Return the parts that were seen to confine a process here, and why others do not; `folder` can be written."""

    def attempt(report: int) -> None:
        worked, why = [], ""
        try:
            sandbox.confine(network=True, userns=True, write=[])
            if not _can_write(f"{folder}/sandbox.trial") and _can_write("/dev/null"):
                worked.append("write")
        except OSError as error:
            why = error.strerror or str(error)
        try:
            sandbox.confine(network=False, userns=False, write=sandbox.EVERYWHERE)
            worked += [] if _has_sockets() else ["network"]
            worked += [] if LIBC.unshare(CLONE_NEWUSER) == 0 else ["userns"]
        except OSError as error:
            why = why or error.strerror or str(error)
        os.write(report, json.dumps([worked, why]).encode())

    try:
        worked, why = json.loads(run_in_fork(attempt) or b'[[], "the attempt died"]')
    except OSError as error:
        return [], str(error.strerror)
    missing = [part for part in PARTS if part not in worked]
    return worked, (why or "it confined nothing") if missing else ""


def find_private_tmp() -> tuple[bool, str]:
    """Return whether a job can have a /tmp of its own here, and why not."""

    def attempt(report: int) -> None:
        before = os.stat(FOLDERS[0]).st_dev
        try:
            enter_private_tmp()
            os.write(report, b"yes" if os.stat(FOLDERS[0]).st_dev != before else b"it stayed the same")
        except OSError as error:
            os.write(report, (error.strerror or str(error)).encode())

    try:
        answer = run_in_fork(attempt).decode() or "the attempt died"
    except OSError as error:
        answer = str(error.strerror)
    return answer == "yes", "" if answer == "yes" else answer


def _can_write(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError:
        return False
    return True


def _has_sockets() -> bool:
    try:
        socket.socket(socket.AF_INET).close()
    except OSError as error:
        return error.errno != errno.EACCES
    return True
