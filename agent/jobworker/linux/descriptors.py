"""How many files this process may still open: connections must leave some to jobs and logs."""

import os
import resource

RESERVED = 48  # that connections leave, and half of them those that have yet to shake hands
_any = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


def left() -> int:
    """Return how many files may at most be opened from now on: the kernel gives the lowest number that is free."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        lowest = os.dup(_any)
    except OSError:
        return 0
    os.close(lowest)
    return soft - lowest
