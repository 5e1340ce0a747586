"""job.explain: what happened to a job, in order, with the cause, and a summary."""

import os
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.wire import Wire


async def explained(wire: "Wire", job: str) -> tuple[str, list[dict[str, Any]]]:
    answer = await wire.ask("job.explain", id=job)
    assert answer["id"] == job
    times = [link["time"] for link in answer["chain"] if link["time"]]
    assert times == sorted(times)
    return answer["summary"], answer["chain"]


async def test_a_stop(wire: "Wire") -> None:
    """Each step of the stop is listed, with the caller and its effect."""
    run = await wire.ask("job.run", spec={"shell": "trap '' TERM; echo up; while :; do sleep 0.01; done"})
    await wire.until(run["subscription"], b"up\n")
    job = run["job"]["id"]
    summary, chain = await explained(wire, job)
    assert summary.endswith("is running.")
    assert [link["what"] for link in chain] == ["created", "started"]
    await wire.ask("job.stop", id=job, stop={"grace": "100ms"})
    summary, chain = await explained(wire, job)
    assert "stopped by local: killed by SIGKILL" in summary
    assert "Nothing of its tree is left" in summary
    what = [link["what"] for link in chain]
    assert what == ["created", "started", "SIGTERM to all", "SIGKILL to all", "exited"]
    assert [link["by"] for link in chain[2:]] == ["local"] * 3
    assert "got it" in chain[2]["detail"]


async def test_a_failure(wire: "Wire") -> None:
    """A job that ended by itself: its code, and the last lines of stderr."""
    job = await wire.run(shell="echo no >&2; for n in 1 2 3 4 5; do echo $n >&2; done; exit 4")
    await wire.ask("job.wait", id=job["id"])
    await wire.follow(await wire.subscribe(job["id"]))
    summary, chain = await explained(wire, job["id"])
    assert "exited with code 4" in summary
    assert (chain[-1]["what"], chain[-1]["detail"]) == ("last lines of stderr", "1\n2\n3\n4\n5")


async def test_a_start_that_failed(wire: "Wire") -> None:
    error = await wire.refused("job.start", id=await wire.create(argv=["/no/such"]))
    summary, chain = await explained(wire, error["data"]["job"])
    assert "was not started" in summary
    assert "No such file" in summary
    assert [link["what"] for link in chain] == ["created", "exited"]


async def test_a_time_limit(wire: "Wire") -> None:
    job = await wire.run(argv=["sleep", "60"], timeout="100ms")
    await wire.ask("job.wait", id=job["id"])
    summary, chain = await explained(wire, job["id"])
    assert "timed out after 0.1 s" in summary
    assert {link["by"] for link in chain[2:]} == {"total"}


async def test_a_signal_from_outside(wire: "Wire") -> None:
    """No caller of the agent sent it, so none is named."""
    job = await wire.run(argv=["sleep", "60"])
    os.kill(job["pid"], signal.SIGTERM)
    await wire.ask("job.wait", id=job["id"])
    summary, chain = await explained(wire, job["id"])
    assert "killed by SIGTERM, which jobworker did not send" in summary
    assert (chain[-1]["what"], chain[-1]["by"]) == ("exited", None)


async def test_created_and_unknown(wire: "Wire") -> None:
    summary, chain = await explained(wire, await wire.create(argv=["echo", "a b"]))
    assert summary == "`echo 'a b'` was created and not started."
    assert (chain[0]["by"], chain[0]["detail"]) == ("token:local", "echo 'a b'")
    assert (await wire.refused("job.explain", id="0" * 12))["code"] == 40401
