"""All errors of jobworker, in one tree; each class has its RPC code and the exit code of ``jw``.

::

    JobworkerError
    ├── StartError                 the agent cannot start (files, port, settings)  exit 6
    ├── ConnectionFailed           no agent, TLS refused, connection lost          exit 6
    │   └── AnswerTimeout          no answer within the time of the client         exit 6
    ├── MessageRefused             the agent does not read such a message          exit 1
    ├── BadAnswer                  the agent sends what is not of the protocol     exit 1
    ├── JobLost                    the exit code of a job is unknown               exit 1
    ├── CommandFailed              a command has not ended with 0                  exit 1
    │   └── CommandTimeout         a time limit has ended it                       exit 1
    └── RpcError                   an answer with `error`
        ├── ParseError             -32700
        ├── InvalidRequest         -32600
        ├── MethodNotFound         -32601
        ├── InvalidParams          -32602  data.field
        ├── InternalError          -32603, 50001
        ├── InvalidSpec            40001  data.field
        ├── Unauthenticated        40101                                           exit 4
        ├── TokenExpired           40102                                           exit 4
        ├── PermissionDenied       40301                                           exit 4
        ├── JobNotFound            40401                                           exit 3
        ├── SubscriptionNotFound   40402
        ├── WaitTimeout            40801
        ├── InvalidState           40901  data.state                               exit 5
        ├── KeyConflict            40902                                           exit 5
        ├── NotTheWriter           40903                                           exit 5
        ├── StdinClosed            41001  data.state
        ├── AnswerTooLarge         41301
        ├── OffsetOutOfRange       41601
        ├── InputGap               41602  data.offset
        ├── PolicyRejected         42201
        ├── ExecFailed             42202  data.job, data.errno, data.step
        ├── RateLimited            42901  data.retry_after
        ├── NotSupported           50101
        ├── ShuttingDown           50301
        ├── Draining               50302  data.since
        ├── StopIncomplete         50401  data.survivors
        └── DiskFull               50701

For a positive code, ``code // 100`` is the HTTP status, ``data.reason`` a word that does not change between versions,
and ``data.retryable`` whether the same call may succeed later. The message is for a person.
"""

import errno
from typing import Any, ClassVar


class JobworkerError(Exception):
    """The base class; `hint` is what the user can do next."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class StartError(JobworkerError):
    """The agent cannot start with these files or this configuration."""

    exit_code = 6


class ConnectionFailed(JobworkerError):
    """No agent answers at the address, its certificate is not trusted, or the connection was lost."""

    exit_code = 6


class AnswerTimeout(ConnectionFailed):
    """No answer has come within the time that the client gives a call; the agent may carry it out."""


class MessageRefused(JobworkerError):
    """A message that the agent does not read, as it is too large: the same one would be refused again."""


class BadAnswer(JobworkerError):
    """An answer that is not of the protocol, or of a version that this client does not know."""


class JobLost(JobworkerError):
    """A job has ended, and how is unknown: it is not taken for 0, nor for any other code."""


class CommandFailed(JobworkerError):
    """A command has not ended with 0; `completed` has its return code and its output."""

    def __init__(self, message: str, completed: Any, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.completed = completed


class CommandTimeout(CommandFailed):
    """A command has taken longer than its time limit, and its whole tree was stopped."""


class RpcError(JobworkerError):
    """An error that the agent returns in place of a result; `data` are further members of `error.data`."""

    code: ClassVar[int] = -32000
    reason: ClassVar[str] = ""
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "", **data: Any) -> None:
        super().__init__(message, hint=hint)
        self.data = data

    def payload(self, ref: str = "") -> dict[str, Any]:
        """Return the `error` member of the answer; `ref` is the id of the request, in the logs of the agent too."""
        data = dict(self.data)
        if ref:
            data["ref"] = ref
        if self.hint:
            data["hint"] = self.hint
        if self.reason:
            data = {"reason": self.reason, "retryable": self.retryable} | data
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        return error | {"data": data} if data else error


class ParseError(RpcError):
    """The message is not the strict JSON of RFC 8259."""

    code = -32700


class InvalidRequest(RpcError):
    """The JSON is not a JSON-RPC 2.0 request."""

    code = -32600


class MethodNotFound(RpcError):
    """There is no such method in the protocol."""

    code = -32601


class InvalidParams(RpcError):
    """A param is missing, unknown or has the wrong type; `field` is its name."""

    code = -32602


class InternalError(RpcError):
    """A fault in the agent; its log has the details, at the lines with the `ref` of the error."""

    code = 50001
    reason = "internal"


class InvalidSpec(RpcError):
    """A value has the right type and is invalid; `field` is its name."""

    code = 40001
    reason = "invalid_spec"


class Unauthenticated(RpcError):
    """No auth provider accepts the credentials."""

    code = 40101
    reason = "unauthenticated"
    exit_code = 4


class TokenExpired(RpcError):
    """The credentials have expired."""

    code = 40102
    reason = "token_expired"
    exit_code = 4


class PermissionDenied(RpcError):
    """The principal may not do this."""

    code = 40301
    reason = "permission_denied"
    exit_code = 4


class JobNotFound(RpcError):
    """There is no such job, or the caller may not see it; the answer does not reveal which."""

    code = 40401
    reason = "job_not_found"
    exit_code = 3


class SubscriptionNotFound(RpcError):
    """This connection has no such subscription."""

    code = 40402
    reason = "subscription_not_found"


class WaitTimeout(RpcError):
    """The job did not end in the time that the caller gave."""

    code = 40801
    reason = "wait_timeout"
    retryable = True


class InvalidState(RpcError):
    """The state of the job does not allow the call; `state` is that state."""

    code = 40901
    reason = "invalid_state"
    exit_code = 5


class KeyConflict(RpcError):
    """A job with another spec was created with this key."""

    code = 40902
    reason = "key_conflict"
    exit_code = 5


class StdinClosed(RpcError):
    """The job takes no more input: it was closed, the job has closed its stdin, or it has ended."""

    code = 41001
    reason = "stdin_closed"


class AnswerTooLarge(RpcError):
    """The call was made, and the answer to its batch has no room for the result."""

    code = 41301
    reason = "answer_too_large"


class OffsetOutOfRange(RpcError):
    """The offset is below zero or beyond the end of the log."""

    code = 41601
    reason = "offset_out_of_range"


class NotTheWriter(RpcError):
    """Another client has claimed the input of the job; `writer` is its principal, null if there is none now."""

    code = 40903
    reason = "not_the_writer"
    exit_code = 5


class InputGap(RpcError):
    """The offset is not where the input of the job ends; `offset` is: continue there."""

    code = 41602
    reason = "input_gap"


class PolicyRejected(RpcError):
    """A plugin refused the options of the call."""

    code = 42201
    reason = "policy_rejected"


class ExecFailed(RpcError):
    """The job could not be started; `step` is `cwd`, `user`, `exec` or `setup`."""

    code = 42202
    reason = "exec_failed"


class RateLimited(RpcError):
    """The caller has reached a limit; `retry_after` is in seconds."""

    code = 42901
    reason = "rate_limited"
    retryable = True


class NotSupported(RpcError):
    """This agent, or its host, does not support a part of the protocol."""

    code = 50101
    reason = "not_supported"


class ShuttingDown(RpcError):
    """The agent is ending and starts no new jobs."""

    code = 50301
    reason = "shutting_down"
    retryable = True


class Draining(RpcError):
    """The agent starts no jobs until an admin has ended the draining; `since` is when it began."""

    code = 50302
    reason = "draining"
    retryable = True


class StopIncomplete(RpcError):
    """Processes of the job are still there after the stop; `survivors` lists them."""

    code = 50401
    reason = "stop_incomplete"
    retryable = True


class DiskFull(RpcError):
    """The agent cannot record the change on its disk."""

    code = 50701
    reason = "disk_full"
    retryable = True


def _by_code(base: type[RpcError]) -> dict[int, type[RpcError]]:
    return {cls.code: cls for cls in base.__subclasses__()}


BY_CODE = _by_code(RpcError)


def from_payload(error: dict[str, Any]) -> RpcError:
    """Return the exception for the `error` member of an answer; an unknown code gives an RpcError."""
    cls = BY_CODE.get(error.get("code", 0), RpcError)
    data = error.get("data")
    data = data if isinstance(data, dict) else {}
    built = cls(str(error.get("message", "")), hint=str(data.pop("hint", "")))
    built.data = data  # not as arguments: its members may have any names
    if cls is RpcError:
        built.code = error.get("code", 0)  # type: ignore[misc]  # a code newer than this client
    return built


def write_hint(path: object, code: int | None) -> str:
    """Return what to do about a file that cannot be written, by the errno of the failure."""
    if code in (errno.ENOSPC, errno.EDQUOT):
        return f"make room for {path}"
    if code == errno.EFBIG:
        return f"raise the limit of file sizes (ulimit -f, LimitFSIZE=) of the agent, which {path} has reached"
    if code == errno.EROFS:
        return f"mount the file system of {path} for writing"
    return f"check the owner, mode and attributes (lsattr) of {path}"
