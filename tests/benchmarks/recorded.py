"""What 100,000 jobs on record change: lists, the start of the agent, and a job of today."""

import sqlite3
import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import product
from typing import Any

from tests.benchmarks import results
from tests.benchmarks.figures import cpu_seconds, median_and_range, table
from tests.benchmarks.fixtures import Agent, agent_on, require, state_folder
from tests.benchmarks.starts import PROGRAM, through_api

from jobworker.client import Client
from jobworker.model import JobSpec
from jobworker.paths import Home

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
COPIES = 100_000
ROUNDS = 9
LABEL = {"rare": "yes"}
LISTS: dict[str, dict[str, Any]] = {
    "running": {"states": ["running"]},
    "owner": {"owner": "nobody"},
    "label": {"labels": LABEL},
    "newest": {"limit": 1},
}


async def measure() -> None:
    with state_folder() as few, state_folder() as many:
        await fill(few, many)
        async with agent_on(few) as small, agent_on(many) as large:
            starts = [cpu_seconds(small.pids["agent"]), cpu_seconds(large.pids["agent"])]
            async with small.client() as small_client, large.client() as large_client:
                rows = await _lists(small_client, large_client)
                rows.append(await _compare("a job", small, large, through_api))
    title = f"With {COPIES:,} jobs on record, beside an agent with 1, in ms"
    table(title, [["", "with 1", "with many", "ratio"], *rows])
    table("CPU of the start", [["", "s"], ["with 1", f"{starts[0]:.2f}"], [f"with {COPIES:,}", f"{starts[1]:.2f}"]])


async def fill(few: Home, many: Home, config: str = "") -> None:
    """Put one job on record in both state folders, and copies of it in the second one."""
    for home in (few, many):
        home.config.write_text(f"[retention]\njobs = 0\nbytes = 0\n{config}")
        async with agent_on(home) as agent, agent.client() as client:
            job = await client.create(JobSpec(argv=[PROGRAM]))
            await client.start(job.id)
            await client.wait(job.id)
    require(copy_record(many, COPIES) == COPIES, "the records were not copied")


async def _lists(small: Client, large: Client) -> list[list[str]]:
    rows = []
    for name, query in LISTS.items():
        call = partial(list_once, query)
        rows.append(await _rounds(f"list {name}", partial(call, small), partial(call, large)))
    return rows


async def list_once(query: dict[str, Any], client: Client) -> None:
    await client.call("job.list", **query)


async def _compare(name: str, small: Agent, large: Agent, call: Callable[[Client], Awaitable[object]]) -> list[str]:
    async with small.client() as small_client, large.client() as large_client:
        return await _rounds(name, lambda: call(small_client), lambda: call(large_client))


async def _rounds(
    name: str, few: Callable[[], Awaitable[object]], many: Callable[[], Awaitable[object]]
) -> list[str]:
    """Call one, then the other, again and again; return a row of the table."""
    with_few: list[float] = []
    with_many: list[float] = []
    for _ in range(ROUNDS):
        for call, values in ((few, with_few), (many, with_many)):
            began = time.perf_counter()
            await call()
            values.append(1000 * (time.perf_counter() - began))
    ratio = results.keep(f"recorded: {name}, times that with 1 on record", with_many, with_few)
    return [name, median_and_range(with_few, 1), median_and_range(with_many, 1), ratio]


def copy_record(home: Home, count: int) -> int:
    """Copy the only record of a table under `count` other ids, all older; return how many there are then."""
    ids = ("".join(("0", "0", *text)) + "00000" for text in product(ALPHABET, repeat=5))
    with sqlite3.connect(home.database) as db:
        columns = [row[1] for row in db.execute("PRAGMA table_info(jobs)")]
        row = dict(zip(columns, db.execute("SELECT * FROM jobs").fetchone(), strict=True))
        old = row["id"]
        marks = ", ".join("?" * len(columns))
        rows = (
            [*(row | {"id": new, "key": None, "record": row["record"].replace(old, new)}).values()] for new in ids
        )
        db.executemany(f"INSERT INTO jobs VALUES ({marks})", (next(rows) for _ in range(count)))
        found = db.execute("SELECT count(*) FROM jobs").fetchone()[0] - 1
    db.close()
    return int(found)
