"""What metrics cost: jobs a second beside scrapes, and a scrape with 10 and with 100,000 jobs on record."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator

from tests.benchmarks import results
from tests.benchmarks.figures import cpu_seconds, median_and_range, ratio, table
from tests.benchmarks.fixtures import Agent, agent_on, require, running_agent, state_folder
from tests.benchmarks.recorded import COPIES, copy_record, fill
from tests.benchmarks.starts import in_flight, through_api

from jobworker.server.metrics import PAUSE_SECONDS

ROUNDS, JOBS, WIDTH = 5, 200, 16
FEW = 10
SCRAPES = 20
FLOOD = 8  # scrapers without a pause
EVERY = 1.0  # seconds between two scrapes: a server of Prometheus usually waits for 15


def listening() -> tuple[int, str]:
    """Return a free port, and the configuration of an agent that serves its metrics there."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = int(sock.getsockname()[1])
    return port, f'[metrics]\nlisten = "127.0.0.1:{port}"\n'


async def scrape(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
    answer = await reader.read()
    writer.close()
    require(b"jobworker_build_info" in answer, f"a scrape: {answer[:200]!r}")
    return answer


@contextlib.asynccontextmanager
async def scrapers(port: int, number: int, pause: float) -> AsyncIterator[list[int]]:
    """Scrape until the end; yield a list whose only element is how often that was done."""
    done = [0]

    async def go_on() -> None:
        while True:
            await scrape(port)
            done[0] += 1
            await asyncio.sleep(pause)

    tasks = [asyncio.create_task(go_on()) for _ in range(number)]
    try:
        yield done
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            require(isinstance(result, asyncio.CancelledError), f"a scraper ended: {result}")


async def measure() -> None:
    await beside_jobs()
    await of_many()


async def beside_jobs() -> None:
    """Jobs of a client while nobody scrapes, one server does, and a flood of scrapers does: in turn."""
    port, config = listening()
    kinds = {"nobody scrapes": (0, 0.0), "one a second": (1, EVERY), f"{FLOOD} without a pause": (FLOOD, 0.0)}
    rounds: dict[str, list[float]] = {name: [] for name in kinds}
    made = dict.fromkeys(kinds, 0)
    async with running_agent(config) as agent, agent.client() as client:
        await in_flight(WIDTH, 50, lambda: through_api(client))
        await scrape(port)
        for _ in range(ROUNDS):
            for name, (number, pause) in kinds.items():
                async with scrapers(port, number, pause) as done:
                    rounds[name].append(await in_flight(WIDTH, JOBS, lambda: through_api(client)))
                made[name] += done[0]
    plain = rounds["nobody scrapes"]
    rows = [["", "jobs/s", "ratio", "scrapes"]]
    for name, values in rounds.items():
        found = results.keep(f"scraped: jobs while {name}", values, plain)
        rows.append([name, median_and_range(values), found, str(made[name])])
    table(f"Jobs per second beside scrapes, {ROUNDS} rounds of {JOBS}, {WIDTH} in flight", rows)


async def of_many() -> None:
    """A scrape with few jobs and with many on record, in turn."""
    ports = [listening(), listening()]
    with state_folder() as few, state_folder() as many:
        await fill(few, many)
        copy_record(few, FEW - 1)
        for home, (_, config) in zip((few, many), ports, strict=True):
            home.config.write_text(home.config.read_text() + config)
        async with agent_on(few) as small, agent_on(many) as large:
            found: dict[int, tuple[list[float], list[float]]] = {}
            sizes = [len(await scrape(port)) for port, _ in ports]
            for number in range(2):
                found[number] = ([], [])
            for _ in range(SCRAPES):
                await asyncio.sleep(PAUSE_SECONDS)
                for number, agent in enumerate((small, large)):
                    for values, value in zip(found[number], await _timed(agent, ports[number][0]), strict=True):
                        values.append(value)
    rows = [["jobs on record", "ms", "CPU of the agent ms", "bytes"]]
    for number, count in enumerate((FEW, COPIES)):
        took, cpu = found[number]
        rows.append([f"{count:,}", median_and_range(took, 1), median_and_range(cpu, 1), f"{sizes[number]:,}"])
    title = f"A scrape, {SCRAPES} of each in turn, 10 ms of it a wait that shows the lag of the loop"
    table(f"{title}; with many, times that with few: {ratio(found[1][0], found[0][0])}", rows)


async def _timed(agent: Agent, port: int) -> tuple[float, float]:
    """Return the milliseconds of a scrape, and those of them that the agent computed."""
    cpu, began = cpu_seconds(agent.pids["agent"]), time.perf_counter()
    await scrape(port)
    return 1000 * (time.perf_counter() - began), 1000 * (cpu_seconds(agent.pids["agent"]) - cpu)
