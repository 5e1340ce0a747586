"""stdin.claim and stdin.release: any number may watch a job, one writes, and an old lease never comes back."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.conftest import FOR_OTHERS, RunningAgent

from jobworker.host.spool import BOUND

if TYPE_CHECKING:
    from tests.support.wire import Dial, Wire


async def start(wire: "Wire", **spec: Any) -> tuple[str, str]:
    run = await wire.ask("job.run", spec={"shell": "stty -echo; echo up; cat", "tty": True, **spec})
    await wire.until(run["subscription"], b"up")
    return run["job"]["id"], run["subscription"]


async def refused(wire: "Wire", method: str, **params: Any) -> dict[str, Any]:
    """Return the error of a call that only the writer may make."""
    error = await wire.refused(method, **params)
    assert (error["code"], error["data"]["reason"]) == (40903, "not_the_writer")
    return error


async def test_one_writes(wire: "Wire", second: "Wire") -> None:
    """Without a claim anybody with control writes; with one, its lease alone; after its release, anybody again."""
    job, subscription = await start(wire)
    await second.ask("stdin.write", id=job, data="a\n")
    claim = await wire.ask("stdin.claim", id=job)
    assert claim["offset"] == 2
    status = await second.ask("job.status", id=job)
    assert status["writer"]["by"] == "local"
    error = await refused(second, "stdin.write", id=job, data="never\n")
    assert (error["data"]["writer"], "steal" in error["data"]["hint"]) == ("local", True)
    await refused(second, "stdin.write", id=job, data="never\n", lease=claim["lease"] - 1)
    await refused(second, "stdin.close", id=job)
    await refused(second, "stdin.claim", id=job)
    await refused(second, "job.resize", id=job, rows=1, cols=1)
    await wire.ask("stdin.write", id=job, data="b\n", lease=claim["lease"])
    await wire.ask("job.resize", id=job, rows=9, cols=9, lease=claim["lease"])
    assert await wire.ask("stdin.release", id=job, lease=claim["lease"]) == {"released": True}
    await refused(wire, "stdin.release", id=job, lease=claim["lease"])
    await refused(wire, "stdin.write", id=job, data="never\n", lease=claim["lease"])
    assert (await second.ask("job.status", id=job))["writer"] is None
    await second.ask("stdin.write", id=job, data="c\n")
    await second.ask("stdin.close", id=job)
    assert (await wire.follow(subscription)).stdout == b"up\r\na\r\nb\r\nc\r\n"


async def test_a_stale_writer_cannot_come_back(wire: "Wire", second: "Wire") -> None:
    """A thousand keys of the one whose input was taken over: not one arrives, also between two takeovers."""
    job, subscription = await start(wire)
    leases = [(await wire.ask("stdin.claim", id=job))["lease"]]
    for _ in range(3):
        leases.append((await second.ask("stdin.claim", id=job, steal=True))["lease"])
        leases.append((await wire.ask("stdin.claim", id=job, steal=True))["lease"])
    assert leases == sorted(set(leases))
    numbers = [await second.begin("stdin.write", id=job, data="never\n", lease=lease) for lease in leases[:-1] * 170]
    await wire.ask("stdin.write", id=job, data="mine\n", lease=leases[-1])
    codes = {(await second.answer(number)).get("error", {}).get("code") for number in numbers}
    assert codes == {40903}
    await wire.ask("stdin.close", id=job, lease=leases[-1])
    assert (await wire.follow(subscription)).stdout == b"up\r\nmine\r\n"


async def test_two_claims_at_once(wire: "Wire", second: "Wire") -> None:
    """One of them gets it."""
    job, _ = await start(wire)
    numbers = [(each, await each.begin("stdin.claim", id=job)) for each in (wire, second) for _ in range(5)]
    answers = [await each.answer(number) for each, number in numbers]
    assert sum("result" in answer for answer in answers) == 1
    assert {answer["error"]["code"] for answer in answers if "error" in answer} == {40903}
    await wire.ask("job.stop", id=job, stop={"strategy": "kill"})


async def test_a_waiting_write_is_taken_over(wire: "Wire", second: "Wire") -> None:
    """A write that waits for the job to read ends when another client takes its place; the rest is not written."""
    run = await wire.ask("job.run", spec={"shell": "sleep 600", "stdin": "pipe"})
    job = run["job"]["id"]
    lease = (await wire.ask("stdin.claim", id=job))["lease"]
    piece = "x" * (512 << 10)
    for _ in range(BOUND // len(piece)):
        await wire.ask("stdin.write", id=job, data=piece, lease=lease)
    numbers = [await wire.begin("stdin.write", id=job, data=piece, lease=lease) for _ in range(2)]
    await wire.ask("agent.ping")  # both are under way
    claim = await second.ask("stdin.claim", id=job, steal=True)
    assert {(await wire.answer(number))["error"]["code"] for number in numbers} == {40903}
    assert BOUND <= claim["offset"] < BOUND + len(piece)
    await second.ask("job.stop", id=job, stop={"strategy": "kill"})


async def test_a_claim_ends_with_its_connection(wire: "Wire", shared: RunningAgent, dial: "Dial") -> None:
    """The next client needs not steal it; the events name each writer."""
    job, _ = await start(wire)
    revision = (await wire.ask("job.status", id=job))["revision"]
    async with dial(shared) as other:
        lease = (await other.ask("stdin.claim", id=job))["lease"]
    await wire.ask("event.subscribe", **{"from": revision})
    events = await wire.until_event(job, "writer")
    while len([event for event in events if event["event"] == "writer"]) < 2:
        events += await wire.until_event(job, "writer")
    await refused(wire, "stdin.write", id=job, data="never", lease=lease)
    assert (await wire.ask("stdin.claim", id=job))["lease"] > lease
    await wire.ask("job.stop", id=job, stop={"strategy": "kill"})
    assert (await wire.ask("job.status", id=job))["writer"] is None


async def test_a_claim_ends_with_the_agent(start_agent: Callable[..., RunningAgent], dial: "Dial") -> None:
    """After a kill -9 the old lease is refused, and a new one is larger."""
    agent = start_agent()
    async with dial(agent) as wire:
        job, _ = await start(wire)
        lease = (await wire.ask("stdin.claim", id=job))["lease"]
        agent.kill()
    agent.start()
    async with dial(agent) as wire:
        assert (await wire.ask("job.status", id=job))["writer"] is None
        await refused(wire, "stdin.write", id=job, data="never", lease=lease)
        assert (await wire.ask("stdin.claim", id=job))["lease"] > lease


async def test_claiming_is_control(start_agent: Callable[..., RunningAgent], dial: "Dial") -> None:
    """A reader watches; it may neither claim nor release."""
    agent = start_agent(config=FOR_OTHERS)
    async with dial(agent) as wire:
        token = (await wire.ask("token.create", name="eve", roles=["reader"]))["token"]
        job, _ = await start(wire)
        async with dial(agent, token=token) as viewer:
            assert (await viewer.refused("stdin.claim", id=job, steal=True))["code"] == 40301
            assert (await viewer.refused("stdin.release", id=job, lease=1))["code"] == 40301
            assert (await viewer.refused("job.resize", id=job, rows=1, cols=1))["code"] == 40301


async def test_a_job_without_input(wire: "Wire") -> None:
    job = await wire.run(argv=["sleep", "600"])
    assert (await wire.refused("stdin.claim", id=job["id"]))["code"] == 40901
    await wire.ask("job.stop", id=job["id"], stop={"strategy": "kill"})
    assert (await wire.refused("stdin.claim", id=job["id"]))["code"] in (40901, 41001)
