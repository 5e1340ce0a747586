"""Repeat calls that may be made twice, over as many connections as that takes."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from jobworker.errors import ConnectionFailed

if TYPE_CHECKING:
    from jobworker.client.blocking import Client

T = TypeVar("T")


def retry(client: "Client", work: Callable[[], T]) -> T:
    """Return the result of work that may be done twice; connect again as long as the client has patience."""
    while True:
        try:
            return work()
        except ConnectionFailed:
            client.reconnect()
