"""Timeout policies are pure functions of numbers: tested with numbers."""

from typing import Any

import pytest

from jobworker.interfaces import RunFacts, TimeoutPolicy
from jobworker_plugins.cpu import Cpu
from jobworker_plugins.deadline import Deadline
from jobworker_plugins.idle import Idle
from jobworker_plugins.total import Total
from jobworker_plugins.waiting import Waiting

MIDNIGHT = 1_900_000_000.0  # 2030-03-17T17:46:40Z


def facts(**what: Any) -> RunFacts:
    given: dict[str, Any] = {"now": 100.0, "started": 90.0, "wall": MIDNIGHT} | what
    return RunFacts(**given)


def name(value: Any) -> str:
    """Name a parameter without the address of its object, which differs from one process to the next."""
    return type(value).__name__ if type(value).__module__.startswith("jobworker_plugins") else str(value)


@pytest.mark.parametrize(
    ("policy", "options", "known", "due"),
    [
        (Total(), {"limit": 15}, {}, 105.0),
        (Total(), {"limit": "5s"}, {}, 95.0),
        (Idle(), {"limit": 15}, {}, 105.0),
        (Idle(), {"limit": 15}, {"last_output": 99.0}, 114.0),
        (Idle(), {"limit": 8}, {"last_output": 91.0, "last_cpu": 100.0}, 99.0),
        (Idle(), {"limit": 8, "cpu": True}, {"last_output": 91.0, "last_cpu": 100.0}, 102.0),
        (Idle(), {"limit": 8, "cpu": True}, {"last_output": 91.0, "last_cpu": 92.0}, 100.0),
        (Idle(), {"limit": 8, "cpu": True}, {"last_output": 99.9, "last_cpu": 90.0}, 102.0),
        (Cpu(), {"limit": 10}, {"cpu_seconds": 2.0, "cpus": 4}, 102.0),
        (Cpu(), {"limit": 10}, {"cpu_seconds": 9.999, "cpus": 4}, 100.05),
        (Cpu(), {"limit": 10}, {"cpu_seconds": 10.0}, 100.0),
        (Waiting(), {"limit": 8}, {"waiting_since": 95.0}, 103.0),
        (Waiting(), {"limit": "1s", "answer": "y"}, {"waiting_since": 95.0, "prompt": "Sure? "}, 96.0),
        (Deadline(), {"at": "2030-03-17T17:46:50Z"}, {}, 110.0),
        (Deadline(), {"at": "2030-03-17T18:46:30+01:00"}, {}, 90.0),
        (Deadline(), {"at": "2030-03-17T17:46:50Z"}, {"wall": MIDNIGHT + 3600}, -3490.0),
    ],
    ids=name,
)
def test_due(policy: TimeoutPolicy, options: dict[str, Any], known: dict[str, Any], due: float) -> None:
    policy.check(options)
    assert policy.due(options, facts(**known)) == pytest.approx(due)


@pytest.mark.parametrize(
    ("policy", "options"),
    [
        (Idle(), {}),
        (Idle(), {"limit": 0}),
        (Idle(), {"limit": 1, "cpu": 1}),
        (Idle(), {"limit": 1, "more": 1}),
        (Cpu(), {}),
        (Cpu(), {"limit": "x"}),
        (Cpu(), {"limit": -1}),
        (Deadline(), {}),
        (Deadline(), {"at": 5}),
        (Deadline(), {"at": "tomorrow"}),
        (Deadline(), {"at": "2030-03-17T17:46:50"}),
        (Deadline(), {"at": "2030-03-17T17:46:50Z", "limit": 1}),
    ],
    ids=name,
)
def test_options_that_cannot_be_used(policy: TimeoutPolicy, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|takes"):
        policy.check(options)
