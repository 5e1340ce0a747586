"""`jw run` without --detach: follow the job until it ends or the user leaves it.

Without asyncio, which is slow to import; `attended` is for runs with input, a terminal, or time limits of plugins.
"""

import os
from typing import TYPE_CHECKING, Any

from jobworker.errors import ConnectionFailed, JobworkerError
from jobworker_cli import describe, failures, output, queue
from jobworker_cli.endpoint import Choice
from jobworker_cli.plain_log import PlainLog
from jobworker_cli.presses import Presses
from jobworker_cli.resolve import NOT_FINAL, PAGE_JOBS, warn_of_namesakes
from jobworker_cli.unread_input import UnreadInput
from jobworker_cli.waits import Waits

if TYPE_CHECKING:
    from jobworker.client.blocking import Client
    from jobworker_cli.output.records import Records

Plain = dict[str, Any]


def follow(choice: Choice, wanted: Plain, key: str | None, records: "Records", *, removes: bool) -> int:
    """Run the job and show its output; return its exit code. `removes`: the job when it has ended."""
    client = choice.blocking()
    presses = Presses(client.connection)
    Waits(client.connection, presses.act)
    with client:
        log = _begin(client, wanted, key)
        job = log.job["id"]
        presses.started(job)
        unread = UnreadInput()
        unread.check()
        try:
            if (name := wanted.get("name")) is not None:
                live = client.call("job.list", states=NOT_FINAL, limit=PAGE_JOBS)
                warn_of_namesakes(job, name, live["jobs"])
            records.begin(log.job)
            queue.wait(client, log.job)
            records.show(log)
            unread.check()
        except output.ReaderGone:  # the job runs on
            presses.leave()
        except (JobworkerError, OSError) as error:
            failures.report(error)
            output.hint(f"the job may still run: jw logs -f {job}")
            return failures.RUN_FAILED
        end = (log.end or {}).get("exit")
        if words := describe.remark(end):
            output.note(f"job {job}: {words}")
        if removes and end is not None:
            _remove(client, job)
        return describe.exit_code(end) or log.missing_code


def _begin(client: "Client", wanted: Plain, key: str | None) -> PlainLog:
    """Start the job once, also if the connection is lost before the answer: the key makes the call repeatable."""
    key = key or f"jw-{os.urandom(16).hex()}"
    while True:
        try:
            answer = client.call("job.run", spec=wanted, key=key)
            log = PlainLog(client.connection, answer["job"], {})
            log.attach(answer)
            return log
        except ConnectionFailed:
            client.reconnect()


def _remove(client: "Client", job: str) -> None:
    """Remove the job with its log; the exit code is that of the job all the same."""
    try:
        client.call("job.delete", id=job)
    except JobworkerError as error:
        output.note(f"job {job} is not removed: {error.message}")
