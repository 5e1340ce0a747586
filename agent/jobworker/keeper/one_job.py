"""Run the job of one folder: ``python -I -S …/keeper/one_job.py FOLDER``, as an engine starts it on a node.

Beside this package it needs Python 3.11 alone. It ends with the exit code of the job, 128 and the number of a signal;
with 97 if another runner has claimed the job, with 98 if it cannot use the folder.
"""

import os
import signal
import sys

# Until the loop takes them: a signal of the engine that comes early must not end this process without a record.
signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP, signal.SIGUSR1))
sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

import errno  # noqa: E402
import gc  # noqa: E402
import io  # noqa: E402
import pwd  # noqa: E402
import traceback  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any, TypeVar  # noqa: E402

from jobworker.formats import job_folder  # noqa: E402
from jobworker.keeper.child import change_user  # noqa: E402
from jobworker.keeper.node_folder import make_node_folder, remove_left, remove_node_folder  # noqa: E402
from jobworker.keeper.runner import Runner  # noqa: E402
from jobworker.keeper.state import State  # noqa: E402
from jobworker.linux.proc import boot_id  # noqa: E402
from jobworker.linux.syscalls import become_subreaper, reset_internal_signals  # noqa: E402

NODE = "JOBWORKER_NODE"  # set by an engine's script, if the host name is not what it calls the node
T = TypeVar("T")
FULL = (errno.ENOSPC, errno.EDQUOT)
RETRY_SECONDS = 1.0  # between two attempts to write into a full folder


class Notes(io.TextIOWrapper):
    """A standard error that may be a file on the same full disk: what cannot be written is left out."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            pass


def main(folder: str) -> int:
    """Run the job; return the exit code."""
    sys.stderr = Notes(io.BufferedWriter(io.FileIO(2, "w", closefd=False)), "utf-8", "replace", line_buffering=True)
    environment = given_environment()  # first: another user cannot read it
    # The engine's name for this node, which its users know; not passed on to the job.
    node = environment.pop(NODE, "") or os.uname().nodename
    try:
        become_owner(folder)
        launch = job_folder.read_launch(folder)
        claim = {"tag": launch["tag"], "node": node, "pid": os.getpid(), "boot": boot_id()}
        wait_for_room(lambda: job_folder.write_claim(folder, claim))
    except FileExistsError:
        print(f"{folder}: another runner has claimed this job", file=sys.stderr)
        return job_folder.CLAIMED
    except (OSError, ValueError) as error:
        print(f"{folder} cannot be used: {error}", file=sys.stderr)
        return job_folder.UNUSABLE
    become_subreaper()
    reset_internal_signals()
    os.chdir("/")
    os.umask(0o022)
    remove_left()
    run_folder = make_node_folder()
    try:
        runner = wait_for_room(lambda: make_runner(folder, launch, run_folder, environment))
        gc.collect()
        gc.freeze()
        try:
            return runner.run()
        except BaseException:
            traceback.print_exc()
            runner.kill()
            return 1
    finally:
        remove_node_folder(run_folder)


def given_environment() -> dict[str, str]:
    """Return the environment that this process was started with: os.environ has what Python itself adds, too."""
    with open("/proc/self/environ", "rb") as file:
        pairs = [os.fsdecode(pair).partition("=") for pair in file.read().split(b"\0") if pair]
    return {name: value for name, _, value in pairs}


def make_runner(folder: str, launch: dict[str, Any], run_folder: str, environment: dict[str, str]) -> Runner:
    """Make what the folder lacks, and the runner; raise OSError."""
    for name in (job_folder.LOGS, job_folder.CONTROL, job_folder.ANSWERS):
        os.makedirs(f"{folder}/{name}", 0o700, exist_ok=True)
    return Runner(folder, launch, State(folder, run_folder, one_job=True), environment)


def wait_for_room(make: Callable[[], T]) -> T:
    """Return what `make` returns, tried again while the folder has no room; raise OSError when the engine ends us."""
    while True:
        try:
            return make()
        except OSError as error:
            if error.errno not in FULL or signal.SIGTERM in signal.sigpending():
                raise
            print(f"no room in the folder: {error}", file=sys.stderr, flush=True)
        signal.sigtimedwait((), RETRY_SECONDS)


def become_owner(folder: str) -> None:
    """Become the user whose folder it is, if we are root; raise OSError if it is another user's.

    The groups are those that this node knows: what is in the folder was perhaps written by the user.
    """
    owner = os.stat(folder)
    if owner.st_uid == os.geteuid():
        return
    if os.geteuid():
        raise PermissionError(f"it belongs to uid {owner.st_uid}, and this process runs as uid {os.geteuid()}")
    try:
        user = pwd.getpwuid(owner.st_uid)
    except KeyError:
        change_user(owner.st_uid, owner.st_gid, [])
    else:
        change_user(user.pw_uid, user.pw_gid, os.getgrouplist(user.pw_name, user.pw_gid))


if __name__ == "__main__":
    sys.exit(main(os.path.abspath(sys.argv[1])))
