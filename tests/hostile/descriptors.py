"""More clients than the agent may have files open: those who are in go on, and nothing spins."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from tests.hostile.messages import request
from tests.hostile.outcome import Outcome
from tests.hostile.raw import LIMIT, Raw
from tests.hostile.target import Target

FILES = 128
SPIN = 0.2  # seconds of CPU over two seconds in which next to nothing is asked
FAULTS = {50001, -32603}
TRY = 2.0  # seconds until a client that may find no room gives up


async def use_up(path: Path, *, many: int) -> Outcome:
    outcome = Outcome(f"descriptors ({FILES})")
    under = ["sh", "-c", f'ulimit -n {FILES}; exec "$@"', "sh"]
    async with Target(path, outcome, under=under) as target:
        token = await target.token("many", "writer")
        first = await Raw.upgraded(target.agent, token)
        inside = [first, *await _crowd(target, token, many)]
        outcome.cases = many
        outcome.notes.append(f"{len(inside)} of {many + 1} clients got in; {_open(target)} files open")
        await _work(outcome, "at the limit", inside)
        silent = await _half_open(target)
        outcome.notes.append(f"and {len(silent)} who never finish their handshake; {_open(target)} files open")
        before = target.cpu()
        await asyncio.sleep(2)
        used = target.cpu() - before
        outcome.notes.append(f"CPU of the agent over 2 s at the limit: {used:.2f} s")
        outcome.require(used < SPIN, f"the agent spins: {used:.2f} s of CPU over 2 s")
        await _work(outcome, "beyond it", inside)
        for raw in inside[1 : len(inside) // 2] + silent:
            raw.drop()
        took = await _let_in(target, token)
        outcome.require(took is not None, "nobody gets in when others have left")
        outcome.notes.append(f"when half of them have left a new one gets in after {took or 0:.2f} s")
        await _work(outcome, "afterwards", [first], must=True)
        for raw in inside:
            raw.drop()
    return outcome


def _open(target: Target) -> int:
    return len(list(Path(f"/proc/{target.agent.pid}/fd").iterdir()))


async def _crowd(target: Target, token: str, many: int, limit: float = TRY) -> list[Raw]:
    """Return the connections of those who got in, each within `limit` seconds."""
    inside = []
    for _ in range(many):
        try:
            async with asyncio.timeout(limit):
                raw = await Raw.open(target.agent)
                if await raw.upgrade(target.agent, [("Authorization", f"Bearer {token}")]) == 101:
                    inside.append(raw)
                else:
                    raw.drop()
        except (OSError, TimeoutError):
            pass
    return inside


async def _half_open(target: Target) -> list[Raw]:
    return [await Raw.open(target.agent, tls=False) for _ in range(FILES)]


async def _let_in(target: Target, token: str) -> float | None:
    began = time.monotonic()
    while time.monotonic() - began < LIMIT:
        if inside := await _crowd(target, token, 1, LIMIT):
            inside[0].drop()
            return time.monotonic() - began
    return None


async def _work(outcome: Outcome, when: str, inside: list[Raw], *, must: bool = False) -> None:
    """Ask over every connection, and run a job: it runs, or is refused with an error that says why."""
    for raw in inside:
        answer = await _ask(raw, "agent.ping")
        outcome.require("result" in answer, f"{when}: a ping is answered with {answer}")
    ran, refused = 0, set()
    for _ in range(5):
        answer = await _ask(inside[0], "job.run", spec={"argv": ["true"]})
        if "result" in answer:
            answer = await _ask(inside[0], "job.wait", id=answer["result"]["job"]["id"], timeout=10)
        error = answer.get("error")
        ran += error is None
        if error:
            refused.add(f"{error['code']} {error['message']}")
            outcome.require(error["code"] not in FAULTS, f"{when}: a job is refused with {error}")
    outcome.notes.append(f"{when}: {ran} of 5 jobs ran" + (f", others were refused: {refused}" if refused else ""))
    outcome.require(ran == 5 or not must, f"{when}: {ran} of 5 jobs ran")


async def _ask(raw: Raw, method: str, **params: Any) -> dict[str, Any]:
    answer = await raw.text(json.dumps(request(method, params)))
    return answer if isinstance(answer, dict) else {"closed": answer}
