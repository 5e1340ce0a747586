"""The limit of open files: take all there is, pass on what the caller had, count what is left."""

import contextlib
import os
import resource
from collections.abc import Iterator

RESERVED = 48  # that all connections leave free; those before their TLS handshake leave half as many
_null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
_before: list[int] = []  # the soft limit before it was raised, once it was


def raise_limit() -> None:
    """Raise the soft limit to the hard one: strangers' connections would soon reach the usual 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    _before.append(soft)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextlib.contextmanager
def original_limit() -> Iterator[None]:
    """Have the soft limit of before, for a process to inherit: programs that use select() break with a higher one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_before[0] if _before else soft, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def left() -> int:
    """Return the most files that can still be opened: the limit less the lowest free number, which dup returns."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        lowest = os.dup(_null)
    except OSError:
        return 0
    os.close(lowest)
    return soft - lowest
