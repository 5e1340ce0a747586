"""The input of a job as a client sends it: in pieces, each with its offset, so that none is written twice."""

from collections.abc import Iterator

from jobworker.errors import ConnectionFailed, DiskFull, InputGap, JobworkerError, RateLimited

PIECE_BYTES = 1 << 20  # of one stdin.write: also in base64 it fits into a message
WINDOW = 4  # pieces that are sent before the first is answered
RETRY_SECONDS = 0.2  # before a piece is sent again that the agent could not take
# What a piece is sent again after: the agent may not have it, and by its offset it is written once.
RETRIED = (ConnectionFailed, InputGap, RateLimited, DiskFull)


class Piece:
    """Bytes, and the position of the first of them in the whole input."""

    __slots__ = ("data", "offset")

    def __init__(self, data: bytes, offset: int) -> None:
        self.data = data
        self.offset = offset


def pieces_of(data: bytes | memoryview, offset: int) -> Iterator[Piece]:
    """Yield data that begins at an offset in pieces that fit into a message."""
    view = memoryview(data)
    for start in range(0, len(view), PIECE_BYTES):
        yield Piece(bytes(view[start : start + PIECE_BYTES]), offset + start)


def require_alone(job: str, answer: dict[str, int], end: int) -> None:
    """Raise JobworkerError if the input has more than was sent: bytes of another client may stand for ours."""
    if answer["offset"] > end:
        raise JobworkerError(
            f"job {job}: its input has {answer['offset']} bytes, of which {end} were sent here: "
            "another client writes to it; expected one at a time"
        )


def must_give_up(error: JobworkerError, piece: Piece) -> bool:
    """Whether to send this piece again is of no use: the agent lacks bytes before it, and they were accepted."""
    return isinstance(error, InputGap) and error.data.get("offset", 0) < piece.offset
