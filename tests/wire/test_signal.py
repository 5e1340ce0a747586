"""job.signal: to the whole tree or the main process, and no more."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.support.wire import Gate, Wire

# A main process and a child, each of which says that it got SIGUSR1 and goes on.
HEARS = "trap 'echo {0}' USR1; echo up; while :; do sleep 0.01; done"
TREE = f'(setsid sh -c "{HEARS.format("child")}") & {HEARS.format("main")}'


async def test_all_or_main(wire: "Wire") -> None:
    """`all` reaches the tree, also processes that left the session; `main` the main process alone."""
    run = await wire.ask("job.run", spec={"shell": TREE})
    job = run["job"]["id"]
    await wire.until(run["subscription"], b"up\nup\n")
    answer = await wire.ask("job.signal", id=job, signal="USR1", target="main")
    assert answer == {"delivered": 1}
    log = await wire.until(run["subscription"], b"main\n")
    assert b"child" not in log.stdout
    assert (await wire.ask("job.signal", id=job, signal="SIGUSR1"))["delivered"] >= 2
    await wire.until(run["subscription"], b"child\n")
    assert (await wire.ask("job.status", id=job))["state"] == "running"
    await wire.ask("job.stop", id=job, stop={"strategy": "kill"})


async def test_a_job_that_dies_of_it(wire: "Wire") -> None:
    """It has finished, not stopped; the exit has the sender of the signal."""
    job = await wire.run(argv=["sleep", "1000"])
    await wire.ask("job.signal", id=job["id"], signal="TERM")
    ended = (await wire.ask("job.wait", id=job["id"]))["exit"]
    assert (ended["signal"], ended["reason"], ended["by"]) == ("SIGTERM", "finished", "local")
    assert ended["message"] == "killed by SIGTERM, sent by local"


async def test_it_is_no_part_of_a_later_stop(wire: "Wire", gate: Callable[[], "Gate"]) -> None:
    """A job that ignored it and ends by itself has finished, with its own code and no `by`."""
    door = gate()
    run = await wire.ask("job.run", spec={"shell": f"trap '' USR1; echo up; {door.wait}; exit 4"})
    await wire.until(run["subscription"], b"up\n")
    assert await wire.ask("job.signal", id=run["job"]["id"], signal="USR1") == {"delivered": 1}
    door.open()
    ended = (await wire.ask("job.wait", id=run["job"]["id"]))["exit"]
    assert (ended["code"], ended["reason"], ended["by"]) == (4, "finished", None)


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"signal": "NO"}, -32602),
        ({"signal": ""}, -32602),
        ({"signal": 15}, -32602),
        ({}, -32602),
        ({"signal": "TERM", "target": "everyone"}, -32602),
        ({"signal": "TERM"}, 40901),
    ],
    ids=str,
)
async def test_bad_input(wire: "Wire", params: dict[str, Any], code: int) -> None:
    """What is no signal or no target is named; a job that has ended gets none."""
    job = await wire.run(shell=":")
    await wire.ask("job.wait", id=job["id"])
    error = await wire.refused("job.signal", id=job["id"], **params)
    assert error["code"] == code
    if code == -32602:
        assert error["data"]["field"] in ("signal", "target")


async def test_before_the_start(wire: "Wire") -> None:
    error = await wire.refused("job.signal", id=await wire.create(shell=":"), signal="TERM")
    assert (error["code"], error["data"]["state"]) == (40901, "created")
