"""Times on the wire and as numbers."""

from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from jobworker.units import nanoseconds, rfc3339


@given(st.integers(0, 4_000_000_000 * 10**9))
def test_a_time_on_the_wire_is_read_as_it_was_written(ns: int) -> None:
    """To the microsecond, never later: a log asked for since the time of a line has that line."""
    assert nanoseconds(datetime.fromisoformat(rfc3339(ns))) == ns // 1000 * 1000
