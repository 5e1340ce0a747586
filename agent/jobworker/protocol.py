"""Names, limits and encodings of the wire that agent and client share; no socket, clock or file."""

import base64

SUBPROTOCOL = "jobworker.v1"
BINARY_SUBPROTOCOL = "jobworker.v1.binary"  # log data in binary frames: a line of JSON, then the raw bytes
BEARER_SUBPROTOCOL = "base64url.bearer.jobworker."  # a prefix: the token follows, in base64url
LOGIN_SUBPROTOCOL = "jobworker.login"  # offered by a client whose first message is auth.login
PATH = "/rpc"
MAX_MESSAGE = 4 << 20  # bytes: the 2 MiB of arguments and environment that execve takes, each byte escaped
MAX_BATCH = 50  # requests
MAX_DEPTH = 32  # levels of lists and objects
MAX_CONTAINERS = 10_000  # lists and objects in one message
MAX_MEMBERS = 1 << 18  # members of lists; one of an object counts four times. execve takes no more arguments
MAX_ID = 1 << 53  # a larger number loses digits in a double, as in JavaScript
STREAMS = ("stdout", "stderr")
HIDDEN = "***"  # in place of a value that is not shown; no secret is shorter


def encode_bearer(token: str) -> str:
    """Return the subprotocol that carries a token, for clients that cannot set headers."""
    return BEARER_SUBPROTOCOL + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


def decode_bearer(subprotocol: str) -> str:
    """Return the token in a subprotocol; raise ValueError."""
    text = subprotocol.removeprefix(BEARER_SUBPROTOCOL)
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()


def split_text(data: bytes) -> tuple[str | None, int]:
    """Return the text at the start of the bytes, and its length in bytes; None if they are not UTF-8.

    An incomplete character at the end is left out, so the text may be empty.
    """
    try:
        return data.decode(), len(data)
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":
            return data[: error.start].decode(), error.start
        return None, len(data)


def encode_data(data: bytes, text: str | None) -> tuple[str, str]:
    """Return the members `data` and `encoding` of a `log.data`; `text` is the decoded data, None if it has none."""
    if text is not None:
        return text, "utf8"
    return base64.b64encode(data).decode(), "base64"


def decode_data(data: str, encoding: str) -> bytes:
    """Return the bytes of a `log.data`."""
    return data.encode() if encoding == "utf8" else base64.b64decode(data)


def split_binary(frame: bytes) -> tuple[bytes, bytes]:
    """Return the header, one line of JSON, and the raw bytes of a binary frame."""
    header, _, data = frame.partition(b"\n")
    return header, data
