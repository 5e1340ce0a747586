"""Where the frames of a client end, however its bytes are cut."""

import random
import struct

from jobworker.server.frame_ends import FrameEnds

REQUEST = b"GET /rpc HTTP/1.1\r\nHost: a\r\n\r\n"


def frame(size: int) -> bytes:
    if size < 126:
        head = struct.pack("!BB", 0x82, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", 0x82, 0xFE, size)
    else:
        head = struct.pack("!BBQ", 0x82, 0xFF, size)
    return head + b"mask" + bytes(size)


def test_what_is_left_of_each_frame() -> None:
    """Cut anywhere, it is what the sizes of the frames make it, as soon as the head of the frame has come."""
    chance = random.Random(3)
    sizes = [0, 1, 125, 126, 127, 65535, 65536, 300_000, 0, 5, 70_000, 0]
    frames = [frame(size) for size in sizes]
    stream = REQUEST + b"".join(frames)
    ends: list[int] = []
    for each in frames:
        ends.append((ends[-1] if ends else len(REQUEST)) + len(each))
    for longest in (1, 3, 20, 16384, 1 << 18):
        found, at = FrameEnds(), 0
        while at < len(stream):
            ahead = stream[at : at + chance.randrange(14, 500)]
            left = found.left(ahead)
            if at < len(REQUEST):
                assert left == 0
            elif len(ahead) >= 14:
                assert left == min(end for end in ends if end > at) - at
            piece = stream[at : at + chance.randrange(1, longest + 1)]
            found.pass_by(piece)
            at += len(piece)
        assert found.left(frames[5]) == len(frames[5])
