"""`spec.tty` and `job.resize`, as a caller has them."""

import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.support.wire import Dial, Wire

    from jobworker.testing.agent import RunningAgent


async def test_true_is_the_usual_terminal(wire: "Wire") -> None:
    """24 lines of 80 columns, `TERM` as most programs know it; the output is one stream."""
    run = await wire.ask("job.run", spec={"shell": "stty size; echo $TERM; echo err >&2; tty", "tty": True})
    log = await wire.follow(run["subscription"])
    lines = log.stdout.decode().split("\r\n")
    assert lines[:3] == ["24 80", "xterm-256color", "err"]
    assert lines[3].startswith("/dev/pts/")
    assert run["job"]["spec"]["tty"] is True


async def test_a_terminal_as_asked_for(wire: "Wire") -> None:
    """Size and `TERM` of the spec; a `TERM` in its environment is the stronger one."""
    tty = {"rows": 65535, "cols": 1, "term": "vt100"}
    for env, term in (({}, "vt100"), ({"TERM": "dumb"}, "dumb")):
        run = await wire.ask("job.run", spec={"shell": "stty size; echo $TERM", "tty": tty, "env": env})
        assert (await wire.follow(run["subscription"])).stdout.decode() == f"65535 1\r\n{term}\r\n"
        assert run["job"]["spec"]["tty"] == tty


@pytest.mark.parametrize(
    ("tty", "field", "expected"),
    [
        ({"rows": 0}, "tty.rows", "1"),
        ({"cols": 65536}, "tty.cols", "65535"),
        ({"term": "a b"}, "tty.term", "expected"),
        ({"term": ""}, "tty.term", "expected"),
    ],
    ids=str,
)
async def test_terminals_that_cannot_be(wire: "Wire", tty: Any, field: str, expected: str) -> None:
    """40001 with the field, and what was expected."""
    error = await wire.refused("job.create", spec={"shell": ":", "tty": tty})
    assert (error["code"], error["data"]["field"]) == (40001, field)
    assert expected in error["message"]


async def test_resize(wire: "Wire") -> None:
    """The job gets SIGWINCH and sees the new size."""
    script = "trap 'stty size; exit 3' WINCH; echo up; while :; do sleep 0.01; done"
    run = await wire.ask("job.run", spec={"shell": script, "tty": True})
    await wire.until(run["subscription"], b"up")
    size = {"rows": 50, "cols": 132}
    assert await wire.ask("job.resize", id=run["job"]["id"], **size) == size
    assert (await wire.follow(run["subscription"])).stdout == b"up\r\n50 132\r\n"
    error = await wire.refused("job.resize", id=run["job"]["id"], **size)
    assert (error["code"], error["data"]["state"]) == (40901, "exited")


@pytest.mark.parametrize("size", [{"rows": 0, "cols": 1}, {"rows": 1, "cols": 65536}, {"rows": 1}], ids=str)
async def test_sizes_that_cannot_be(wire: "Wire", size: dict[str, int]) -> None:
    """Refused as params, before the job is looked for."""
    error = await wire.refused("job.resize", id="a1", **size)
    assert error["code"] == -32602
    assert error["data"]["field"] in ("rows", "cols")


async def test_a_job_without_a_terminal_has_no_size(wire: "Wire") -> None:
    """40901, with what to do."""
    job = await wire.run(argv=["sleep", "1000"])
    error = await wire.refused("job.resize", id=job["id"], rows=1, cols=1)
    assert error["code"] == 40901
    assert "tty" in error["data"]["hint"]
    await wire.ask("job.stop", id=job["id"])


async def test_a_stop_ends_it(wire: "Wire") -> None:
    """The stop of a job with a terminal leaves nothing, jobs in the background of its shell included."""
    script = "set -m; sleep 1000 & setsid sleep 1000 & echo up; wait"
    run = await wire.ask("job.run", spec={"shell": script, "tty": True})
    await wire.until(run["subscription"], b"up")
    stopped = await wire.ask("job.stop", id=run["job"]["id"])
    assert stopped["state"] == "exited"
    assert not stopped["exit"]["receipt"]["survivors"]
    await wire.follow(run["subscription"])


async def test_in_a_namespace(wire: "Wire") -> None:
    """A job in a pid namespace has its terminal as any other."""
    if not (await wire.ask("agent.info"))["capabilities"]["namespace"]:
        pytest.skip("this host gives jobs no pid namespace")
    spec = {"shell": "stty size; tty; test -t 0 && exit 5", "tty": True, "pid_namespace": True}
    run = await wire.ask("job.run", spec=spec)
    assert (await wire.follow(run["subscription"])).stdout.startswith(b"24 80\r\n/dev/pts/")
    assert (await wire.ask("job.status", id=run["job"]["id"]))["exit"]["code"] == 5


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a job as another user")
async def test_the_terminal_belongs_to_the_user(wire: "Wire") -> None:
    """Another user can open it by its name, as after a login."""
    script = "stat -c %u $(tty); id -u; echo named > $(tty); sh -c 'echo tty > /dev/tty'"
    run = await wire.ask("job.run", spec={"shell": script, "tty": True, "user": 65534})
    assert (await wire.follow(run["subscription"])).stdout == b"65534\r\n65534\r\nnamed\r\ntty\r\n"


async def test_it_outlives_the_agent(start_agent: Any, dial: "Dial", gate: Any) -> None:
    """A job with a terminal runs on under the keeper, and the next agent changes its size."""
    agent: RunningAgent = start_agent()
    go = gate()
    async with dial(agent) as wire:
        run = await wire.ask(
            "job.run", spec={"shell": f"trap 'echo hup' HUP; echo a; {go.wait}; stty size", "tty": True}
        )
        await wire.until(run["subscription"], b"a")
    agent.kill()
    agent.start()
    async with dial(agent) as wire:
        await wire.ask("job.resize", id=run["job"]["id"], rows=7, cols=8)
        subscription = await wire.subscribe(run["job"]["id"], offset=0, follow=True)
        go.open()
        assert (await wire.follow(subscription)).stdout == b"a\r\n7 8\r\n"


async def test_typing(wire: "Wire") -> None:
    """stdin.write types, stdin.close types the end-of-file character; a spec with `tty` needs no `stdin`."""
    run = await wire.ask("job.run", spec={"shell": "echo up; cat; echo over", "tty": True})
    job = run["job"]["id"]
    await wire.until(run["subscription"], b"up")
    assert await wire.ask("stdin.write", id=job, data="grüße\n", offset=0) == {"accepted": 8, "offset": 8}
    await wire.until(run["subscription"], "grüße\r\ngrüße\r\n".encode())
    assert await wire.ask("stdin.write", id=job, data="grüße\n", offset=0) == {"accepted": 8, "offset": 8}
    await wire.ask("stdin.close", id=job)
    log = await wire.follow(run["subscription"])
    assert log.stdout.decode() == "up\r\n" + "grüße\r\n" * 2 + "over\r\n"
    assert (await wire.refused("stdin.write", id=job, data="x"))["code"] == 41001


async def test_typing_goes_on_after_the_agent(start_agent: Any, dial: "Dial") -> None:
    """What is typed again after a kill -9 of the agent is typed once."""
    agent: RunningAgent = start_agent()
    async with dial(agent) as wire:
        spec = {"shell": "stty -echo; echo up; cat", "tty": True, "stdin": "pipe"}
        run = await wire.ask("job.run", spec=spec)
        job = run["job"]["id"]
        await wire.until(run["subscription"], b"up")
        await wire.ask("stdin.write", id=job, data="one\n", offset=0)
    agent.kill()
    agent.start()
    async with dial(agent) as wire:
        await wire.ask("stdin.write", id=job, data="one\ntwo\n", offset=0)
        await wire.ask("stdin.close", id=job)
        log = await wire.follow(await wire.subscribe(job, offset=0, follow=True))
        assert log.stdout == b"up\r\none\r\ntwo\r\n"
