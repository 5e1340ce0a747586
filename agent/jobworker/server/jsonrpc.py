"""JSON-RPC 2.0 without I/O: decode and check strict JSON messages, encode responses."""

from typing import Any, NamedTuple

import msgspec

from jobworker import errors
from jobworker.checks import too_deep
from jobworker.protocol import MAX_BATCH, MAX_CONTAINERS, MAX_DEPTH, MAX_ID


class Message(NamedTuple):
    """What a frame says: requests, of one that is no batch a single one."""

    requests: list[Any]
    batch: bool


def read(text: str) -> Message:
    """Return what a frame says; raise ParseError or InvalidRequest."""
    message = parse(text)
    if not isinstance(message, list):
        return Message([message], batch=False)
    if not message:
        raise errors.InvalidRequest("the batch is empty; expected at least one request")
    if len(message) > MAX_BATCH:
        raise errors.InvalidRequest(f"the batch holds {len(message)} requests; expected at most {MAX_BATCH}")
    return Message(message, batch=True)


def refused(error: errors.RpcError) -> bytes:
    """Return the answer to a message that holds no request."""
    return encode(error_response(None, error))


def not_logged_in() -> bytes:
    """Return the answer to a message that is not even looked at."""
    return refused(errors.Unauthenticated("not logged in", hint="call auth.login first, by itself"))


def parse(text: str) -> Any:
    """Return what strict JSON says; raise ParseError or InvalidRequest.

    A message of a megabyte holds up the loop for some milliseconds and no more: lists and objects are
    counted before any is made, and nobody looks into what is neither.
    """
    containers = _containers(text)
    if containers > MAX_CONTAINERS:
        raise errors.ParseError(f"it holds {containers} lists and objects; at most {MAX_CONTAINERS} are read")
    try:
        message = msgspec.json.decode(text)
        nested = containers > MAX_DEPTH and too_deep(message)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise errors.ParseError(f"not JSON: {error}") from error
    except RecursionError:  # of the decoder, at a depth that depends on the version of Python
        nested = True
    if nested:
        raise errors.InvalidRequest(f"nested deeper than {MAX_DEPTH} levels")
    return message


def _containers(text: str) -> int:
    """Return how many lists and objects a text can hold at most."""
    found = text.count("[") + text.count("{")
    if found <= MAX_CONTAINERS:
        return found
    bare = "".join(text.replace("\\\\", "").replace('\\"', "").split('"')[::2])  # without what is in strings
    return bare.count("[") + bare.count("{")


def check(request: Any) -> None:
    """Raise InvalidRequest for what is no request."""
    if not isinstance(request, dict):
        raise errors.InvalidRequest(f"a request is {type(request).__name__}; expected an object")
    if request.get("jsonrpc") != "2.0":
        raise errors.InvalidRequest('jsonrpc: expected "2.0"')
    if "id" in request and not valid_id(request["id"]):
        raise errors.InvalidRequest("id: expected a string or an integer within ±2^53")
    if not isinstance(request.get("method"), str):
        raise errors.InvalidRequest("method: expected a string")


def valid_id(value: Any) -> bool:
    if isinstance(value, str):
        return True
    return isinstance(value, int) and not isinstance(value, bool) and -MAX_ID <= value <= MAX_ID


def encode(value: Any) -> bytes:
    return msgspec.json.encode(value)


def error_response(id_: Any, error: errors.RpcError) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "error": error.payload(), "id": id_}
