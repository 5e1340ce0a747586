"""`jw logs` of one job: without asyncio, which is slow to import."""

import os
from typing import Any

from jobworker.errors import ConnectionFailed, JobworkerError
from jobworker_cli import describe, failures, output
from jobworker_cli.endpoint import Choice
from jobworker_cli.output import progress
from jobworker_cli.output.records import Records
from jobworker_cli.plain_log import PlainLog
from jobworker_cli.resolve import find_job
from jobworker_cli.waits import Waits

Request = dict[str, Any]
BEGINS = ("offset", "tail", "since")


def follow(choice: Choice, text: str, records: Records, request: Request, exit_code: bool) -> int:
    """Write the log of the job that a text means; return the exit code."""
    client = choice.blocking()
    Waits(client.connection)
    with client:
        try:
            given = {name: value for name, value in request.items() if value is not None}
            start = {name: given.pop(name) for name in BEGINS if name in given}
            log = PlainLog(client.connection, find_job(client, text), given)
            log.subscribe(**start)
        except ConnectionFailed:
            raise
        except JobworkerError as error:
            reported = failures.report(error, text)
            return failures.RUN_FAILED if exit_code else reported
        try:
            with progress.download(log.job["log"]["bytes"] if is_whole(request) else 0) as records.passed:
                records.show(log)
        except output.ReaderGone:
            os._exit(0)  # closing the connection properly would wait for all that is still to be received
    end = (log.end or {}).get("exit")
    return (describe.exit_code(end) if exit_code else 0) or log.missing_code


def is_whole(request: Request) -> bool:
    """Return whether all of a log is asked for, which ends at a byte that is known."""
    return not request["follow"] and all(request[name] is None for name in (*BEGINS, "until"))
