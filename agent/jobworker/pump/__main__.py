"""Start the pump: ``python -I -S …/pump/__main__.py LOGS``; descriptor 3 is a listening seqpacket socket."""

import gc
import os
import resource
import signal
import socket
import sys

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from jobworker.linux.inheritance import keep_out_of_cores
from jobworker.pump.pump import Pump

# It ends with the last log, not before; an engine sends signals to all processes of a job, of which this is one.
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def raise_file_size() -> None:
    """Have logs end at their own bound, not at the limit of file sizes (`ulimit -f`) of the agent's caller."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (resource.RLIM_INFINITY, hard):
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            return
        except (OSError, ValueError):
            continue  # only root may raise the hard limit


def main() -> None:
    """Make the pump and run it."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    raise_file_size()
    keep_out_of_cores()  # the values that are masked are in its memory
    listener = socket.socket(fileno=3)
    listener.setblocking(False)
    pump = Pump(listener, sys.argv[1])
    gc.freeze()
    pump.run()


if __name__ == "__main__":
    main()
