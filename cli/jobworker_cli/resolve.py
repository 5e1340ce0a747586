"""Find the id of a job from its id, a unique prefix of it, or a name.

Of several jobs of a name, a job of the caller comes before those of others, then the newest that is live.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jobworker.errors import ConnectionFailed, JobNotFound, JobworkerError
from jobworker_cli import failures, output

if TYPE_CHECKING:
    from jobworker.client import Client as AsyncClient
    from jobworker.client.blocking import Client

ID_LENGTH = 12
PAGE_JOBS = 1000
MAX_CANDIDATES = 10
LIVE = ("queued", "running", "paused", "stopping")
NOT_FINAL = ("created", *LIVE)
FINAL = ("exited", "lost")


def job_id(client: "Client", text: str, states: Sequence[str] = LIVE) -> str:
    """Return the id; raise JobNotFound, or JobworkerError with the candidates.

    Of the jobs of a name, one in one of `states` comes first.
    """
    return str(find_job(client, text, states)["id"])


def job_ids(client: "Client", texts: Sequence[str], states: Sequence[str] = LIVE) -> tuple[dict[str, str], int]:
    """Return the ids by text; report what means no job, and return the exit code of the first such text, or 0."""
    ids: dict[str, str] = {}
    code = 0
    for text in dict.fromkeys(texts):
        try:
            ids[text] = job_id(client, text, states)
        except ConnectionFailed:
            raise
        except JobworkerError as error:
            reported = failures.report(error, text)
            code = code or reported
    return ids, code


def find_job(client: "Client", text: str, states: Sequence[str] = LIVE) -> dict[str, Any]:
    """Return the job as its status; raise JobNotFound, or JobworkerError with the candidates."""
    _require(text)
    if len(text) == ID_LENGTH:
        try:
            return dict(client.call("job.status", id=text))
        except JobNotFound:
            pass  # it may be a name
    jobs = list_all(client)
    own = _id(client.call("auth.whoami")) if _named(jobs, text) else ""
    chosen = choose(text, jobs, states, own)
    return next(job for job in jobs if job["id"] == chosen)


async def job_id_async(client: "AsyncClient", text: str) -> str:
    """Return the same over the other client."""
    jobs: list[dict[str, Any]] = []
    params: dict[str, Any] = {"limit": PAGE_JOBS}
    _require(text)
    if len(text) == ID_LENGTH:
        try:
            return (await client.status(text)).id
        except JobNotFound:
            pass
    while True:
        answer = await client.call("job.list", **params)
        jobs += answer["jobs"]
        if answer["next"] is None:
            own = _id(await client.call("auth.whoami")) if _named(jobs, text) else ""
            return choose(text, jobs, own=own)
        params["cursor"] = answer["next"]


def _require(text: str) -> None:
    """Raise JobworkerError for words that no job can have."""
    if not text.strip():
        raise JobNotFound("JOB is an empty word; perhaps a variable is not set", hint="jw ps -a")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise JobNotFound(f"there is no job {text!r}: it is not UTF-8", hint="jw ps -a") from None


def list_all(
    client: "Client",
    states: Sequence[str] | None = None,
    labels: dict[str, str] | None = None,
    most: int | None = None,
    **others: Any,
) -> list[dict[str, Any]]:
    """Return all jobs, or the newest `most`, as plain data, newest first; `others` are further params of job.list."""
    jobs: list[dict[str, Any]] = []
    params: dict[str, Any] = others | ({"states": list(states)} if states else {})
    params |= {"labels": labels} if labels else {}
    while most is None or len(jobs) < most:
        params["limit"] = PAGE_JOBS if most is None else min(most - len(jobs), PAGE_JOBS)
        answer = client.call("job.list", **params)
        jobs += answer["jobs"]
        if answer["next"] is None:
            break
        params["cursor"] = answer["next"]
    return jobs


def _id(principal: dict[str, Any]) -> str:
    """Return the owner of a principal's jobs, as in `Principal.id`, which is slow to import."""
    return str(principal.get("id", f"{principal['provider']}:{principal['name']}"))


def _named(jobs: Sequence[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    return [job for job in jobs if job["name"] == text]


def choose(text: str, jobs: Sequence[dict[str, Any]], states: Sequence[str] = LIVE, own: str = "") -> str:
    """Return the id that `text` means among jobs, which are newest first; of a name, one in `states` comes first.

    `own` is the caller, "" if it is not known: a name means a job of another owner only if the caller has none.
    """
    named = _named(jobs, text)
    named = [job for job in named if job["owner"] == own] or named
    live = [job for job in named if job["state"] in states]
    others = [str(job["id"]) for job in live[1:]]
    named = (live or [job for job in named if job["state"] in NOT_FINAL] or named)[:1]
    begun = [job for job in jobs if text and job["id"].startswith(text)]
    matches = {job["id"]: job for job in named + begun}
    if not matches:
        raise JobNotFound(f"there is no job {text[:80]!r}", hint="jw ps -a")
    if len(matches) > 1:
        shown = [f"{job['id']} ({job['name'] or 'no name'})" for job in list(matches.values())[:MAX_CANDIDATES]]
        more = f" and {len(matches) - MAX_CANDIDATES} more" if len(matches) > MAX_CANDIDATES else ""
        raise JobworkerError(
            f"{text!r} is ambiguous: it matches {', '.join(shown)}{more}; expected a whole id", hint="jw ps -a"
        )
    chosen = str(next(iter(matches)))
    if own and matches[chosen]["owner"] != own and not begun:
        output.note(f"{text} is job {chosen} of {matches[chosen]['owner']}")
    if others and chosen == named[0]["id"]:
        rest = f"the {'other is' if len(others) == 1 else 'others are'} {', '.join(others)}"
        output.note(f"{len(live)} live jobs have the name {text}: this is the newest, {chosen}; {rest}")
    return chosen


def warn_of_namesakes(job: str, name: str | None, jobs: Sequence[dict[str, Any]]) -> None:
    """Note which live jobs have the name of a new job, too."""
    for other in jobs:
        if name is not None and other["name"] == name and other["id"] != job:
            output.note(f"the name {name} is that of job {other['id']} too, which is {other['state']}")
