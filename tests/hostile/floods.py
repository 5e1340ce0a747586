"""What one writer can make the agent hold: unread answers and events, large calls under way, large specs.

Each part has an agent of its own, and measures its memory and the longest pause of its loop.
"""

import json
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from tests.hostile.messages import request
from tests.hostile.outcome import Outcome
from tests.hostile.raw import TEXT, Raw, frame
from tests.hostile.target import Target

MIB = 1 << 20
LARGE = "x" * 1_000_000  # fits into a message with the rest of a call
LABELS = {f"{n:02}" + "l" * 126: "\U0001f600" * 1000 for n in range(60)}  # 240 kB in UTF-8
STEADY = 5  # readings of the memory in a row that grow no more
STUBBORN = "trap '' TERM; echo ready; while :; do sleep 1; done"


def call(method: str, id_: Any = 1, **params: Any) -> bytes:
    return frame(TEXT, json.dumps(request(method, params, id_), ensure_ascii=False).encode())


async def ask(raw: Raw, method: str, **params: Any) -> Any:
    """Return the answer; notifications are passed over."""
    await raw.say(call(method, **params))
    return await raw.answer()


async def settled(target: Target, raw: Raw) -> int:
    """Return the memory of the agent once it grows no more."""
    most, steady = 0, 0
    while steady < STEADY:
        for _ in range(20):
            await ask(raw, "agent.ping")
        now = target.private_bytes()
        steady = steady + 1 if now <= most + MIB // 4 else 0
        most = max(most, now)
    return most


async def measured(
    outcome: Outcome, target: Target, flood: Callable[[str, Raw], Awaitable[Sequence[Raw]]], most_mib: float
) -> None:
    """Have `flood` make its connections, with the token of a writer; another user looks on."""
    token, other = await target.token("attacker", "writer"), await target.token("other", "writer")
    victim = await Raw.upgraded(target.agent, other)
    before = await settled(target, victim)
    connections = await flood(token, victim)
    grown = (await settled(target, victim) - before) / MIB
    began = time.monotonic()
    answer = await ask(victim, "job.run", spec={"argv": ["true"]})
    took = time.monotonic() - began
    outcome.require("result" in answer, f"another user's job is refused: {answer}")
    outcome.notes.append(
        f"memory grew by {grown:.0f} MiB; longest pause {target.pause() * 1000:.0f} ms;"
        f" another's job.run {took * 1000:.0f} ms"
    )
    outcome.require(grown < most_mib, f"memory grew by {grown:.0f} MiB; expected less than {most_mib:g}")
    for raw in [*connections, victim]:
        raw.drop()


async def unread_events(path: Path, *, connections: int = 4, each: int = 50, changes: int = 100) -> Outcome:
    """Events with large labels, to subscriptions that nobody reads."""
    outcome = Outcome("events")
    async with Target(path, outcome) as target:

        async def flood(token: str, victim: Raw) -> list[Raw]:
            raw = await Raw.upgraded(target.agent, token)
            created = await ask(raw, "job.create", spec={"argv": ["true"], "labels": LABELS})
            for number in range(changes):
                await ask(raw, "job.update", id=created["result"]["id"], labels=LABELS | {"n": str(number)})
            unread = []
            for _ in range(connections):
                unread.append(await Raw.upgraded(target.agent, token))
                for number in range(each):
                    await unread[-1].say(call("event.subscribe", number, **{"from": 0}))
                    outcome.cases += 1
            return [raw, *unread]

        await measured(outcome, target, flood, 16 * connections)
    return outcome


async def unread_answers(path: Path, method: str, *, connections: int = 4, each: int = 64) -> Outcome:
    """Calls whose answers have a megabyte each, on connections that nobody reads."""
    outcome = Outcome(f"unread {method}")
    async with Target(path, outcome) as target:

        async def flood(token: str, victim: Raw) -> list[Raw]:
            raw = await Raw.upgraded(target.agent, token)
            jobs = []
            for number in range(10):
                answer = await ask(raw, "job.run", spec={"argv": ["true"], "env": {"X": f"{number}{LARGE}"}})
                if "error" in answer:  # more than execve takes: it is on record all the same
                    answer = {"result": {"job": {"id": answer["error"]["data"]["job"]}}}
                jobs.append(answer["result"]["job"]["id"])
            unread = [await Raw.upgraded(target.agent, token) for _ in range(connections)]
            for one in unread:
                params: dict[str, Any] = {}
                for number in range(each):
                    params = {} if method == "job.list" else {"id": jobs[number % len(jobs)]}
                    await one.say(call(method, number, **params))
                    outcome.cases += 1
            return [raw, *unread]

        await measured(outcome, target, flood, 10 * connections)
    return outcome


async def large_batch(path: Path, *, jobs: int = 4) -> Outcome:
    """A batch of lists, each of which has a megabyte."""
    outcome = Outcome("batch")
    async with Target(path, outcome) as target:

        async def flood(token: str, victim: Raw) -> list[Raw]:
            raw = await Raw.upgraded(target.agent, token)
            for _ in range(jobs):
                await ask(raw, "job.create", spec={"argv": ["true"], "env": {"X": LARGE[: MIB // jobs]}})
            batch = json.dumps([request("job.list", {}, number) for number in range(50)])
            began = time.monotonic()
            await raw.say(frame(TEXT, batch.encode()))
            heard = await raw.hear()
            outcome.cases += 50
            size = len(heard[1]) if heard else 0
            outcome.notes.append(f"a batch of 50: {size / MIB:.1f} MiB in {time.monotonic() - began:.2f} s")
            outcome.require(0 < size < 5 * MIB, f"the answer to a batch has {size} bytes")
            return [raw]

        await measured(outcome, target, flood, 16)
    return outcome


async def stop_options(path: Path, *, connections: int = 4, each: int = 64) -> Outcome:
    """Stops with large options that wait for a job which does not end."""
    outcome = Outcome("stop options")
    async with Target(path, outcome) as target:

        async def flood(token: str, victim: Raw) -> list[Raw]:
            raw = await Raw.upgraded(target.agent, token)
            run = await ask(raw, "job.run", spec={"shell": STUBBORN, "stop": {"grace": "20s"}})
            while b"ready" not in (await raw.hear() or (0, b"ready"))[1]:
                pass
            steps = [{"signal": "USR1" if n else "TERM", "grace": 20} for n in range(2)] + [{"signal": "KILL"}]
            options = {"argv": ["true", LARGE[:850_000]], "steps": steps}
            unread = [await Raw.upgraded(target.agent, token) for _ in range(connections)]
            for one in unread:
                for number in range(each):
                    stop = {"strategy": "command", "options": options}
                    await one.say(call("job.stop", number, id=run["result"]["job"]["id"], stop=stop))
                    outcome.cases += 1
            return [raw, *unread]

        await measured(outcome, target, flood, 12 * connections)
    return outcome


async def large_specs(path: Path, *, many: int = 300) -> Outcome:
    """Specs of a megabyte of jobs that never start, and lists that walk over all of them and find nothing."""
    outcome = Outcome("specs")
    async with Target(path, outcome) as target:

        async def flood(token: str, victim: Raw) -> list[Raw]:
            raw = await Raw.upgraded(target.agent, token)
            refused = None
            spec = {"argv": ["true"], "env": {"X": LARGE}, "labels": {"a": "1"}}
            for _ in range(many):
                answer = await ask(raw, "job.create", spec=spec)
                outcome.cases += 1
                if "error" in answer:
                    refused = answer["error"]["message"]
                    break
            outcome.notes.append(f"{outcome.cases} specs of 1 MB until: {refused}")
            for number in range(20):
                await raw.say(call("job.list", number, owner="token:nobody", states=["created"]))
            slowest = 0.0
            for _ in range(20):
                began = time.monotonic()
                await ask(victim, "job.create", spec={"argv": ["true"]})
                slowest = max(slowest, time.monotonic() - began)
            outcome.notes.append(f"another's job.create beside lists over them: at most {slowest * 1000:.0f} ms")
            return [raw]

        await measured(outcome, target, flood, 24)
        disk = sum(file.stat().st_size for file in target.agent.home.path.glob("jobs.db*"))
        outcome.notes.append(f"the job table has {disk / MIB:.0f} MiB")
        outcome.require(disk < 200 * MIB, f"the job table has {disk / MIB:.0f} MiB")
    return outcome


async def many_policies(path: Path, *, many: int = 4900) -> Outcome:
    """Jobs with thousands of time limits."""
    outcome = Outcome("policies")
    async with Target(path, outcome) as target:

        async def flood(token: str, victim: Raw) -> list[Raw]:
            raw = await Raw.upgraded(target.agent, token)
            policies = [{"policy": "idle", "options": {"limit": 1000 + n}} for n in range(many)]
            for _ in range(3):
                answer = await ask(raw, "job.run", spec={"argv": ["sleep", "1000"], "timeout_policies": policies})
                outcome.cases += 1
            outcome.notes.append(f"a job with {many} policies: {str(answer)[:160]}")
            return [raw]

        await measured(outcome, target, flood, 24)
    return outcome
