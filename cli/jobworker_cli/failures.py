"""Report an error as text and as an exit code."""

import os
from typing import Any

from jobworker import __version__
from jobworker.errors import (
    InvalidParams,
    InvalidSpec,
    JobNotFound,
    JobworkerError,
    MethodNotFound,
    PermissionDenied,
    RpcError,
)
from jobworker_cli import output
from jobworker_cli.output.sanitise import printable

USAGE = 2
RUN_FAILED = 125  # of `run` and `wait`; their other codes are the job's
LEFT = 130  # ended by Ctrl-C
HINTS: dict[type[JobworkerError], str] = {
    JobNotFound: "jw ps -a",
    PermissionDenied: "jw rpc auth.whoami",
    MethodNotFound: "jw agent status",
}


class _Settings:
    as_json = False  # whether the command has --json: then an error is an object in one line of stderr


settings = _Settings()


def report(error: BaseException, job: str | None = None) -> int:
    """Write the error and the next command to stderr, with --json as an object; return the exit code of the error.

    `job` is the job that it is about, of several.
    """
    if os.environ.get("JW_DEBUG") == "1":
        import traceback

        for line in "".join(traceback.format_exception(error)).rstrip().split("\n"):
            output.write_stderr(printable(line))  # an error may have the words of an agent
    hint, code = "", 1
    if isinstance(error, JobworkerError):
        hint, code = error.hint or HINTS.get(type(error), ""), error.exit_code
        text = error.message
        if isinstance(error, MethodNotFound):
            text = f"{text}: the agent may be older or newer than this jw, {__version__}"
        elif isinstance(error, InvalidParams | InvalidSpec) and text.endswith(": unknown"):
            text = f"{text} to this agent, which may be older than this jw, {__version__}"
            hint = hint or "jw agent status"
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    elif isinstance(error, RuntimeError) and "start new thread" in str(error):
        text = "no thread can be started: the limit of processes is reached (ulimit -u, pids.max)"
        hint = "with an old Docker and a new C library: docker run --security-opt seccomp=FILE that allows clone3"
    else:
        text = f"{type(error).__name__}: {error}"
        hint = "JW_DEBUG=1 shows the traceback"
    payload = error.payload() if isinstance(error, RpcError) else {"code": None}
    _write(payload | {"message": text}, hint, {} if job is None else {"id": job})
    return code


def _write(payload: dict[str, Any], hint: str, about: dict[str, str]) -> None:
    """Write an error in words, or with --json in the form of an answer of the agent."""
    if not settings.as_json:
        output.error(payload["message"], hint)
        return
    data = payload.get("data", {}) | ({"hint": hint} if hint else {})
    output.write_stderr(output.json_text(about | {"error": payload | ({"data": data} if data else {})}))


def usage(message: str, hint: str) -> int:
    """Report what is wrong with the command line, with the next command; return the exit code."""
    _write({"code": None, "message": message}, hint, {})
    return USAGE
