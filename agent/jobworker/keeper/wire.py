"""Messages and their version: between agent, keeper and pump, and in the journal."""

import json
from json import encoder
from typing import Any

VERSION = 1  # of messages and journal, described in ``docs/reference/``
MESSAGE = 262144  # bytes; a larger message comes as a file in memory
_encoder = json.JSONEncoder(separators=(",", ":"))
_decoder = json.JSONDecoder()
# JSONEncoder.encode makes this at each call, which takes longer than to encode a message with it.
_make = getattr(encoder, "c_make_encoder", None)
_chunks = _make and _make(None, _encoder.default, encoder.encode_basestring_ascii, None, ":", ",", False, False, True)


def encode(message: dict[str, Any]) -> str:
    """Return the JSON of a message or record, without spaces."""
    return "".join(_chunks(message, 0)) if _chunks else _encoder.encode(message)


def decode(data: bytes) -> Any:
    """Return a message, decoded from JSON; raise ValueError."""
    text = data.decode(errors="surrogatepass")
    found, end = _decoder.raw_decode(text)
    # What follows a message, which may be space, is left to the method that looks for it at each call.
    return found if end == len(text) else _decoder.decode(text)
