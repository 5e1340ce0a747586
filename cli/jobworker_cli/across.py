"""Show the jobs of several agents at once: `jw -c prod,stage ps`."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from jobworker.errors import JobworkerError
from jobworker_cli import failures
from jobworker_cli.endpoint import Choice

Jobs = list[dict[str, Any]]


def list_jobs(choices: Sequence[tuple[str, Choice]], read: Callable[[Any], Jobs]) -> tuple[Jobs, int]:
    """Return the jobs of all contexts, each with its `context`, and the exit code of the first failure, or 0.

    The agents are asked side by side, by `read` with a client of each. What fails is reported, and the others are
    shown.
    """
    clients = [choice.blocking(start=False) for _, choice in choices]  # here: a thread could not import meanwhile
    answers: list[Jobs | Exception] = [[] for _ in choices]

    def ask(number: int) -> None:
        try:
            with clients[number] as client:
                answers[number] = read(client)
        except Exception as error:
            answers[number] = error

    threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(len(choices))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    jobs: Jobs = []
    code = 0
    for (name, _), answer in zip(choices, answers, strict=True):
        if isinstance(answer, Exception):
            if isinstance(answer, JobworkerError):
                answer.message = f"{name}: {answer.message}"
            reported = failures.report(answer)
            code = code or reported
        else:
            jobs += [{"context": name} | job for job in answer]
    return jobs, code
