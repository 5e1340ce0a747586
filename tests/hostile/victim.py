"""Another user beside an attacker: starts a job and stops it, again and again, and notes how long each call takes.

``python victim.py ADDRESS CA``, the token on stdin; a line of a number begins a round of so many jobs, and it writes
their figures as JSON. An empty line ends the work.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from jobworker.client import Client, connect
from jobworker.errors import JobworkerError


class Victim:
    """Its process, seen from the attacker's."""

    def __init__(self, address: str, ca: Path, token: str) -> None:
        self._argv = [sys.executable, __file__, address, str(ca)]
        self._token = token

    async def __aenter__(self) -> "Victim":
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*self._argv, stdin=pipe, stdout=pipe, limit=1 << 24)
        await self.ask(self._token)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def ask(self, line: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n".encode())
        await self._process.stdin.drain()
        return json.loads(await self._process.stdout.readline())


async def live(client: Client, count: int) -> dict[str, Any]:
    """Return the seconds of each start and each stop, and what went wrong."""
    starts, stops, wrong = [], [], []
    for _ in range(count):
        began = time.monotonic()
        try:
            job = (await client.call("job.create", spec={"argv": ["sleep", "600"]}))["id"]
            await client.call("job.start", id=job)
            started = time.monotonic()
            ended = await client.call("job.stop", id=job)
            stopped = time.monotonic()
        except JobworkerError as error:
            wrong.append(str(error))
            continue
        starts.append(started - began)
        stops.append(stopped - started)
        if ended["exit"]["signal"] != "SIGTERM":
            wrong.append(f"a job ended with {ended['exit']}")
    return {"starts": starts, "stops": stops, "wrong": wrong}


async def main() -> None:
    loop = asyncio.get_running_loop()
    token = sys.stdin.readline().strip()
    async with connect(sys.argv[1], token=token, ca=Path(sys.argv[2])) as client:
        print("{}", flush=True)
        while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
            print(json.dumps(await live(client, int(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
