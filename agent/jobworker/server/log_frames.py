"""Encode the frames of a log subscription: values in, bytes out.

Text frames are JSON. Binary frames, of the subprotocol `jobworker.v1.binary`, are a line of JSON and the bytes.
"""

from typing import Any

import msgspec

from jobworker.logs.reader import Chunk
from jobworker.protocol import STREAMS, encode_data
from jobworker.units import rfc3339

encode = msgspec.json.Encoder().encode


def notification(method: str, params: Any) -> bytes:
    """Return a JSON-RPC 2.0 request without an id."""
    return encode({"jsonrpc": "2.0", "method": method, "params": params})


def frame_prefix(subscription: str, *, binary: bool) -> bytes:
    """Return the first bytes of each `log.data` of a subscription; what follows is the same for all subscriptions."""
    start = b"{" if binary else b'{"jsonrpc":"2.0","method":"log.data","params":{'
    return start + b'"subscription":"%s",' % subscription.encode()


def text_rest(job: str, chunk: Chunk, text: str | None) -> tuple[bytes, ...]:
    """Return a `log.data` in parts, after its prefix; `text` is None for bytes that are sent as base64."""
    data, encoding = encode_data(chunk.data, text)
    return (
        encode(chunk_fields(job, chunk))[1:-1] + b',"data":',
        encode(data),
        b',"encoding":"%s"}}' % encoding.encode(),
    )


def binary_rest(job: str, chunk: Chunk) -> tuple[bytes, ...]:
    """Return the header line after its prefix, and the bytes themselves."""
    return encode(chunk_fields(job, chunk))[1:] + b"\n", chunk.data


def chunk_fields(job: str, chunk: Chunk) -> dict[str, Any]:
    """Return the fields of a chunk that are the same in every encoding."""
    return {"job": job, "offset": chunk.offset, "stream": STREAMS[chunk.stream], "time": rfc3339(chunk.time)}
