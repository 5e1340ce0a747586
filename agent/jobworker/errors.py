"""Every error of jobworker, one tree; each class owns its RPC code and the exit code of ``jw``.

::

    JobworkerError
    ├── StartError                 the agent cannot start (files, port, settings)  exit 6
    ├── ConnectionFailed           no agent, TLS refused, connection lost          exit 6
    └── RpcError                   an answer with `error`
        ├── ParseError             -32700
        ├── InvalidRequest         -32600
        ├── MethodNotFound         -32601
        ├── InvalidParams          -32602  data.field
        ├── InternalError          -32603, 50001  data.ref
        ├── InvalidSpec            40001  data.field
        ├── Unauthenticated        40101                                           exit 4
        ├── TokenExpired           40102                                           exit 4
        ├── PermissionDenied       40301                                           exit 4
        ├── JobNotFound            40401                                           exit 3
        ├── SubscriptionNotFound   40402
        ├── WaitTimeout            40801
        ├── InvalidState           40901  data.state                               exit 5
        ├── KeyConflict            40902                                           exit 5
        ├── OffsetOutOfRange       41601
        ├── PolicyRejected         42201
        ├── ExecFailed             42202  data.job, data.errno, data.step
        ├── RateLimited            42901  data.retry_after
        ├── NotSupported           50101
        ├── ShuttingDown           50301
        ├── StopIncomplete         50401  data.survivors
        └── DiskFull               50701

Of a code of ours, ``code // 100`` is the HTTP status, ``data.reason`` the stable word and
``data.retryable`` says whether the same call may succeed later. The message is for a person.
"""

from typing import Any, ClassVar


class JobworkerError(Exception):
    """Base of all; `hint` names the next thing to do."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class StartError(JobworkerError):
    """The agent cannot start with these files or this configuration."""

    exit_code = 6


class ConnectionFailed(JobworkerError):
    """There is no agent at the address, or it could not be trusted, or it went away."""

    exit_code = 6


class RpcError(JobworkerError):
    """What the agent answers instead of a result."""

    code: ClassVar[int] = -32000
    reason: ClassVar[str] = ""
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "", **data: Any) -> None:
        super().__init__(message, hint=hint)
        self.data = data

    def payload(self) -> dict[str, Any]:
        """Return the `error` member of the answer."""
        data = dict(self.data)
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
    """A param is missing, unknown or of another type; `field` says which."""

    code = -32602


class InternalError(RpcError):
    """A fault of ours; `ref` is the line in the agent's log and all that is told."""

    code = 50001
    reason = "internal"


class InvalidSpec(RpcError):
    """A well-typed spec that cannot be accepted; `field` says which part."""

    code = 40001
    reason = "invalid_spec"


class Unauthenticated(RpcError):
    """Nobody vouches for the caller."""

    code = 40101
    reason = "unauthenticated"
    exit_code = 4


class TokenExpired(RpcError):
    """The credentials were good once."""

    code = 40102
    reason = "token_expired"
    exit_code = 4


class PermissionDenied(RpcError):
    """The principal may not do this."""

    code = 40301
    reason = "permission_denied"
    exit_code = 4


class JobNotFound(RpcError):
    """There is no such job, or the caller may not see it: the answer is the same."""

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
    """The job is in a state in which this cannot be done; `state` says which."""

    code = 40901
    reason = "invalid_state"
    exit_code = 5


class KeyConflict(RpcError):
    """The key names a job with another spec."""

    code = 40902
    reason = "key_conflict"
    exit_code = 5


class OffsetOutOfRange(RpcError):
    """The offset is below zero or beyond the end of the log."""

    code = 41601
    reason = "offset_out_of_range"


class PolicyRejected(RpcError):
    """A plugin refused the options it was given."""

    code = 42201
    reason = "policy_rejected"


class ExecFailed(RpcError):
    """The job could not be started; `step` is `cwd`, `user`, `exec` or `setup`."""

    code = 42202
    reason = "exec_failed"


class RateLimited(RpcError):
    """Too much at once; `retry_after` is in seconds."""

    code = 42901
    reason = "rate_limited"
    retryable = True


class NotSupported(RpcError):
    """The protocol names it and this agent does not do it."""

    code = 50101
    reason = "not_supported"


class ShuttingDown(RpcError):
    """The agent is about to end and takes no new jobs."""

    code = 50301
    reason = "shutting_down"
    retryable = True


class StopIncomplete(RpcError):
    """Processes of the job outlived the stop; `survivors` lists them."""

    code = 50401
    reason = "stop_incomplete"
    retryable = True


class DiskFull(RpcError):
    """The agent cannot record what it would have to."""

    code = 50701
    reason = "disk_full"
    retryable = True


def _tree(base: type[RpcError]) -> dict[int, type[RpcError]]:
    return {cls.code: cls for cls in base.__subclasses__()}


BY_CODE = _tree(RpcError)


def from_payload(error: dict[str, Any]) -> RpcError:
    """Return the exception for the `error` member of an answer, also for a code we do not know."""
    cls = BY_CODE.get(error.get("code", 0), RpcError)
    data = error.get("data")
    data = data if isinstance(data, dict) else {}
    built = cls(str(error.get("message", "")), hint=str(data.pop("hint", "")), **data)
    if cls is RpcError:
        built.code = error.get("code", 0)  # type: ignore[misc]  # a code newer than this client
    return built
