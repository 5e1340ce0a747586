"""Print how long the first look at a terminal takes after a long history, and what its viewers cost.

``python tests/benchmarks/screens.py [MEGABYTES] [VIEWERS]``: three kinds of history, each beside the time of reading
all of it; then viewers of ten sizes on one terminal, and the memory of the agent for each.
"""

import asyncio
import os
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.fixtures import Agent, running_agent

from jobworker.client import Client
from jobworker.model import JobSpec, LogSpec, TtySpec

# What a job writes again and again, as formats of Python.
HISTORIES = {
    "lines": r"'{n}: a line of a build, with some words in it\r\n'",
    "colours": r"'\x1b[1;32mok\x1b[0m  \x1b[33m{n}\x1b[0m words in \x1b[36mcolours\x1b[0m\r\n'",
    "full screen": r"'\x1b[{n};10H\x1b[7mrow\x1b[m {n} \x1b[K'",
}
WRITER = """
import os, sys
os.system("stty -opost -echo")
block = "".join({form}.replace("{{n}}", str(n % 24 + 1)) for n in range(2000)).encode()
left = {size}
while left > 0:
    left -= os.write(1, block)
os.write(1, b"over")
sys.stdin.readline()
"""


async def history(client: Client, form: str, size: int) -> str:
    """Return a job whose terminal has shown so many bytes, and which waits for a line now."""
    script = WRITER.format(form=form, size=size)
    spec = JobSpec(argv=[sys.executable, "-c", script], tty=TtySpec(), log=LogSpec(max_bytes="4GiB"))
    job = (await client.start((await client.create(spec)).id)).id
    async for chunk in await client.subscribe(job):
        if chunk.offset >= size - (1 << 20) and chunk.data.endswith(b"over"):
            break
    return job


async def read_all(client: Client, job: str) -> int:
    """Read the whole log, as a viewer without a screen must, without a terminal that draws it."""
    offset = (await client.status(job)).log.bytes
    async for chunk in await client.subscribe(job, follow=False):
        offset -= len(chunk.data)
    return offset


async def join_times(agent: Agent, client: Client, size: int) -> None:
    for name, form in HISTORIES.items():
        job = await history(client, form, size)
        times, used = [], []
        for call in (client.screen(job, ansi=True), client.screen(job, ansi=True), read_all(client, job)):
            started, before = time.perf_counter(), cpu_seconds(agent.pid)
            await call
            times.append(time.perf_counter() - started)
            used.append(cpu_seconds(agent.pid) - before)
        first, again, whole = times
        print(
            f"{size / 1e6:g} MB of {name}: screen {first:.2f} s ({used[0]:.2f} s CPU), again {again:.3f} s; ", end=""
        )
        print(f"to send all of it {whole:.2f} s", flush=True)
        await client.delete(job, force=True)


async def viewers(agent: Agent, client: Client, count: int) -> None:
    """Open connections that follow one terminal and read its screen; their own sizes change nothing."""
    job = await history(client, HISTORIES["colours"], 1 << 20)
    await client.screen(job)
    before = memory(agent.pid)
    async with AsyncExitStack() as stack:
        watching = []
        for _ in range(count):
            viewer = await stack.enter_async_context(agent.client())
            screen = await viewer.screen(job, ansi=True)
            await viewer.subscribe(job, screen.offset)
            watching.append(viewer)
        after = memory(agent.pid)
        for number, (rows, cols) in enumerate([(10 + 5 * n, 40 + 20 * n) for n in range(10)]):
            await client.call("job.resize", id=job, rows=rows, cols=cols)
            screens = await asyncio.gather(*(viewer.screen(job) for viewer in watching[number::10]))
            assert {(screen.rows, screen.cols) for screen in screens} == {(rows, cols)}
        grown = memory(agent.pid)
    print(
        f"{count} viewers, with screen and subscription: {(after - before) / count:.0f} KiB of the agent each, ",
        end="",
    )
    print(
        f"{(grown - before) / count:.0f} after each has read it in one of 10 sizes; of a connection alone, ", end=""
    )
    print(f"{await connections(agent, count):.0f}")
    await client.delete(job, force=True)


async def connections(agent: Agent, count: int) -> float:
    """Return the memory of a connection that does nothing, in KiB."""
    before = memory(agent.pid)
    async with AsyncExitStack() as stack:
        for _ in range(count):
            await stack.enter_async_context(agent.client())
        return (memory(agent.pid) - before) / count


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> int:
    """Return the private memory of a process in KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private"))


async def main(megabytes: int, count: int) -> None:
    async with running_agent() as agent, agent.client() as client:
        await join_times(agent, client, megabytes * 1_000_000)
    async with running_agent() as agent, agent.client() as client:
        await viewers(agent, client, count)


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    asyncio.run(main(*(numbers + [100, 200][len(numbers) :])))
