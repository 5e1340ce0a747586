"""Features of newer kernels that tests can switch off, as in ``JOBWORKER_WITHOUT=cgroup.kill,pidfd_info``."""

import os
from itertools import takewhile

WITHOUT = "JOBWORKER_WITHOUT"  # a variable of agent and keeper: features that they must not use
_missing = frozenset(os.environ.get(WITHOUT, "").split(","))


def has(feature: str) -> bool:
    """Whether a feature may be used if the kernel has it.

    `openat2` (5.6), `cgroup.kill` (5.14), `pidfd_hangup` (6.9), `pidfd_info` (6.15).
    Also `clone_into_cgroup` (5.7), `spawn_into_cgroup` (the same, by glibc 2.39) and `openat2_cached` (5.12), without
    which starts only take longer.
    """
    return feature not in _missing


def kernel() -> tuple[int, int]:
    """Return the first two numbers of the version of the kernel."""
    first, second = os.uname().release.split(".")[:2]  # the second may go on as in "9-rc1"
    return int(first), int("".join(takewhile(str.isdigit, second)))
