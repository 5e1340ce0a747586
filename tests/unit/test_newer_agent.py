"""What a client makes of the answers of an agent that is newer than it."""

from typing import Any

import pytest

from jobworker import model
from jobworker.client import wire
from jobworker.errors import BadAnswer

KNOWN: dict[str, Any] = {"argv": ["x"], "limits": {"pids": 1}, "timeout_policies": [{"policy": "a"}, {"policy": "b"}]}


def test_fields_that_are_not_known_are_left_out() -> None:
    new: dict[str, Any] = {
        "argv": ["x"],
        "limits": {"pids": 1, "gpus": 1},
        "timeout_policies": [{"policy": "a"}, {"policy": "b", "new": 1}],
        "new": {"a": "b"},
    }
    right = wire.typed(model.JobSpec, "job.status", KNOWN)
    assert wire.typed(model.JobSpec, "job.status", new) == right
    specs = wire.typed(list[model.JobSpec], "job.list", [KNOWN | {"new": number} for number in range(3)])
    assert specs == [right] * 3


@pytest.mark.parametrize("value", [{"argv": 5}, {"argv": ["x"], "limits": {"pids": "many"}}, [], None])
def test_what_is_of_another_type_is_refused(value: Any) -> None:
    with pytest.raises(BadAnswer):
        wire.typed(model.JobSpec, "job.status", value)
