"""The time limit `waiting` and the stop strategy `input`: what a job that waits for its input gets."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.wire import Gate, Wire


def limit(**options: Any) -> dict[str, Any]:
    return {"timeout_policies": [{"policy": "waiting", "options": options}]}


async def test_a_job_that_waits_too_long_is_stopped(wire: "Wire") -> None:
    """The exit has the prompt; a job that is answered in time, and one that only sleeps, go on."""
    await wire.ask("event.subscribe")
    asks = (await wire.run(shell="printf 'Sure? '; read x", stdin="pipe", **limit(limit="300ms")))["id"]
    works = (await wire.run(shell="read x; exec sleep 1000", stdin="pipe", **limit(limit=60)))["id"]
    await wire.until_event(works, "waiting")
    await wire.ask("stdin.write", id=works, data="go\n")
    await wire.until_event(asks, "stopped")
    exit_ = (await wire.ask("job.status", id=asks))["exit"]
    assert (exit_["reason"], exit_["by"]) == ("timeout", "waiting")
    assert "it waited for its input at 'Sure? '" in exit_["message"]
    assert (await wire.ask("job.status", id=works))["state"] == "running"
    await wire.ask("job.stop", id=works, stop={"strategy": "kill"})


async def test_a_job_that_is_answered(wire: "Wire", gate: "Callable[[], Gate]") -> None:
    """With the line of the limit; while a client has claimed the input, only that client answers."""
    await wire.ask("event.subscribe")
    before = gate()
    shell = f"{before.wait}; printf 'one? '; read x; echo $x; printf 'two? '; read x; echo $x"
    spec = {"shell": shell, "stdin": "pipe", **limit(limit="100ms", answer="yes")}
    run = await wire.ask("job.run", spec=spec)
    job = run["job"]["id"]
    lease = (await wire.ask("stdin.claim", id=job))["lease"]
    before.open()
    await wire.until_event(job, "waiting")
    await wire.ask("stdin.write", id=job, data="no\n", lease=lease)
    await wire.until(run["subscription"], b"two? ")
    await wire.ask("stdin.release", id=job, lease=lease)
    events = await wire.until_event(job, "answered")
    assert (events[-1]["by"], events[-1]["detail"]) == ("waiting", "4 bytes at the prompt 'two? '")
    assert (await wire.follow(run["subscription"])).stdout == b"one? no\ntwo? yes\n"


async def test_a_job_without_an_input(wire: "Wire") -> None:
    """A limit that would never be due is refused."""
    error = await wire.refused("job.create", spec={"argv": ["true"], **limit(limit=1)})
    assert (error["code"], error["data"]["field"]) == (40001, "timeout_policies")
    assert 'expected stdin "pipe", or a tty' in error["message"]


async def test_a_line_ends_a_job(wire: "Wire") -> None:
    """Also if a client has claimed its input; a job that does not obey, and one without an input, get the signals."""
    how = {"strategy": "input", "options": {"line": "exit 7", "timeout": "10s"}}
    job = (await wire.run(shell="while read x; do $x; done", stdin="pipe"))["id"]
    await wire.ask("stdin.claim", id=job)
    exit_ = (await wire.ask("job.stop", id=job, stop=how))["exit"]
    assert (exit_["code"], exit_["reason"]) == (7, "stopped")
    assert [step["action"] for step in exit_["receipt"]["steps"]] == ["asked"]
    steps = [{"signal": "TERM", "grace": "10s"}, {"signal": "KILL"}]
    how["options"] = {"timeout": "100ms", "steps": steps}
    for spec in ({"shell": "exec cat", "stdin": "pipe"}, {"shell": "exec sleep 1000"}):
        job = (await wire.run(**spec))["id"]
        exit_ = (await wire.ask("job.stop", id=job, stop=how))["exit"]
        assert (exit_["signal"], exit_["reason"]) == ("SIGTERM", "stopped")
        assert [step["action"] for step in exit_["receipt"]["steps"]] == ["asked", "signal"]
