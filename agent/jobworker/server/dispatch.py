"""Answer messages: find the method of each request, decode its params, check permissions, run it, audit it.

jsonrpcserver looks up, binds and calls the methods. Some of its defaults are kept from it: its schema
validator (seconds for a large invalid batch), exception texts in answers, ids of every type, and SystemExit
in a method. The deserialiser and the validator passed to it return their argument.
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
from jobworker.validation import describe_error

log = logging.getLogger(__name__)


class Call:
    """One request that is being answered. Steps in `after` run once the answer to its message has been sent."""

    def __init__(self, session: Session, method: str, after: After) -> None:
        self.session = session
        self.method = method
        self.after = after

    @property
    def permissions(self) -> Permissions:
        """The caller's permissions; raise Unauthenticated if it has not logged in."""
        return self.session.permissions()

    async def seen(self, job: str) -> Job:
        """Return a job that the caller may see; raise JobNotFound for any other, whether it exists or not."""
        return await self.session.services.jobs.seen(job, self.permissions.scopes(self.method))

    async def controlled(self, job: str) -> Job:
        """Return a job that the caller controls; raise JobNotFound or PermissionDenied."""
        visible = await self.seen(job)
        self.permissions.require_control(self.method, visible)
        return visible


class Frame(NamedTuple):
    """One message that is being answered, with one request or several, which share `after`."""

    session: Session
    after: After


Method = Callable[[Call, Any], Awaitable[Any]]
METHODS: dict[str, Callable[..., Awaitable[Result]]] = {}
PARAMS: dict[str, type[msgspec.Struct]] = {}  # by method; the reference is generated from them
_SIGNATURE = inspect.Signature(
    [
        inspect.Parameter("frame", inspect.Parameter.POSITIONAL_ONLY),
        inspect.Parameter("params", inspect.Parameter.VAR_KEYWORD),
    ]
)


def method(name: str, params: type[msgspec.Struct], requires: Requires) -> Callable[[Method], Method]:
    """Register a function as an RPC method; it gets params of this type, from callers that may call it."""

    def register(function: Method) -> Method:
        async def entry(frame: Frame, /, **raw: Any) -> Result:
            return await _guarded(Call(frame.session, name, frame.after), requires, params, raw, function)

        # Without this jsonrpcserver would inspect the function again at each call.
        entry.__signature__ = _SIGNATURE  # type: ignore[attr-defined]
        METHODS[name] = entry
        PARAMS[name] = params
        return function

    return register


async def _guarded(
    call: Call, requires: Requires, params: type[msgspec.Struct], raw: dict[str, Any], function: Method
) -> Result:
    """Run a method and audit it; every outcome is a result or one of our errors."""
    services = call.session.services
    try:
        if requires is not Requires.ANONYMOUS:
            services.sessions.check_request_rate(call.permissions.principal)
            call.permissions.require(call.method, requires)
        if call.method in audit_policy.NEED_ROOM:
            services.audit.require_room()
        result = await function(call, _decoded(params, raw))
    except errors.RpcError as error:
        return _failed(call, raw, error)
    except asyncio.CancelledError:
        raise
    except BaseException as failure:  # SystemExit too: a method must not end the agent
        if isinstance(failure, OSError) and failure.errno in (errno.EMFILE, errno.ENFILE):
            return _failed(call, raw, errors.RateLimited("the agent has too many files open", retry_after=1))
        ref = secrets.token_hex(4)
        log.exception("%s failed, ref %s", call.method, ref)
        internal = errors.InternalError("an error inside the agent; its log has the details", ref=ref)
        return _failed(call, raw, internal)
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
    """Return params as an instance of their type; raise InvalidParams."""
    try:
        return msgspec.convert(raw, params)
    except msgspec.ValidationError as error:
        field, sentence = describe_error(str(error), raw)
        raise errors.InvalidParams(sentence, field=field) from error


async def dispatch(session: Session, message: Message) -> tuple[bytes | None, After]:
    """Return the answer to a message (None: it needs none), and the steps to take once it is sent."""
    frame = Frame(session, [])
    if len(message.requests) == 1:  # without the cost of a task
        answers = [await _answer(frame, message.requests[0])]
    else:
        requests = (_answer(frame, request) for request in message.requests)
        answers = await asyncio.gather(*requests, return_exceptions=True)
        for answer in answers:  # only when all have ended: none may run on after the session has cleaned up
            if isinstance(answer, BaseException):
                raise answer
    answers = [answer for answer in answers if answer is not None]
    if not answers:
        return None, frame.after
    return encode(answers if message.batch else answers[0]), frame.after


async def _answer(frame: Frame, request: Any) -> Any:
    """Return the response to one request, None for a notification."""
    try:
        check(request)
    except errors.RpcError as error:
        answerable = isinstance(request, dict) and "id" in request and valid_id(request["id"])
        return error_response(request["id"] if answerable else None, error)
    try:
        find(frame.session, request)
    except errors.RpcError as error:
        return error_response(request["id"], error) if "id" in request else None
    return await dispatch_to_serializable(
        request, METHODS, context=frame, deserializer=lambda it: it, validator=lambda it: it
    )


def find(session: Session, request: dict[str, Any]) -> None:
    """Raise MethodNotFound or InvalidParams; before login Unauthenticated, which does not reveal what exists."""
    name = request["method"]
    if name not in METHODS:
        session.permissions()
        raise errors.MethodNotFound(f"there is no method {name[:80]!r}")
    if not isinstance(request.get("params", {}), dict):
        raise errors.InvalidParams("params: expected an object: params are given by name")
