"""Building takes longer than a test may on a busy host: minutes, not the seconds of `faulthandler_timeout`."""

import faulthandler
import sys

import pytest

SECONDS = 900


def _allow() -> None:
    faulthandler.dump_traceback_later(SECONDS, exit=True, file=sys.__stderr__ or sys.stderr)


@pytest.fixture(autouse=True, scope="module")
def time_to_build() -> None:
    """Before the fixtures of a module."""
    _allow()


@pytest.fixture(autouse=True)
def time_for_each() -> None:
    _allow()
