"""The jobs that a command is for: those that its words name, or all that have the labels given to it."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobworker_cli import output
from jobworker_cli.declare import UsageError
from jobworker_cli.output.sanitise import printable
from jobworker_cli.pairs import pairs
from jobworker_cli.resolve import FINAL, LIVE, job_ids, list_all

if TYPE_CHECKING:
    from jobworker.client.blocking import Client

SHOWN = 5  # jobs that a question names
YES = ("y", "yes")


def select(
    client: "Client",
    words: Sequence[str] | None,
    labels: Sequence[str] | None,
    states: Sequence[str] | None = LIVE,
    sure: "Sure | None" = None,
) -> tuple[dict[str, str], int]:
    """Return the ids of jobs by the words that name them, and the exit code of the first that names none, or 0.

    With labels, all jobs in one of `states` (None: any) that have them all. Of a name, a job that still runs comes
    first, if any may be. Raises UsageError for neither words nor labels, for both, and if the user does not agree.
    """
    if not labels:
        if not words:
            raise UsageError("no job is named; expected JOB..., or --label NAME=VALUE for all jobs with a label")
        return job_ids(client, words, LIVE if states is None or states == FINAL else states)
    if words:
        raise UsageError("JOB and --label both choose jobs; expected one of them")
    jobs = list_all(client, states, pairs("--label", labels))
    if not jobs:
        output.note(f"no job{in_states(states)} has {described(labels)}")
    if sure is not None and len(jobs) > 1:
        named = ", ".join(printable(job["name"] or job["id"]) for job in jobs[:SHOWN])
        more = f" and {len(jobs) - SHOWN} more" if len(jobs) > SHOWN else ""
        sure.ask(f"{len(jobs)} jobs have {described(labels)}: {named}{more}")
    return {job["id"]: job["id"] for job in jobs}, 0


class Sure:
    """Whether the user wants what a command does to several jobs: by --yes, or an answer on the terminal."""

    def __init__(self, verb: str, *, yes: bool) -> None:
        self._verb = verb
        self._yes = yes

    def ask(self, what: str) -> None:
        """Return if the user agrees; raise UsageError without a terminal, KeyboardInterrupt for a no."""
        if self._yes:
            return
        if sys.stdin is None or not sys.stdin.isatty() or sys.stderr is None or not sys.stderr.isatty():
            raise UsageError(f"{what}; expected --yes to {self._verb} them all")
        output.put(sys.stderr, f"{what}\n{self._verb} them all? [y/N] ".encode(errors="backslashreplace"))
        if sys.stdin.readline().strip().lower() not in YES:
            output.note("nothing was done")
            raise KeyboardInterrupt


def described(labels: Sequence[str]) -> str:
    """Return the labels as words of a sentence."""
    return f"the label{'s' if len(labels) > 1 else ''} {', '.join(map(printable, labels))}"


def in_states(states: Sequence[str] | None) -> str:
    return f" that is {' or '.join(states)}" if states else ""
