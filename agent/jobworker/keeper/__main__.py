"""Start the keeper: ``python -I -S …/keeper/__main__.py STATE RUN``; descriptor 3 is a listening seqpacket socket.

The standard library comes first on the path and our own package last: nothing beside our files can shadow a module.
All is imported before the first job, so that an upgrade on disk cannot mix versions.
"""

import fcntl
import gc
import os
import signal
import socket
import sys

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from jobworker.formats.code import checksum

code = checksum()  # before the other imports: compared after them

from jobworker.keeper import upgrade  # noqa: E402
from jobworker.keeper.keeper import Keeper  # noqa: E402
from jobworker.keeper.state import State  # noqa: E402
from jobworker.linux import inheritance  # noqa: E402
from jobworker.linux.syscalls import become_subreaper, reset_internal_signals  # noqa: E402


def main() -> None:
    """Make the keeper and run it."""
    state_folder, run_folder = sys.argv[1:3]
    become_subreaper()
    reset_internal_signals()  # posix_spawn had them ignored, and jobs would inherit that
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the agent ends it, not whatever ends a session
    os.chdir("/")
    os.umask(0o022)
    for refused in inheritance.reset():  # once, here: pump and jobs get from us what they have
        print(refused, file=sys.stderr, flush=True)
    handed = upgrade.received()
    if not handed:
        close_inherited()
    lock = handed["lock"] if handed else os.open(f"{state_folder}/keeper.lock", os.O_WRONLY | os.O_CREAT, 0o600)
    os.set_inheritable(lock, False)
    # Waits for a predecessor that is about to leave; not flock, which a child that hangs would go on holding.
    fcntl.lockf(lock, fcntl.LOCK_EX)
    listener = socket.socket(fileno=handed["listener"] if handed else 3)
    listener.set_inheritable(False)
    listener.setblocking(False)
    keeper = Keeper(code, listener, lock, State(state_folder, run_folder))
    if handed:
        keeper.go_on(handed)
    else:
        keeper.begin()
    gc.collect()
    gc.freeze()
    keeper.run()


def close_inherited() -> None:
    """Close what the agent's parent left open, beyond the limit of open files as well."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 3:
            try:
                os.close(int(name))
            except OSError:
                pass  # it was the descriptor of the list


if __name__ == "__main__":
    if checksum() != code:  # an upgrade on disk came between the imports
        os.execv(sys.executable, sys.orig_argv)
    main()
