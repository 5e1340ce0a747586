"""Count the files that this process may still open: connections must leave some for jobs and logs."""

import os
import resource

RESERVED = 48  # that all connections leave free; those before their TLS handshake leave half as many
_null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


def left() -> int:
    """Return the most files that can still be opened: the limit less the lowest free number, which dup returns."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        lowest = os.dup(_null)
    except OSError:
        return 0
    os.close(lowest)
    return soft - lowest
