"""The objects of the protocol as types: specs, jobs, exits, principals.

Agent, client and plugins share them. On the wire an object has the fields of its type.
"""

from typing import Any

import msgspec

from jobworker.model.job import (
    ChainLink,
    Exit,
    Explanation,
    Job,
    JobSummary,
    LogInfo,
    Queued,
    Reason,
    Receipt,
    State,
    Stats,
    Step,
    Usage,
    Waiting,
    Writer,
)
from jobworker.model.notifications import EventGap, JobEvent, LogEnd, LogGap
from jobworker.model.principal import Principal
from jobworker.model.spec import (
    LOCAL,
    MIN_LOG,
    ExecutorSpec,
    JobSpec,
    LimitSpec,
    LogSpec,
    SandboxSpec,
    SecretRef,
    StopSpec,
    TimeoutSpec,
    TtySpec,
)

__all__ = [
    "LOCAL",
    "MIN_LOG",
    "ChainLink",
    "EventGap",
    "ExecutorSpec",
    "Exit",
    "Explanation",
    "Job",
    "JobEvent",
    "JobSpec",
    "JobSummary",
    "LimitSpec",
    "LogEnd",
    "LogGap",
    "LogInfo",
    "LogSpec",
    "Principal",
    "Queued",
    "Reason",
    "Receipt",
    "SandboxSpec",
    "SecretRef",
    "State",
    "Stats",
    "Step",
    "StopSpec",
    "TimeoutSpec",
    "TtySpec",
    "Usage",
    "Waiting",
    "Writer",
    "to_builtins",
]


def to_builtins(value: Any) -> Any:
    """Return a value as JSON has it: dicts, lists, strings, numbers."""
    return msgspec.to_builtins(value)
