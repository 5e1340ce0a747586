"""How a command ended, in the manner of the standard library's subprocess."""

from collections.abc import Sequence
from dataclasses import dataclass

from jobworker.errors import CommandFailed, CommandTimeout, JobLost
from jobworker.model import Job, Reason
from jobworker.signal_names import number_of

MAX_SHOWN = 200  # characters of a command in an error


def returncode_of(job: Job) -> int:
    """Return the exit code, or minus the number of the signal that ended the job; raise JobLost if it is unknown."""
    if job.exit is not None and job.exit.code is not None:
        return job.exit.code
    number = number_of(job.exit.signal) if job.exit is not None and job.exit.signal else None
    if number is None:
        reason = job.exit.message if job.exit is not None else "it has not ended"
        raise JobLost(f"the exit code of job {job.id} is unknown: {reason or job.state}", hint=f"jw explain {job.id}")
    return -number


@dataclass(frozen=True)
class Completed:
    """A command that has ended; of its output, what was captured, else None.

    `returncode` is negative if a signal ended it. `complete`: the log lacks none of the captured output.
    """

    args: Sequence[str | bytes]
    returncode: int
    stdout: bytes | None
    stderr: bytes | None
    job: Job
    complete: bool = True

    def check_returncode(self) -> None:
        """Raise CommandFailed unless the command has ended with 0."""
        if self.returncode:
            what = f"signal {-self.returncode}" if self.returncode < 0 else f"exit code {self.returncode}"
            raise CommandFailed(f"{self._shown()} ended with {what}", self, hint=f"jw explain {self.job.id}")

    def check_timeout(self) -> None:
        """Raise CommandTimeout if a time limit has ended the command."""
        if self.job.exit is not None and self.job.exit.reason is Reason.TIMEOUT:
            text = f"{self._shown()} took longer than its time limit, which has stopped it"
            raise CommandTimeout(text, self, hint=f"jw explain {self.job.id}")

    def _shown(self) -> str:
        shown = repr(list(self.args))
        return shown if len(shown) <= MAX_SHOWN else shown[:MAX_SHOWN] + "…"
