"""Find where the frames of a client end in what it sends; no socket, and nothing of the frames but their heads."""

REQUEST_END = b"\r\n\r\n"
MASK_BYTES = 4
LARGEST_HEAD = 14


class FrameEnds:
    """Follows the bytes of a connection, from the request that opens it."""

    __slots__ = ("_head", "_left", "_request")

    def __init__(self) -> None:
        # The last bytes of the HTTP request, before the first frame; None once that has ended.
        self._request: bytes | None = b""
        # Bytes of the frame that has begun which are still to come, after its head.
        self._left = 0
        # The first bytes of a head that is not complete.
        self._head = b""

    def left(self, data: bytes) -> int:
        """Return how many bytes from here on are of one frame; 0 if the next bytes, `data`, lack some of its head."""
        if self._left or self._request is not None:
            return self._left
        size = frame_size(self._head + data[:LARGEST_HEAD])
        return size - len(self._head) if size else 0

    def pass_by(self, data: bytes) -> None:
        """Note that these bytes have come."""
        if self._request is not None:
            so_far = self._request + data
            end = so_far.find(REQUEST_END)
            if end < 0:
                self._request = so_far[1 - len(REQUEST_END) :]
                return
            self._request, data = None, so_far[end + len(REQUEST_END) :]
        at, length = 0, len(data)
        if self._left:
            at = self._left
        elif self._head:
            kept = len(self._head)
            head = self._head + data[: LARGEST_HEAD - kept]
            size = frame_size(head)
            if not size:
                self._head = head
                return
            at, self._head = size - kept, b""
        while at < length:
            size = frame_size(data[at : at + LARGEST_HEAD])
            if not size:
                self._head, self._left = data[at:], 0
                return
            at += size
        self._left = at - length


def frame_size(head: bytes) -> int:
    """Return the bytes of a frame with its head, which may be longer than what is given; 0 if too little is given."""
    if len(head) < 2:
        return 0
    masked, size = head[1] & 0x80, head[1] & 0x7F
    start = 2
    if size >= 126:
        start = 4 if size == 126 else 10
        if len(head) < start:
            return 0
        size = int.from_bytes(head[2:start], "big")
    return start + size + (MASK_BYTES if masked else 0)
