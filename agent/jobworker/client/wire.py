"""What the clients share and no socket needs: sizes, answers, close codes, and how long to connect again."""

import base64
import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from jobworker import errors
from jobworker.protocol import MAX_MESSAGE

RECONNECT_SECONDS = 60.0  # how long a lost connection is tried again, all attempts together
SETTLED_SECONDS = 5.0  # a connection that lasts longer, or on which the agent sends anything, ends the trying
WAIT_SECONDS = 20.0  # of one job.wait: one that was cancelled is over at the agent by then
MAX_PAGE_JOBS = 1000  # of one job.list
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.05, 2.0  # between two attempts to connect
# Close codes.
GOING_AWAY = 1001
UNSUPPORTED = 1003
POLICY = 1008
TOO_BIG = 1009
# The method that ends what a method has begun, for calls that are cancelled or take too long.
UNSUBSCRIBE = {
    "job.run": "log.unsubscribe",
    "log.subscribe": "log.unsubscribe",
    "event.subscribe": "event.unsubscribe",
}

# How msgspec names a field that a type does not have, and the object that has it.
UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.+?)`(?: - at `\$(.*)`)?")
PART = re.compile(r"\w+|\[[^\]]*\]")  # of the path to that object

T = TypeVar("T")


def request(number: int, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return a request of JSON-RPC 2.0."""
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def frame(number: int, method: str, params: dict[str, Any], data: bytes, *, binary: bool) -> bytes:
    """Return a request that carries data: as a binary frame, or as JSON with the data in base64."""
    if binary:
        message = encode(request(number, method, params)) + b"\n" + data
    else:
        text = {"data": base64.b64encode(data).decode(), "encoding": "base64"}
        message = encode(request(number, method, params | text))
    require_size(message, method)
    return message


def require_size(message: bytes, method: str) -> None:
    """Raise MessageRefused for a request that the agent would close the connection at."""
    if len(message) > MAX_MESSAGE:
        raise errors.MessageRefused(
            f"{method}: the request has {len(message)} bytes; expected at most {MAX_MESSAGE}",
            hint="give the job its data in a file",
        )


def encode(message: dict[str, Any]) -> bytes:
    """Return a request as JSON; raise MessageRefused for a number or a text that JSON cannot carry."""
    try:
        return json.dumps(
            message, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain
        ).encode()
    except (ValueError, RecursionError):  # also UnicodeEncodeError, whose text is the whole message
        raise errors.MessageRefused(_fault(_plain(message["params"]), message["method"])) from None


def _fault(value: Any, path: str) -> str:
    """Return which value JSON cannot carry, without what else is in the message."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{path}: {value}; expected a finite number"
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            return (
                f"{path}: {value[error.start : error.end]!r} at {error.start}; expected UTF-8, all that JSON carries"
            )
    inner = [*value.items()] if isinstance(value, dict) else [*enumerate(value)] if isinstance(value, list) else []
    for name, member in inner:
        if fault := _fault(str(name), path) or _fault(member, f"{path} {name}"):
            return fault
    return ""


def _plain(value: Any) -> Any:
    """Return a type of `jobworker.model` as plain data."""
    from jobworker.model import to_builtins  # slow to import, and `jw` needs it seldom

    return to_builtins(value)


def outcome(answer: dict[str, Any], method: str) -> Any:
    """Return the result of an answer, or the RpcError of one with an error; raise BadAnswer."""
    with reading(method):
        found = errors.from_payload(answer["error"]) if "error" in answer else answer["result"]
    if isinstance(found, errors.MethodNotFound) and not found.hint:
        found.hint = f"does this agent have {method}? rpc.discover lists the methods of its version"
    return found


def result(answer: dict[str, Any], method: str) -> Any:
    """Return the result of an answer; raise the RpcError of one with an error, or BadAnswer."""
    found = outcome(answer, method)
    if isinstance(found, errors.RpcError):
        raise found
    return found


def subscription(answer: dict[str, Any]) -> str | None:
    """Return the name of the subscription that a call has begun; None if it failed."""
    begun = answer.get("result")
    name = begun.get("subscription") if isinstance(begun, dict) else None
    return name if isinstance(name, str) else None


def typed(kind: type[T], method: str, value: Any) -> T:
    """Return the result of a method as a type, without the fields that only a newer agent has; raise BadAnswer."""
    import msgspec  # slow to import, and `jw` needs it seldom

    with reading(method):
        while True:
            try:
                return msgspec.convert(value, kind)
            except msgspec.ValidationError as error:
                unknown = UNKNOWN_FIELD.fullmatch(str(error))
                path = PART.findall(unknown[2] or "") if unknown else []
                if unknown is None or not _without(value, path, unknown[1]):
                    raise


def _without(value: Any, path: Sequence[str], field: str) -> bool:
    """Remove a field of the object at a path, in which an index is any; return whether it was there."""
    if not path:
        return isinstance(value, dict) and value.pop(field, value) is not value
    if path[0][0] != "[":
        return isinstance(value, dict) and _without(value.get(path[0]), path[1:], field)
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found = [_without(member, path[1:], field) for member in members]
    return any(found)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Raise BadAnswer if what is read inside is not of the protocol."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        fault = f"{type(error).__name__}: {str(error)[:200]}"
        text = f"{what}: what the agent has sent is not of the protocol ({fault})"
        raise errors.BadAnswer(text, hint="is it an agent, and of a version that this client knows?") from error


def refusal(code: int | None, reason: str) -> errors.JobworkerError | None:
    """Return the error to raise after this close code; None if another connection may help."""
    if code == POLICY:
        return errors.Unauthenticated(f"the agent closed the connection: {reason or 'it refuses this caller'}")
    if code in (UNSUPPORTED, TOO_BIG):
        what = "too large" if code == TOO_BIG else "of another kind than it reads"
        return errors.MessageRefused(
            f"the agent closed the connection: a message is {what}{f' ({reason})' if reason else ''}"
        )
    return None


class Patience:
    """How long lost connections are tried again: RECONNECT_SECONDS in all, whatever becomes of each attempt.

    Times are seconds of a clock that never goes back.
    """

    def __init__(self) -> None:
        self._pause = FIRST_PAUSE_SECONDS
        # When trying ends; None: the last connection worked.
        self._deadline: float | None = None
        # When the newest connection was opened.
        self._opened_at: float | None = None

    def opened(self, now: float) -> None:
        self._opened_at = now

    def worked(self) -> None:
        """Note that the agent has sent something: the next loss is a new one."""
        self._pause, self._deadline = FIRST_PAUSE_SECONDS, None

    def lost(self, now: float) -> None:
        """Note that the newest connection is lost; raise ConnectionFailed if that ends the trying."""
        opened_at, self._opened_at = self._opened_at, None
        if opened_at is not None and now - opened_at > SETTLED_SECONDS:
            self.worked()
        if self._deadline is None:
            self._deadline = now + RECONNECT_SECONDS
        elif opened_at is not None and self.over(now):
            raise errors.ConnectionFailed(
                f"for {RECONNECT_SECONDS:g} s each connection was lost before the agent sent anything",
                hint="the log of the agent, or of the proxy before it, may have the reason",
            )

    def over(self, now: float) -> bool:
        """Return whether a failed attempt is the last one."""
        return self._deadline is not None and now > self._deadline

    def pause(self) -> float:
        """Return the seconds to wait before the next attempt."""
        pause, self._pause = self._pause, min(self._pause * 2, MAX_PAUSE_SECONDS)
        return pause


def given(**params: Any) -> dict[str, Any]:
    """Return the params that are not None: the agent chooses the others."""
    return {name: value for name, value in params.items() if value is not None}
