"""The words of the wire that agent and client share; values in, values out, no socket, clock or file."""

import base64

SUBPROTOCOL = "jobworker.v1"
BINARY_SUBPROTOCOL = "jobworker.v1.binary"  # log data in binary frames: a line of JSON, then the raw bytes
BEARER_SUBPROTOCOL = "base64url.bearer.jobworker."
PATH = "/rpc"
MAX_MESSAGE = 1 << 20
MAX_BATCH = 50
MAX_DEPTH = 32
MAX_CONTAINERS = 10_000  # lists and objects in one message
MAX_ID = 1 << 53
STREAMS = ("stdout", "stderr")


def encode_bearer(token: str) -> str:
    """Return the subprotocol that carries a token, for clients that cannot set headers."""
    return BEARER_SUBPROTOCOL + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


def decode_bearer(subprotocol: str) -> str:
    """Return the token; raise ValueError."""
    text = subprotocol.removeprefix(BEARER_SUBPROTOCOL)
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()


def split_text(data: bytes) -> tuple[str | None, int]:
    """Return the text that the bytes begin with and its length in bytes.

    All of it where they are UTF-8; all but half a character at their end, which may be 0 bytes; None
    where they are not text.
    """
    try:
        return data.decode(), len(data)
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":
            return data[: error.start].decode(), error.start
        return None, len(data)


def encode_data(data: bytes, text: str | None) -> tuple[str, str]:
    """Return `data` and `encoding` of a `log.data`."""
    if text is not None:
        return text, "utf8"
    return base64.b64encode(data).decode(), "base64"


def decode_data(data: str, encoding: str) -> bytes:
    return data.encode() if encoding == "utf8" else base64.b64decode(data)


def split_binary(frame: bytes) -> tuple[bytes, bytes]:
    """Return the header, one line of JSON, and the raw bytes of a binary frame."""
    header, _, data = frame.partition(b"\n")
    return header, data
