"""Answer messages: find the method of each request, check permissions, decode its params, run it, audit it.

jsonrpcserver looks up and calls the methods, see library.py; the requests are checked before, see jsonrpc.py. Kept
from it are exceptions: their texts must not be in answers, and SystemExit in a method must not end the agent.

A method that answers from memory is a plain function: its answer is ready when `dispatch` returns. A method that must
wait is a coroutine function, or a plain one that returns a coroutine: a task completes its answer.
"""

import asyncio
import errno
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from types import CoroutineType
from typing import Any

import msgspec

from jobworker import errors, request_ref
from jobworker.auth import audit_policy
from jobworker.auth.access import Permissions, Requires
from jobworker.auth.disclosure import WITH_SPECS, disclosed
from jobworker.model import Job
from jobworker.server import library
from jobworker.server.jsonrpc import Message, Request, encode, error_response
from jobworker.server.library import Error, Result, Success
from jobworker.server.message_loop import After, Reply
from jobworker.server.session import Session
from jobworker.validation import describe_error

log = logging.getLogger(__name__)


class Call:
    """One request that is being answered. Steps in `after` run once the answer to its message has been sent."""

    __slots__ = ("after", "data", "failed", "method", "session", "waiting")

    def __init__(self, session: Session, method: str, after: After, data: bytes | memoryview | None = None) -> None:
        self.session = session
        # What came with the request in a binary frame.
        self.data = data
        self.method = method
        self.after = after
        # The code of its error; 0: it has none.
        self.failed = 0
        # Completes the call, if the method must wait.
        self.waiting: Coroutine[Any, Any, Result] | None = None

    @property
    def permissions(self) -> Permissions:
        """The caller's permissions; raise Unauthenticated if it has not logged in."""
        return self.session.permissions()

    def seen_in_memory(self, job: str) -> Job | None:
        """Return a job that the caller may see, if that needs no look into the job table; else `seen` decides."""
        return self.session.services.jobs.seen_in_memory(job, self.permissions.scopes(self.method))

    async def seen(self, job: str) -> Job:
        """Return a job that the caller may see; raise JobNotFound for any other, whether it exists or not."""
        found = self.seen_in_memory(job)
        return found if found is not None else await self.session.in_turn(self._look(job))

    async def seen_and_read(self, job: str) -> Job:
        """Return a job as `seen` does, for an answer that has all of it: only while the caller is there and reads."""
        found = self.seen_in_memory(job)
        return found if found is not None else await self.session.read_in_turn(self._look(job))

    def _look(self, job: str) -> Coroutine[Any, Any, Job]:
        return self.session.services.jobs.seen(job, self.permissions.scopes(self.method))

    async def controlled(self, job: str) -> Job:
        """Return a job that the caller controls; raise JobNotFound or PermissionDenied."""
        visible = await self.seen(job)
        self.permissions.require_control(self.method, visible)
        return visible


Method = Callable[[Call, Any], Any]
METHODS: dict[str, Callable[[Call, msgspec.Raw], Result]] = {}
PARAMS: dict[str, type[msgspec.Struct]] = {}  # by method; the reference is generated from them
REQUIRES: dict[str, Requires] = {}  # by method
# The functions by method: their return annotations are the types of the results, see openrpc.py.
FUNCTIONS: dict[str, Method] = {}
OBJECT = ord("{")  # the first byte of params that are given by name
MAX_BATCH_BYTES = 4 << 20  # of the answer to a batch: fifty pages of a list would have fifty times a megabyte
WAITING = Success(None)  # stands for the result of a method that must wait


def method(name: str, params: type[msgspec.Struct], requires: Requires) -> Callable[[Method], Method]:
    """Register a function as an RPC method; it gets params of this type, from callers that may call it."""
    decode = msgspec.json.Decoder(params).decode
    ahead = name in audit_policy.AHEAD

    def register(function: Method) -> Method:
        def entry(call: Call, raw: msgspec.Raw) -> Result:
            try:
                _admit(call, requires)
                decoded = _decoded(decode, raw)
                if ahead:
                    audit_policy.note_ahead(
                        call.session.services.audit, call.session.principal, call.session.address, name, raw
                    )
                result = function(call, decoded)
            except BaseException as failure:
                return _failed(call, raw, failure)
            if type(result) is CoroutineType:
                call.waiting = _completed(call, raw, result)
                return WAITING
            return _succeeded(call, raw, result)

        METHODS[name] = entry
        PARAMS[name] = params
        REQUIRES[name] = requires
        FUNCTIONS[name] = function
        return function

    return register


def _admit(call: Call, requires: Requires) -> None:
    """Raise unless the caller may call the method now."""
    services = call.session.services
    if requires is not Requires.ANONYMOUS:
        permissions = call.session.permissions()
        services.sessions.check_request_rate(permissions.principal)
        permissions.require(call.method, requires)
    if call.method in audit_policy.NEED_ROOM:
        services.audit.require_room()


def _decoded(decode: Callable[[msgspec.Raw], Any], raw: msgspec.Raw) -> Any:
    """Return params as an instance of their type; raise InvalidParams."""
    try:
        return decode(raw)
    except msgspec.MsgspecError as error:
        try:
            value = msgspec.json.decode(raw)
        except msgspec.MsgspecError:  # a number that is too large for any type
            value = {}
        field, sentence = describe_error(str(error), value)
        raise errors.InvalidParams(sentence, field=field) from error


async def _completed(call: Call, raw: msgspec.Raw, result: Coroutine[Any, Any, Any]) -> Result:
    """Wait for the result of a method."""
    try:
        value = await result
    except asyncio.CancelledError:
        raise
    except BaseException as failure:
        return _failed(call, raw, failure)
    return _succeeded(call, raw, value)


def _succeeded(call: Call, raw: msgspec.Raw, value: Any) -> Result:
    if call.method in audit_policy.CHANGES and call.method not in audit_policy.COUNTED:
        _audit(call, raw, value)
    if type(value) in WITH_SPECS:
        value = disclosed(call.permissions, value)
    return Success(value)


def _failed(call: Call, raw: msgspec.Raw, failure: BaseException) -> Result:
    """Audit a call that raised; whatever it was, SystemExit too, the answer is one of our errors."""
    if isinstance(failure, errors.RpcError):
        error = failure
    elif isinstance(failure, OSError) and failure.errno in (errno.EMFILE, errno.ENFILE):
        error = errors.RateLimited("the agent has too many files open", retry_after=1)
    else:
        error = _internal(call.method, failure)
    call.failed = error.code
    _audit(call, raw, error)
    if log.isEnabledFor(logging.DEBUG):
        log.debug("%s failed: %s %s", call.method, error.code, type(error).__name__)  # its text may have secrets
    payload = error.payload(request_ref.current())
    return Error(payload["code"], payload["message"], payload.get("data"))


def _internal(what: str, failure: BaseException) -> errors.InternalError:
    """Log a fault of ours; return the error that stands for it."""
    log.error("%s failed", what, exc_info=failure)
    place = f", at {request_ref.current()}" if request_ref.current() else ""
    return errors.InternalError(f"an error inside the agent; its log has the details{place}")


def _audit(call: Call, raw: msgspec.Raw, outcome: Any) -> None:
    session = call.session
    audit_policy.note(session.services.audit, session.principal, session.address, call.method, raw, outcome)


def dispatch(session: Session, message: Message) -> Reply:
    """Begin to answer a message; what need not wait is answered when this returns."""
    reply = Reply(encode_answer)
    if not message.batch:
        response = _respond(session, message.requests[0], reply.after, message.data)
        if type(response) is CoroutineType:
            reply.waiting = response
        elif response is not None:
            reply.answer = encode_answer(response)
        request_ref.end()
        return reply
    batch = Batch()
    for request in message.requests:
        batch.add(_respond(session, request, reply.after))
    request_ref.end()
    if batch.waiting:
        reply.waiting = batch.completed()
    else:
        reply.answer = batch.answer()
    return reply


def _respond(
    session: Session, request: Request | dict[str, Any], after: After, data: bytes | memoryview | None = None
) -> Any:
    """Return the response to a request, None for a notification; or a coroutine that returns that."""
    if isinstance(request, dict):  # an invalid request got its response when it was read
        return request
    session.requests += 1
    ref: request_ref.Ref = session.id, session.requests, None
    request_ref.begin(ref)
    # Names and the form of params are checked here: the errors of the library are less exact.
    try:
        check_method(session, request)
    except errors.RpcError as error:
        return None if request.id is msgspec.UNSET else error_response(request.id, error)
    # The method runs inside of this call, to its end or, if it must wait, not at all yet.
    call = Call(session, request.method, after, data)
    if session.services.tracing is not None:
        ref = session.id, session.requests, session.services.tracing.begin(request.method, session.traceparent)
        request_ref.begin(ref)
    asked = library.request(request.method, request.params, request.id)
    begun = time.monotonic()
    result = library.called(METHODS, asked, call)
    # Nothing has begun: a task runs it, as its first steps may need one, for time limits above all.
    if call.waiting is not None:
        return _responded(asked, call.waiting, call, begun, ref)
    _count(call, time.monotonic() - begun)
    return None if asked.id is msgspec.UNSET else library.response(asked, result)


async def _responded(
    asked: library.Request, waiting: Awaitable[Result], call: Call, begun: float, ref: request_ref.Ref
) -> dict[str, Any] | None:
    request_ref.begin(ref)  # of this task, from here on
    result = await waiting
    _count(call, time.monotonic() - begun)
    return None if asked.id is msgspec.UNSET else library.response(asked, result)


def _count(call: Call, seconds: float) -> None:
    """Count a call that has its result."""
    session, method = call.session, call.method
    session.services.jobs.measures.add_call(method, seconds)
    if (tracing := session.services.tracing) is not None:
        tracing.end(request_ref.span(), session.principal.id if session.principal else None, call.failed)
    if log.isEnabledFor(logging.DEBUG):
        caller = session.principal.id if session.principal else "nobody"
        log.debug("%s of %s at %s answered in %.2f ms", method, caller, session.address, seconds * 1000)


class Batch:
    """The responses to a batch, each encoded as soon as it is there, as long as all of them together fit."""

    def __init__(self) -> None:
        # In order; None for a notification, or one that is waited for.
        self._parts: list[bytes | None] = []
        # Bytes of all that were encoded, with those that did not fit.
        self._bytes = 0
        self.waiting: list[tuple[int, Coroutine[Any, Any, dict[str, Any] | None]]] = []

    def add(self, response: Any) -> None:
        """Add a response, None for a notification, or a coroutine that returns either."""
        if type(response) is CoroutineType:
            self.waiting.append((len(self._parts), response))
            response = None
        self._parts.append(self._encoded(response))

    def _encoded(self, response: dict[str, Any] | None) -> bytes | None:
        if response is None:
            return None
        if self._bytes <= MAX_BATCH_BYTES:
            part = encode_answer(response)
            self._bytes += len(part)
            if self._bytes <= MAX_BATCH_BYTES:
                return part
        return encode_answer(_left_out(response))

    async def completed(self) -> bytes | None:
        """Return the answer when all calls have ended, also if one fails: none may run on after that."""
        ended = [self._complete(index, response) for index, response in self.waiting]
        for failure in await asyncio.gather(*ended, return_exceptions=True):
            if failure is not None:
                raise failure
        return self.answer()

    async def _complete(self, index: int, response: Coroutine[Any, Any, dict[str, Any] | None]) -> None:
        self._parts[index] = self._encoded(await response)

    def answer(self) -> bytes | None:
        """Return the answer; None if there were notifications only."""
        present = [part for part in self._parts if part is not None]
        return b"[" + b",".join(present) + b"]" if present else None


def _left_out(response: dict[str, Any]) -> dict[str, Any]:
    """Return what stands for a result that the answer to a batch has no room for; errors are short."""
    if "error" in response:
        return response
    text = f"the answers to this batch have more than {MAX_BATCH_BYTES} bytes: the call was made, its result left out"
    return error_response(
        response["id"], errors.AnswerTooLarge(text, hint="make the call alone, or read the job again")
    )


def encode_answer(answer: dict[str, Any] | bytes) -> bytes:
    """Encode a response; one that JSON cannot hold becomes an error. The answer to a batch is encoded already."""
    if isinstance(answer, bytes):
        return answer
    try:
        return encode(answer)
    except Exception as failure:  # of a plugin's value, of any type
        return encode(error_response(answer["id"], _internal("an answer", failure)))


def check_method(session: Session, request: Request) -> None:
    """Raise MethodNotFound or InvalidParams; before login Unauthenticated, which does not reveal what exists."""
    if request.method not in METHODS:
        session.permissions()
        raise errors.MethodNotFound(f"there is no method {request.method[:80]!r}")
    if memoryview(request.params)[0] != OBJECT:
        raise errors.InvalidParams("params: expected an object: params are given by name")
