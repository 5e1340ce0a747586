"""Report an error as text and as an exit code."""

import os

from jobworker.errors import JobNotFound, JobworkerError, PermissionDenied
from jobworker_cli import output
from jobworker_cli.output.sanitise import printable

USAGE = 2
RUN_FAILED = 125  # of `run` and `wait`; their other codes are the job's
LEFT = 130  # ended by Ctrl-C
HINTS: dict[type[JobworkerError], str] = {JobNotFound: "jw ps -a", PermissionDenied: "jw rpc auth.whoami"}


def report(error: BaseException) -> int:
    """Write the error and the next command to stderr; return the exit code of the error."""
    if os.environ.get("JW_DEBUG") == "1":
        import traceback

        for line in "".join(traceback.format_exception(error)).rstrip().split("\n"):
            output.write_stderr(printable(line))  # an error may have the words of an agent
    hint, code = "", 1
    if isinstance(error, JobworkerError):
        hint, code = error.hint or HINTS.get(type(error), ""), error.exit_code
        text = error.message
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:
        text = f"{type(error).__name__}: {error}"
        hint = "JW_DEBUG=1 shows the traceback"
    output.error(text, hint)
    return code


def usage(message: str, command: str) -> int:
    """Report what is wrong with the command line; return the exit code."""
    output.error(message, f"{command} --help")
    return USAGE
