"""Limits of a spec: what is refused, and what the keeper is sent."""

import os
from typing import Any

import pytest
from tests.support.logs import MIB

from jobworker.errors import InvalidSpec
from jobworker.jobs.limits import check_limits, parse_limits
from jobworker.linux import devices
from jobworker.model import LimitSpec


def disk() -> str:
    """Return a device of this host that is no partition."""
    names = os.listdir("/sys/dev/block") if os.path.isdir("/sys/dev/block") else []
    found = next((name for name in names if devices.disk_of(name) == name), "")
    return found or pytest.skip("this host shows no block device")


def test_rates_as_the_keeper_has_them() -> None:
    limits = LimitSpec(io_read="10MiB", io_write={"8:0": "1M", "8:16": 512})
    assert parse_limits(limits) == {"io": {"read": {"": 10 * MIB}, "write": {"8:0": 1000000, "8:16": 512}}}


def test_a_device_that_is_there() -> None:
    limits = LimitSpec(io_read={disk(): "1MiB"}, io_write="1MiB")
    check_limits(limits, parse_limits(limits), ["io"])


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        ({"4095:77": "1MiB"}, "there is no block device 4095:77"),
        ({"sda": "1MiB"}, "expected the number of a block device"),
        ({"": "1MiB"}, "expected the number of a block device"),
        ({}, "0 devices"),
        ({f"1:{n}": 1 for n in range(100)}, "100 devices"),
        (0, "expected 1 byte"),
        ({"8:0": 0}, "expected 1 byte"),
        ("fast", "expected bytes"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_rates_that_make_no_sense(rate: Any, words: str) -> None:
    disk()
    with pytest.raises(InvalidSpec, match=words) as caught:
        check_limits(LimitSpec(io_write=rate), parse_limits(LimitSpec(io_write=rate)), ["io"])
    assert caught.value.data["field"] == "limits.io_write"
