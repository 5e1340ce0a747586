"""Decide what became of a job from two witnesses: its folder, which is right, and the engine, which may be wrong."""

from enum import StrEnum
from typing import NamedTuple

BEAT_SECONDS = 10.0  # for which a runner counts as alive after a heartbeat
AGAIN_SECONDS = 5.0  # from the engine's word that a job is gone to the look at its folder that confirms it


class Verdict(StrEnum):
    """What is to be done about a job that has no end in its folder."""

    WAIT = "wait"
    LOST = "lost"
    NEVER_BEGAN = "never began"  # lost, and it did not even begin


class Seen(NamedTuple):
    """What is known of a job that has no end in its folder. Moments are seconds on CLOCK_MONOTONIC."""

    looked: float  # when the look at its folder began
    claimed: bool  # a runner has begun
    beat: float  # when its heartbeat was last seen to change, at first: when the agent began to watch the job
    absent: float | None  # since when the engine reports it as gone or does not know it; None: it does not


def decide(seen: Seen) -> Verdict:
    """Return the verdict; an engine that does not answer is no reason for anything."""
    if seen.absent is None or seen.looked - seen.absent < AGAIN_SECONDS:
        return Verdict.WAIT
    if not seen.claimed:
        return Verdict.NEVER_BEGAN
    return Verdict.WAIT if seen.looked - seen.beat < BEAT_SECONDS else Verdict.LOST
