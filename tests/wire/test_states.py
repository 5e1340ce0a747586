"""What can be done to a job in which state, and the keys that make a job unique."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.support.wire import Gate, Wire

NOBODY = ["../x", "", "x" * 100_000, "a\0b", "000000000000", "\U0001f600" * 12, "0" * 11, "s1", "ZZZZZZZZZZZZ"]


def code(answer: dict[str, Any]) -> int:
    """Return the code of an answer's error, 0 for a result."""
    return int(answer["error"]["code"]) if "error" in answer else 0


async def test_a_start_only_once(wire: "Wire") -> None:
    """A job that runs or has ended is not started again: 40901 with its state."""
    job = await wire.run(argv=["sleep", "1000"])
    error = await wire.refused("job.start", id=job["id"])
    assert (error["code"], error["data"]["state"]) == (40901, "running")
    assert (await wire.ask("job.status", id=job["id"]))["pid"] == job["pid"]
    await wire.ask("job.stop", id=job["id"])
    error = await wire.refused("job.start", id=job["id"])
    assert (error["code"], error["data"]["state"]) == (40901, "exited")


async def test_of_two_starts_one_wins(wire: "Wire", second: "Wire") -> None:
    """Two starts at once: exactly one succeeds, and the job runs once."""
    for _ in range(10):
        job = await wire.create(shell="echo $$")
        ids = [await each.begin("job.start", id=job) for each in (wire, second, wire, second)]
        codes = [code(await each.answer(number)) for each, number in zip((wire, second) * 2, ids, strict=True)]
        assert sorted(codes) == [0, 40901, 40901, 40901]
        log = await wire.follow(await wire.subscribe(job))
        assert log.stdout.split() == [str((await wire.ask("job.status", id=job))["pid"]).encode()]


async def test_only_a_running_job_is_stopped(wire: "Wire") -> None:
    """A stop of a created or ended job: 40901 with its state."""
    job = await wire.create(shell=":")
    error = await wire.refused("job.stop", id=job)
    assert (error["code"], error["data"]["state"]) == (40901, "created")
    name = await wire.subscribe(job)
    assert (await wire.refused("job.stop", id=job))["code"] == 40901, "also while somebody follows it"
    await wire.ask("job.start", id=job)
    await wire.follow(name)
    error = await wire.refused("job.stop", id=job)
    assert (error["code"], error["data"]["state"]) == (40901, "exited")


async def test_delete(wire: "Wire", gone: Callable[[int], Awaitable[bool]]) -> None:
    """A running job is deleted only with force; a deleted one is nowhere."""
    job = await wire.run(shell="echo x; exec sleep 1000")
    error = await wire.refused("job.delete", id=job["id"])
    assert (error["code"], error["data"]["state"]) == (40901, "running")
    assert await wire.ask("job.delete", id=job["id"], force=True) == {"deleted": True}
    assert await gone(job["pid"])
    for method in ("job.status", "job.delete", "job.wait", "job.start", "job.stop", "log.subscribe"):
        assert (await wire.refused(method, id=job["id"]))["code"] == 40401
    assert job["id"] not in [other["id"] for other in (await wire.ask("job.list"))["jobs"]]


@pytest.mark.parametrize("force", [False, True])
async def test_delete_what_does_not_run(wire: "Wire", force: bool) -> None:
    """A created and an ended job are deleted at once."""
    created = await wire.create(shell=":")
    ended = await wire.run(shell="echo x")
    await wire.ask("job.wait", id=ended["id"])
    for job in (created, ended["id"]):
        assert await wire.ask("job.delete", id=job, force=force) == {"deleted": True}
        assert (await wire.refused("job.status", id=job))["code"] == 40401


@pytest.mark.parametrize("started", [False, True])
async def test_delete_ends_subscriptions(wire: "Wire", second: "Wire", started: bool) -> None:
    """A deletion ends the subscriptions and the waits of others."""
    job = await wire.create(argv=["sleep", "1000"])
    if started:
        await wire.ask("job.start", id=job)
    name = await second.subscribe(job)
    waiting = await second.begin("job.wait", id=job)
    await second.ask("agent.ping")
    await wire.ask("job.delete", id=job, force=True)
    assert (await second.answer(waiting))["result"]["state"] in ("exited", "lost")
    assert (await second.follow(name)).end is not None


@pytest.mark.parametrize("job", NOBODY, ids=lambda it: ascii(it)[:20])
@pytest.mark.parametrize("method", ["job.status", "job.start", "job.stop", "job.wait", "job.delete", "log.subscribe"])
async def test_an_id_of_no_job(wire: "Wire", method: str, job: str) -> None:
    """An id of no job, whatever its text: 40401, and a small answer."""
    error = await wire.refused(method, id=job)
    assert (error["code"], error["data"]["reason"]) == (40401, "job_not_found")
    assert len(error["message"]) < 1500


async def test_wait(wire: "Wire", gate: Callable[[], "Gate"]) -> None:
    """40801 when the time passes first, which may be at once; the job at its end otherwise."""
    door = gate()
    job = await wire.run(shell=f"{door.wait}; exit 7")
    for limit in (0, "1ms", 0.05):
        error = await wire.refused("job.wait", id=job["id"], timeout=limit)
        assert (error["code"], error["data"]["reason"], error["data"]["retryable"]) == (40801, "wait_timeout", True)
    waiting = await wire.begin("job.wait", id=job["id"])
    door.open()
    assert (await wire.answer(waiting))["result"]["exit"]["code"] == 7
    assert (await wire.ask("job.wait", id=job["id"], timeout=0))["exit"]["code"] == 7


async def test_the_times_and_ids_of_a_job(wire: "Wire") -> None:
    """Created before started before exited; ids sort by creation; the revision only grows."""
    jobs = [await wire.run(shell=":") for _ in range(5)]
    ended = [await wire.ask("job.wait", id=job["id"]) for job in jobs]
    assert sorted(job["id"] for job in ended) == [job["id"] for job in ended]
    for before, job in zip(jobs, ended, strict=True):
        assert job["created_at"] < job["started_at"] <= job["exited_at"]
        assert job["revision"] >= before["revision"]


async def test_a_list_in_pages(wire: "Wire") -> None:
    """Newest first, page by page, each job once; labels and states choose."""
    jobs = [await wire.create(shell=":", labels={"page": "yes", "n": str(n)}) for n in range(5)]
    seen: list[str] = []
    cursor: dict[str, Any] = {}
    while True:
        page = await wire.ask("job.list", labels={"page": "yes"}, limit=2, **cursor)
        seen += [job["id"] for job in page["jobs"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert seen == jobs[::-1]
    await wire.ask("job.start", id=jobs[0])
    await wire.ask("job.wait", id=jobs[0])
    ended = await wire.ask("job.list", labels={"page": "yes"}, states=["exited"])
    assert [job["id"] for job in ended["jobs"]] == [jobs[0]]
    one = await wire.ask("job.list", labels={"page": "yes", "n": "3"}, owner="token:local")
    assert [job["id"] for job in one["jobs"]] == [jobs[3]]
    nobody: list[dict[str, Any]] = [{"states": []}, {"owner": "token:nobody"}, {"labels": {"' OR 1=1 --": "x"}}]
    for nothing in nobody:
        assert (await wire.ask("job.list", **nothing))["jobs"] == []


# Keys


async def test_a_key_makes_one_job(wire: "Wire") -> None:
    """The same key with the same spec is the same job, in every state; with another, 40902 and its id."""
    spec = {"shell": "exit 3", "labels": {"a": "b"}}
    job = await wire.ask("job.create", spec=spec, key="one")
    assert (await wire.ask("job.create", spec=spec, key="one"))["id"] == job["id"]
    await wire.ask("job.start", id=job["id"])
    await wire.ask("job.wait", id=job["id"])
    again = await wire.ask("job.create", spec=spec, key="one")
    assert (again["id"], again["state"]) == (job["id"], "exited")
    error = await wire.refused("job.create", spec={"shell": "exit 4"}, key="one")
    assert (error["code"], error["data"]["reason"], error["data"]["job"]) == (40902, "key_conflict", job["id"])
    assert (await wire.ask("job.create", spec=spec, key="two"))["id"] != job["id"]
    assert (await wire.ask("job.create", spec=spec))["id"] != job["id"]


async def test_a_key_is_free_after_the_deletion(wire: "Wire") -> None:
    """The key of a deleted job makes a new one."""
    job = await wire.ask("job.create", spec={"shell": ":"}, key="again")
    await wire.ask("job.delete", id=job["id"])
    assert (await wire.ask("job.create", spec={"shell": ": other"}, key="again"))["id"] != job["id"]


async def test_creates_at_once_with_one_key(wire: "Wire", second: "Wire") -> None:
    """However many, they all get the one job."""
    everyone = [wire, second] * 5
    ids = [await each.begin("job.create", spec={"shell": ":"}, key="crowd") for each in everyone]
    answers = [await each.answer(number) for each, number in zip(everyone, ids, strict=True)]
    assert len({answer["result"]["id"] for answer in answers}) == 1


async def test_run_with_the_key_of_a_created_job(wire: "Wire") -> None:
    """It is started and followed from byte 0."""
    spec = {"shell": "echo hello"}
    job = await wire.ask("job.create", spec=spec, key="created")
    run = await wire.ask("job.run", spec=spec, key="created")
    assert run["job"]["id"] == job["id"]
    assert (await wire.follow(run["subscription"])).stdout == b"hello\n"


async def test_run_with_the_key_of_a_running_or_ended_job(wire: "Wire", gate: Callable[[], "Gate"]) -> None:
    """It is only followed, from byte 0, and does not run twice."""
    door = gate()
    spec = {"shell": f"echo $$; {door.wait}; echo end"}
    first = await wire.ask("job.run", spec=spec, key="running")
    await wire.until(first["subscription"], b"\n")
    while_it_runs = await wire.ask("job.run", spec=spec, key="running")
    door.open()
    logs = [await wire.follow(first["subscription"]), await wire.follow(while_it_runs["subscription"])]
    afterwards = await wire.ask("job.run", spec=spec, key="running")
    logs.append(await wire.follow(afterwards["subscription"]))
    assert {run["job"]["id"] for run in (first, while_it_runs, afterwards)} == {first["job"]["id"]}
    assert {log.stdout for log in logs} == {f"{first['job']['pid']}\nend\n".encode()}


async def test_runs_at_once_with_one_key(wire: "Wire", second: "Wire") -> None:
    """One call starts the job, the others follow it: none is refused, and the job runs once."""
    for number in range(5):
        spec = {"shell": "echo $$"}
        ids = [await each.begin("job.run", spec=spec, key=f"race{number}") for each in (wire, second)]
        answers = [await each.answer(id_) for each, id_ in zip((wire, second), ids, strict=True)]
        assert [code(answer) for answer in answers] == [0, 0], answers
        runs = [answer["result"] for answer in answers]
        assert runs[0]["job"]["id"] == runs[1]["job"]["id"]
        logs = [await wire.follow(runs[0]["subscription"]), await second.follow(runs[1]["subscription"])]
        assert logs[0].stdout == logs[1].stdout
        assert len(logs[0].stdout.split()) == 1


async def test_many_jobs_at_once(wire: "Wire") -> None:
    """Fifty jobs that start at once each write their own word and end with their own code."""
    ids = [await wire.begin("job.run", spec={"shell": f"echo {n}; exit {n}"}) for n in range(50)]
    runs = [(await wire.answer(number))["result"] for number in ids]
    for number, run in enumerate(runs):
        log = await wire.follow(run["subscription"])
        assert log.end is not None
        assert (log.stdout, log.end["exit"]["code"]) == (f"{number}\n".encode(), number)
    await asyncio.gather(*(wire.begin("agent.ping") for _ in range(3)))
