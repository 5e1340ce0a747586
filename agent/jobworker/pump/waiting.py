"""Why a log takes nothing now: its disk, or its readers."""

HELD_SECONDS = 0.01  # until it is looked again whether more was read; longer each time that nothing was


class Stalled(Exception):
    """The log cannot be written now; the bytes stay in the pipe."""


class Held(Stalled):
    """The log is full, and the job waits until more of it was read."""
