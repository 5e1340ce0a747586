"""Bad logins by the thousand, from one address and from many, while a good user works from another."""

import asyncio
from collections import Counter
from pathlib import Path

from tests.hostile.corpus import told
from tests.hostile.outcome import Outcome
from tests.hostile.raw import Raw
from tests.hostile.target import Good, Target

AT_ONCE = 16


async def guess(path: Path, *, many: int) -> Outcome:
    outcome = Outcome("logins")
    async with Target(path, outcome) as target:
        memory = {}
        statuses: dict[str, Counter[int]] = {}
        async with Good(target) as good:
            await good.lap("alone")
            await asyncio.sleep(min(5, many / 200))
            before = target.private_bytes()
            for name, addresses in (("from one address", 1), ("from fifty", 50)):
                await good.lap(name)
                statuses[name] = await _flood(target, many, addresses)
                memory[name] = target.private_bytes() - before
    for name, lap in good.laps.items():
        outcome.notes.append(f"the good user, {name}: pings {told(lap.pings)}; jobs {told(lap.jobs)}")
        outcome.notes.append(f"  {len(lap.logins)} logins {told(lap.logins)}")
    for name, found in statuses.items():
        outcome.notes.append(
            f"bad logins {name}: {dict(sorted(found.items()))}; memory of the agent {memory[name] / 1e6:+.1f} MB"
        )
        outcome.require(set(found) <= {401, 429}, f"bad logins {name} were answered with {dict(found)}")
    return outcome


async def _flood(target: Target, many: int, addresses: int) -> Counter[int]:
    """Return how often each status was the answer to a login with another bad token."""
    statuses: Counter[int] = Counter()
    numbers = iter(range(many))

    async def one_after_the_other() -> None:
        for number in numbers:
            token = f"jw1_{target.agent.pid}G{number:038}"
            target.secrets.add(token)
            raw = await Raw.open(target.agent, source=(f"127.0.0.{2 + number % addresses}", 0))
            statuses[await raw.upgrade(target.agent, [("Authorization", f"Bearer {token}")])] += 1
            raw.drop()

    await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))
    target.outcome.cases += many
    return statuses
