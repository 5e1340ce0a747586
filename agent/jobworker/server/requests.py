"""HTTP requests of a connection, one at a time: several for files of the page, or the one that opens a WebSocket."""

from websockets.http11 import Response
from websockets.server import ServerProtocol

REQUEST_END = b"\r\n\r\n"
MAX_HELD_BYTES = 65536  # received after a request that is not answered, beyond which nothing more is read
KEEP = "keep-alive"  # of `Connection`, in a response after which the next request may come


class KeptProtocol(ServerProtocol):
    """The protocol of websockets, which answers further requests after a response that has `KEEP`.

    This relies on what websockets 17.4 does not document: `parser` is what `receive_data` continues, `parse` begins
    with a request, and `send_response` ends the connection after any response but 101.
    """

    # Whether the last response was one after which the next request may come.
    kept = False

    def send_response(self, response: Response) -> None:
        if response.headers.get("Connection") == KEEP:
            self.kept = True
            self.writes.append(response.serialize())
            self.parser = self.parse()
            next(self.parser)
        else:
            super().send_response(response)


class Requests:
    """Holds what has come after a request until that is answered: websockets would take it for frames at once."""

    __slots__ = ("_held", "_last", "_requested", "paused")

    def __init__(self) -> None:
        # The last bytes of a request that is not complete.
        self._last = b""
        # Whether a request is complete and not answered.
        self._requested = False
        self._held = b""
        # Whether reading was paused, as too much is held.
        self.paused = False

    def take(self, data: bytes) -> bytes:
        """Return the part of the data that is of the request; the rest is held."""
        if self._requested:
            self._held += data
            return b""
        so_far = self._last + data
        end = so_far.find(REQUEST_END)
        if end < 0:
            self._last = so_far[1 - len(REQUEST_END) :]
            return data
        size = end + len(REQUEST_END) - len(self._last)
        self._requested, self._held = True, data[size:]
        return data[:size]

    @property
    def full(self) -> bool:
        return len(self._held) > MAX_HELD_BYTES

    def answered(self) -> bytes:
        """Return what was held, as the request was answered."""
        held, self._held, self._last, self._requested = self._held, b"", b"", False
        return held
