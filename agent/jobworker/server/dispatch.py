"""From a text frame to its answer: strict JSON, JSON-RPC 2.0, jsonrpcserver behind one fence.

jsonrpcserver looks up, binds and answers. What it would do by default is kept from it: its schema
validator (seconds for a large invalid batch), exception texts in answers, ids of every type, and
SystemExit in a method. The deserialiser and the validator given to it have nothing left to do.
"""

import asyncio
import errno
import inspect
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from jsonrpcserver import Error, Result, Success
from jsonrpcserver.async_main import dispatch_to_serializable

from jobworker import errors
from jobworker.auth import audit_policy as audited
from jobworker.auth.access import Access, Need
from jobworker.checks import too_deep
from jobworker.model import Job
from jobworker.protocol import MAX_BATCH, MAX_CONTAINERS, MAX_DEPTH, MAX_ID
from jobworker.validation import explain

if TYPE_CHECKING:
    from jobworker.server.session import Session

log = logging.getLogger(__name__)


After = list[Callable[[], None]]


class Call:
    """One request under way. What is in `after` is called when the answer to its frame has been sent."""

    def __init__(self, session: "Session", method: str, after: After) -> None:
        self.session = session
        self.method = method
        self.after = after

    @property
    def access(self) -> Access:
        return self.session.known()

    async def seen(self, job: str) -> Job:
        """Return a job that the caller may see by this method; raise JobNotFound, as for one that is not there."""
        return await self.session.services.jobs.seen(job, self.access.scopes(self.method))

    async def controlled(self, job: str) -> Job:
        """Return a job that the caller controls; raise JobNotFound or PermissionDenied."""
        found = await self.seen(job)
        self.access.require_control(self.method, found)
        return found


class Frame(NamedTuple):
    """One message under way, with one request or several; `after` is done when its answer has been sent."""

    session: "Session"
    after: After


Handler = Callable[[Call, Any], Awaitable[Any]]
METHODS: dict[str, Callable[..., Awaitable[Result]]] = {}
_SIGNATURE = inspect.Signature(
    [
        inspect.Parameter("frame", inspect.Parameter.POSITIONAL_ONLY),
        inspect.Parameter("params", inspect.Parameter.VAR_KEYWORD),
    ]
)


def method(name: str, params: type[msgspec.Struct], need: Need) -> Callable[[Handler], Handler]:
    """Register a function as an RPC method: its params decoded into a type, its caller allowed to."""

    def register(handler: Handler) -> Handler:
        async def entry(frame: Frame, /, **raw: Any) -> Result:
            return await _fenced(Call(frame.session, name, frame.after), need, params, raw, handler)

        entry.__signature__ = _SIGNATURE  # type: ignore[attr-defined]  # else inspected anew at each call
        METHODS[name] = entry
        return handler

    return register


async def _fenced(
    call: Call, need: Need, params: type[msgspec.Struct], raw: dict[str, Any], handler: Handler
) -> Result:
    """Run a method so that every outcome is a result or an error of ours, and what is to be audited is."""
    try:
        if need is not Need.UNKNOWN:
            call.session.services.door.check_request(call.access.principal)
            call.access.require(call.method, need)
        if call.method in audited.NEED_ROOM:
            call.session.services.audit.require_room()
        result = await handler(call, _decoded(params, raw))
    except errors.RpcError as error:
        return _failed(call, raw, error)
    except asyncio.CancelledError:
        raise
    except BaseException as failure:
        if isinstance(failure, OSError) and failure.errno in (errno.EMFILE, errno.ENFILE):
            return _failed(call, raw, errors.RateLimited("the agent has too many files open", retry_after=1))
        ref = secrets.token_hex(4)
        log.exception("%s failed, ref %s", call.method, ref)
        fault = errors.InternalError("an error inside the agent; its log has the details", ref=ref)
        return _failed(call, raw, fault)
    audited.note(call, raw, result)
    return Success(result)


def _failed(call: Call, raw: dict[str, Any], error: errors.RpcError) -> Result:
    audited.note(call, raw, error)
    payload = error.payload()
    return Error(payload["code"], payload["message"], payload.get("data"))


def _decoded(params: type[msgspec.Struct], raw: dict[str, Any]) -> Any:
    """Raise InvalidParams."""
    try:
        return msgspec.convert(raw, params)
    except msgspec.ValidationError as error:
        field, sentence = explain(str(error), raw)
        raise errors.InvalidParams(sentence, field=field) from error


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


async def dispatch(session: "Session", message: Message) -> tuple[bytes | None, After]:
    """Return the answer to one frame (None: it asked for none) and what to do once it is sent."""
    frame = Frame(session, [])
    if len(message.requests) == 1:  # no task of its own
        answers = [await _answer(frame, message.requests[0])]
    else:
        answers = await asyncio.gather(*(_answer(frame, each) for each in message.requests), return_exceptions=True)
        for answer in answers:  # only now: none of them may go on when the session has cleared up
            if isinstance(answer, BaseException):
                raise answer
    answers = [answer for answer in answers if answer is not None]
    if not answers:
        return None, frame.after
    return encode(answers if message.batch else answers[0]), frame.after


def refused(error: errors.RpcError) -> bytes:
    """Return the answer to a message that holds no request."""
    return encode(_error(None, error))


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


async def _answer(frame: Frame, request: Any) -> Any:
    try:
        check(request)
    except errors.RpcError as error:
        known = isinstance(request, dict) and "id" in request and valid_id(request["id"])
        return _error(request["id"] if known else None, error)
    try:
        find(frame.session, request)
    except errors.RpcError as error:
        return _error(request["id"], error) if "id" in request else None
    return await dispatch_to_serializable(
        request, METHODS, context=frame, deserializer=lambda it: it, validator=lambda it: it
    )


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


def find(session: "Session", request: dict[str, Any]) -> None:
    """Raise MethodNotFound or InvalidParams, but tell nobody which methods there are who is not logged in."""
    name = request["method"]
    if name not in METHODS:
        session.known()
        raise errors.MethodNotFound(f"there is no method {name[:80]!r}")
    if not isinstance(request.get("params", {}), dict):
        raise errors.InvalidParams("params: expected an object: params are given by name")


def valid_id(value: Any) -> bool:
    if isinstance(value, str):
        return True
    return isinstance(value, int) and not isinstance(value, bool) and -MAX_ID <= value <= MAX_ID


def encode(value: Any) -> bytes:
    return msgspec.json.encode(value)


def _error(id_: Any, error: errors.RpcError) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "error": error.payload(), "id": id_}
