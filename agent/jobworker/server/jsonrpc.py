"""JSON-RPC 2.0 without I/O: decode and check strict JSON messages, encode responses."""

from collections.abc import Callable
from json import JSONDecoder
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Raw, UnsetType

from jobworker import errors, request_ref
from jobworker.protocol import MAX_BATCH, MAX_CONTAINERS, MAX_DEPTH, MAX_ID, MAX_MEMBERS
from jobworker.validation import too_deep

NO_PARAMS = Raw(b"{}")


class Request(msgspec.Struct, gc=False):
    """A request as it came; its params are the bytes of an object, or of anything else, and are not decoded yet."""

    method: str
    jsonrpc: Literal["2.0"]
    id: int | str | UnsetType = UNSET  # UNSET: a notification, which gets no response
    params: Raw = NO_PARAMS


class Message(NamedTuple):
    """The requests of one message, exactly one unless it is a batch; for an invalid request its response."""

    requests: list[Request | dict[str, Any]]
    batch: bool
    data: bytes | memoryview | None = None  # of a binary frame: what the request carries besides its params


_decode = msgspec.json.Decoder(Request).decode
_decode_members = msgspec.json.Decoder(list[Raw]).decode
encode = msgspec.json.Encoder().encode


def read(text: str) -> Message:
    """Decode a message; raise ParseError or InvalidRequest."""
    signs = _members(text)
    if signs > MAX_MEMBERS:
        raise errors.ParseError(
            f"the message holds {signs} members, those of objects counted four times; expected at most {MAX_MEMBERS}"
        )
    # A small request is decoded once, from its text: so few brackets cannot nest too deep.
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        try:
            request = _decode(text)
        except (msgspec.MsgspecError, UnicodeError):
            pass  # a batch, or invalid: the steps below find out
        else:
            if type(request.id) is not int or -MAX_ID <= request.id <= MAX_ID:
                _require_unique_in(text, request)
                return Message([request], False)
    message = parse(text)
    require_unique(text)
    if not isinstance(message, list):
        return Message([_request(text, message)], batch=False)
    if not message:
        raise errors.InvalidRequest("the batch is empty; expected at least one request")
    if len(message) > MAX_BATCH:
        raise errors.InvalidRequest(f"the batch holds {len(message)} requests; expected at most {MAX_BATCH}")
    members = zip(_decode_members(text), message, strict=True)
    return Message([_request(raw, member) for raw, member in members], batch=True)


def read_binary(frame: bytes) -> Message:
    """Decode a binary frame, a line with a request and its data; raise ParseError or InvalidRequest."""
    end = frame.find(b"\n")
    line = frame if end < 0 else frame[:end]
    data = memoryview(frame)[len(line) + 1 :]  # not a copy: it may be megabytes
    try:
        message = read(line.decode())
    except UnicodeDecodeError as error:
        raise errors.ParseError(f"not UTF-8: {error.reason}") from error
    request = message.requests[0]
    if message.batch or (isinstance(request, Request) and request.method != "stdin.write"):
        raise errors.InvalidRequest("a binary frame: expected a single request for stdin.write in its first line")
    return Message(message.requests, batch=False, data=data)


def _request(raw: str | Raw, decoded: Any) -> Request | dict[str, Any]:
    """Return a request, or the response to an invalid one."""
    try:
        check(decoded)
    except errors.RpcError as error:
        answerable = isinstance(decoded, dict) and "id" in decoded and valid_id(decoded["id"])
        return error_response(decoded["id"] if answerable else None, error)
    return _decode(raw)


def parse(text: str) -> Any:
    """Decode strict JSON; raise ParseError or InvalidRequest.

    Decoding a message must not hold up the event loop for more than some milliseconds. Making lists and objects is
    what costs time, so they are counted before the decoder makes any.
    """
    containers = _containers(text)
    if containers > MAX_CONTAINERS:
        raise errors.ParseError(
            f"the message holds {containers} lists and objects; expected at most {MAX_CONTAINERS}"
        )
    try:
        message = msgspec.json.decode(text)
        nested = containers > MAX_DEPTH and too_deep(message)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise errors.ParseError(f"not JSON: {error}") from error
    except RecursionError:  # the decoder has a bound of its own, another one in each version of Python
        nested = True
    if nested:
        raise errors.InvalidRequest(f"the message is nested too deep; expected at most {MAX_DEPTH} levels")
    return message


class RepeatedKey(ValueError):
    """An object that has a key twice; decoders differ in which of the values they take."""


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        keys = [key for key, _ in pairs]
        raise RepeatedKey(next(key for key in keys if keys.count(key) > 1))


_scan: Callable[[str, int], Any] = JSONDecoder(object_pairs_hook=_unique).scan_once  # type: ignore[attr-defined]


def require_unique(text: str) -> None:
    """Raise ParseError if an object in a valid text has a key twice."""
    try:
        _scan(text.lstrip(), 0)
    except RepeatedKey as error:
        raise errors.ParseError(f"the key {error.args[0][:80]!r} is twice in an object; expected once") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, or levels: what decodes it decides
        pass


def _require_unique_in(text: str, request: Request) -> None:
    """Raise ParseError if an object in a request has a key twice. Most requests are cleared by counts of colons."""
    params = bytes(request.params)
    own = 2 + (request.id is not UNSET) + (request.params is not NO_PARAMS)
    inside = params.count(b":") + request.method.count(":")
    if type(request.id) is str:
        inside += request.id.count(":")
    if text.count(":") - inside != own:
        require_unique(text)
    elif params.count(b":") > 1:
        require_unique(params.decode())


def _containers(text: str) -> int:
    """Return an upper bound on the number of lists and objects in a text."""
    brackets = text.count("[") + text.count("{")
    if brackets <= MAX_CONTAINERS:
        return brackets
    bare = _without_strings(text)
    return bare.count("[") + bare.count("{")


def _members(text: str) -> int:
    """Return an upper bound on the members of all lists and objects; one of an object counts four times."""
    if len(text) <= MAX_MEMBERS:  # almost always
        return 0
    signs = text.count(",") + 3 * text.count(":")
    if signs <= MAX_MEMBERS:
        return signs
    # Almost each string follows one of these signs; to split at so many quotes takes long.
    if (text.count('"') - text.count('\\"')) // 2 > MAX_MEMBERS + MAX_CONTAINERS:
        return signs
    bare = _without_strings(text)
    return bare.count(",") + 3 * bare.count(":")


def _without_strings(text: str) -> str:
    """Return a text of JSON without the contents of its strings."""
    return "".join(text.replace("\\\\", "").replace('\\"', "").split('"')[::2])


def check(request: Any) -> None:
    """Raise InvalidRequest unless this is a JSON-RPC request; its method and params are not looked up."""
    if not isinstance(request, dict):
        raise errors.InvalidRequest(f"a request is {type(request).__name__}; expected an object")
    if request.get("jsonrpc") != "2.0":
        raise errors.InvalidRequest('jsonrpc: expected "2.0"')
    if "id" in request and not valid_id(request["id"]):
        raise errors.InvalidRequest("id: expected a string or an integer within ±2^53")
    if not isinstance(request.get("method"), str):
        raise errors.InvalidRequest("method: expected a string")


def valid_id(value: Any) -> bool:
    """Whether a response can carry this id unchanged: a string, or an integer that JavaScript holds exactly."""
    if isinstance(value, str):
        return True
    return isinstance(value, int) and not isinstance(value, bool) and -MAX_ID <= value <= MAX_ID


def error_response(id_: Any, error: errors.RpcError) -> dict[str, Any]:
    """Return the response to a request that failed."""
    return {"jsonrpc": "2.0", "error": error.payload(request_ref.current()), "id": id_}


def refused(error: errors.RpcError) -> bytes:
    """Encode the response to a message that holds no valid request: its id is null."""
    return encode(error_response(None, error))


def refuse_all(message: Message, error: errors.RpcError) -> bytes | None:
    """Encode the answer to a message of which no call is made; None if it expects none."""
    responses = [
        error_response(request.id, error) if isinstance(request, Request) else request
        for request in message.requests
        if not isinstance(request, Request) or request.id is not UNSET
    ]
    if not responses:
        return None
    return encode(responses if message.batch else responses[0])


def not_logged_in() -> bytes:
    """Encode the response to a message that is refused unread, as its sender has not logged in."""
    return refused(errors.Unauthenticated("not logged in", hint="call auth.login first, by itself"))
