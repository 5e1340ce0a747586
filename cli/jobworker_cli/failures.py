"""Report an error as text and as an exit code."""

import os
import re
from typing import Any

from jobworker import __version__
from jobworker.errors import (
    ConnectionFailed,
    InvalidParams,
    InvalidSpec,
    InvalidState,
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
# What a user of `jw` types in place of what a hint of the agent has for programs.
OF_JW = (("create it with stdin", "jw run -i -- CMD"), ("create it with `tty`", "jw run -t -- CMD"))
STATE_OF = re.compile(r"job (\w+) is ")  # an error that names a job and its state
HINTS: dict[type[JobworkerError], str] = {
    ConnectionFailed: "jw doctor",
    JobNotFound: "jw ps -a",
    PermissionDenied: "jw rpc auth.whoami",
    MethodNotFound: "jw agent status",
}


class _Settings:
    command = "jw"  # the words whose help has more
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
            hint = HINTS[MethodNotFound]
        elif isinstance(error, InvalidState) and not hint and (found := STATE_OF.match(text)):
            hint = f"jw status {found[1]}"
        elif isinstance(error, InvalidParams | InvalidSpec) and text.endswith(": unknown"):
            text = f"{text} to this agent, which may be older than this jw, {__version__}"
            hint = hint or "jw agent status"
        elif isinstance(error, InvalidParams | InvalidSpec):
            hint = hint or f"{settings.command} --help"
        hint = next((ours for theirs, ours in OF_JW if hint.startswith(theirs)), hint)
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
