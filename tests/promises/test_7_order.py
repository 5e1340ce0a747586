"""Promise 7: created before started before exited; data after started; log.end after the last byte."""

from tests.support.wire import Wire, names


async def test_the_life_of_a_job(wire: Wire, second: Wire) -> None:
    """Each change has one event, in order, with the cause and the job as it was then."""
    await wire.ask("event.subscribe")
    job = (await second.run(argv=["sleep", "1000"], name="told", labels={"a": "b"}))["id"]
    await second.ask("job.pause", id=job)
    await second.ask("job.resume", id=job)
    await second.ask("job.update", id=job, idle_timeout="1h")
    await second.ask("job.stop", id=job)
    await second.ask("job.delete", id=job)
    events = await wire.until_event(job, "deleted")
    expected = ["created", "started", "paused", "resumed", "updated", "stopping", "exited", "stopped", "deleted"]
    assert names(events) == expected
    states = ["created", "running", "paused", "running", "running", "stopping", "exited", "exited", "exited"]
    assert [event["job"]["state"] for event in events] == states
    assert [event["by"] for event in events] == ["token:local", None, *["local"] * 7]
    assert events[4]["detail"] == "idle_timeout: 1h"
    assert events[7]["job"]["exit"]["receipt"]["proof"] in ("complete", "best_effort")
    revisions = [event["revision"] for event in events]
    assert revisions == sorted(set(revisions))
    assert all(event["job"]["labels"] == {"a": "b"} and "spec" not in event["job"] for event in events)


async def test_data_comes_after_the_start(wire: Wire, second: Wire) -> None:
    """No client gets a byte of a job before its `started`."""
    for _ in range(30):
        job = await wire.create(shell="echo x; exec sleep 1000")
        name = await second.subscribe(job)
        starting = await wire.begin("job.start", id=job)
        await second.until(name, b"x\n")
        assert (await second.ask("job.status", id=job))["state"] == "running"
        await wire.answer(starting)
        await wire.ask("job.stop", id=job, stop={"strategy": "kill"})


async def test_the_answer_comes_first(wire: Wire) -> None:
    """The answer to log.subscribe and job.run precedes their first notification, and log.end is the last."""
    job = await wire.run(shell="echo x")
    await wire.ask("job.wait", id=job["id"])
    await wire.follow(await wire.subscribe(job["id"]))
    run = await wire.ask("job.run", spec={"shell": "echo x"})
    await wire.follow(run["subscription"])
    assert wire.order[-6:] == ["answer", "log.data", "log.end"] * 2
    await wire.ask("agent.ping")
    assert wire.order[-1] == "answer"
