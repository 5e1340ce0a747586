"""What newer kernels have, and tests switch off: ``JOBWORKER_WITHOUT=cgroup.kill,pidfd_info`` is an older kernel."""

import os

WITHOUT = "JOBWORKER_WITHOUT"  # in the environment of agent and keeper: features to do without
_missing = frozenset(os.environ.get(WITHOUT, "").split(","))


def has(feature: str) -> bool:
    """Whether a feature may be used, if the kernel has it: `cgroup.kill` (5.14), `pidfd_info` (6.15)."""
    return feature not in _missing
