"""What is held after a request, until it is answered."""

import pytest

from jobworker.server.requests import MAX_HELD_BYTES, Requests

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("size", range(1, len(REQUEST) + 6))
def test_a_request_in_pieces(size: int) -> None:
    """Wherever it is cut: the request is taken, what comes after it is held."""
    requests, data, taken = Requests(), REQUEST + b"after" + REQUEST, b""
    for at in range(0, len(data), size):
        taken += requests.take(data[at : at + size])
    assert taken == REQUEST
    rest = requests.answered()
    assert rest == b"after" + REQUEST
    assert requests.take(rest) == rest
    assert requests.answered() == b""


def test_it_holds_a_bounded_number_of_bytes() -> None:
    requests = Requests()
    requests.take(REQUEST)
    assert not requests.full
    requests.take(b"x" * (MAX_HELD_BYTES + 1))
    assert requests.full
