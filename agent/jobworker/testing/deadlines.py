"""How long a test waits for what must happen, on a host that is as slow as the environment has it."""

import os

VARIABLE = "JOBWORKER_TEST_SLOWNESS"
# How many times slower than an ordinary host this one is, as under emulation: waits may take as many times longer.
SLOWNESS = max(1.0, float(os.environ.get(VARIABLE) or 1))


def scaled(seconds: float) -> float:
    """Return how long this host may take for what takes an ordinary one up to so many seconds."""
    return seconds * SLOWNESS


DEADLINE = scaled(60.0)  # seconds that anything may take, other tests beside it: a test that needs them has failed
