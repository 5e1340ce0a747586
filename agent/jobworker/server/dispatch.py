"""From a message to its answer: jsonrpcserver behind one fence.

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
from typing import Any, NamedTuple

import msgspec
from jsonrpcserver import Error, Result, Success
from jsonrpcserver.async_main import dispatch_to_serializable

from jobworker import errors
from jobworker.auth import audit_policy
from jobworker.auth.access import Permissions, Requires
from jobworker.model import Job
from jobworker.server.jsonrpc import Message, check, encode, error_response, valid_id
from jobworker.server.session import After, Session
from jobworker.validation import explain

log = logging.getLogger(__name__)


class Call:
    """One request under way. What is in `after` is called when the answer to its frame has been sent."""

    def __init__(self, session: Session, method: str, after: After) -> None:
        self.session = session
        self.method = method
        self.after = after

    @property
    def permissions(self) -> Permissions:
        return self.session.permissions()

    async def seen(self, job: str) -> Job:
        """Return a job that the caller may see by this method; raise JobNotFound, as for one that is not there."""
        return await self.session.services.jobs.seen(job, self.permissions.scopes(self.method))

    async def controlled(self, job: str) -> Job:
        """Return a job that the caller controls; raise JobNotFound or PermissionDenied."""
        found = await self.seen(job)
        self.permissions.require_control(self.method, found)
        return found


class Frame(NamedTuple):
    """One message under way, with one request or several; `after` is done when its answer has been sent."""

    session: Session
    after: After


Handler = Callable[[Call, Any], Awaitable[Any]]
METHODS: dict[str, Callable[..., Awaitable[Result]]] = {}
_SIGNATURE = inspect.Signature(
    [
        inspect.Parameter("frame", inspect.Parameter.POSITIONAL_ONLY),
        inspect.Parameter("params", inspect.Parameter.VAR_KEYWORD),
    ]
)


def method(name: str, params: type[msgspec.Struct], requires: Requires) -> Callable[[Handler], Handler]:
    """Register a function as an RPC method: its params decoded into a type, its caller allowed to."""

    def register(handler: Handler) -> Handler:
        async def entry(frame: Frame, /, **raw: Any) -> Result:
            return await _fenced(Call(frame.session, name, frame.after), requires, params, raw, handler)

        entry.__signature__ = _SIGNATURE  # type: ignore[attr-defined]  # else inspected anew at each call
        METHODS[name] = entry
        return handler

    return register


async def _fenced(
    call: Call, requires: Requires, params: type[msgspec.Struct], raw: dict[str, Any], handler: Handler
) -> Result:
    """Run a method so that every outcome is a result or an error of ours, and what is to be audited is."""
    try:
        if requires is not Requires.ANONYMOUS:
            call.session.services.sessions.check_request_rate(call.permissions.principal)
            call.permissions.require(call.method, requires)
        if call.method in audit_policy.NEED_ROOM:
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
    _audit(call, raw, result)
    return Success(result)


def _failed(call: Call, raw: dict[str, Any], error: errors.RpcError) -> Result:
    _audit(call, raw, error)
    payload = error.payload()
    return Error(payload["code"], payload["message"], payload.get("data"))


def _audit(call: Call, raw: dict[str, Any], outcome: Any) -> None:
    session = call.session
    audit_policy.note(session.services.audit, session.principal, session.address, call.method, raw, outcome)


def _decoded(params: type[msgspec.Struct], raw: dict[str, Any]) -> Any:
    """Raise InvalidParams."""
    try:
        return msgspec.convert(raw, params)
    except msgspec.ValidationError as error:
        field, sentence = explain(str(error), raw)
        raise errors.InvalidParams(sentence, field=field) from error


async def dispatch(session: Session, message: Message) -> tuple[bytes | None, After]:
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


async def _answer(frame: Frame, request: Any) -> Any:
    try:
        check(request)
    except errors.RpcError as error:
        known = isinstance(request, dict) and "id" in request and valid_id(request["id"])
        return error_response(request["id"] if known else None, error)
    try:
        find(frame.session, request)
    except errors.RpcError as error:
        return error_response(request["id"], error) if "id" in request else None
    return await dispatch_to_serializable(
        request, METHODS, context=frame, deserializer=lambda it: it, validator=lambda it: it
    )


def find(session: Session, request: dict[str, Any]) -> None:
    """Raise MethodNotFound or InvalidParams, but tell nobody which methods there are who is not logged in."""
    name = request["method"]
    if name not in METHODS:
        session.permissions()
        raise errors.MethodNotFound(f"there is no method {name[:80]!r}")
    if not isinstance(request.get("params", {}), dict):
        raise errors.InvalidParams("params: expected an object: params are given by name")
