"""The good user, in a process of its own: asks every millisecond, runs jobs, logs in now and then.

``python good.py ADDRESS CA``, the token on stdin; once it is in it writes a line. A line of a name begins a
new lap, an empty one ends the work: then it writes, as JSON, what each lap was like.
"""

import asyncio
import json
import ssl
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

PAUSE = 0.001  # seconds between an answer and the next ping
SLOW = 0.01  # seconds: pings that took longer are told with their moment, jobs of ten times that


@dataclass
class Lap:
    """What one stretch of time was like; `slow` are moments (CLOCK_MONOTONIC) and durations."""

    pings: list[float] = field(default_factory=list)
    jobs: list[float] = field(default_factory=list)
    logins: list[float] = field(default_factory=list)
    slow: list[tuple[float, float]] = field(default_factory=list)
    slow_jobs: list[tuple[float, float]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class GoodUser:
    def __init__(self, address: str, ca: str, token: str) -> None:
        self.laps: dict[str, Lap] = {}
        self._lap = Lap()
        self._address = address
        self._ssl = ssl.create_default_context(cafile=ca)
        self._headers = [("Authorization", f"Bearer {token}")]

    def lap(self, name: str) -> None:
        self._lap = self.laps[name] = Lap()

    def dial(self) -> connect:
        return connect(
            self._address,
            ssl=self._ssl,
            additional_headers=self._headers,
            compression=None,
            max_size=None,
            proxy=None,
        )

    async def ping(self, connection: ClientConnection) -> None:
        while True:
            lap, began = self._lap, time.monotonic()
            await ask(connection, "agent.ping")
            took = time.monotonic() - began
            lap.pings.append(took)
            if took > SLOW:
                lap.slow.append((began, took))
            await asyncio.sleep(PAUSE)

    async def run(self, connection: ClientConnection) -> None:
        while True:
            lap, began = self._lap, time.monotonic()
            try:
                answer = await ask(connection, "job.run", spec={"shell": "echo fine; exit 7"})
                said, ended = await follow(connection, answer["subscription"])
                if (said, ended["exit"]["code"]) != ("fine\n", 7):
                    lap.wrong.append(f"a job said {said!r} and ended with {ended['exit']}")
            except RuntimeError as error:
                lap.wrong.append(str(error))
            took = time.monotonic() - began
            lap.jobs.append(took)
            if took > 10 * SLOW:
                lap.slow_jobs.append((began, took))
            await asyncio.sleep(0.05)

    async def log_in(self) -> None:
        while True:
            lap, began = self._lap, time.monotonic()
            try:
                async with self.dial() as connection:
                    await ask(connection, "auth.whoami")
                lap.logins.append(time.monotonic() - began)
            except (OSError, WebSocketException, RuntimeError) as error:
                lap.wrong.append(f"a login: {error!r}")
            await asyncio.sleep(0.5)


async def ask(connection: ClientConnection, method: str, **params: Any) -> Any:
    """Return the result; raise RuntimeError. Nothing else is under way on the connection but logs that ended."""
    await connection.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
    while True:
        answer = json.loads(await connection.recv())
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        if "result" in answer:
            return answer["result"]


async def follow(connection: ClientConnection, subscription: str) -> tuple[str, Any]:
    said = ""
    while True:
        heard = json.loads(await connection.recv())
        if heard["params"]["subscription"] == subscription:
            if heard["method"] == "log.end":
                return said, heard["params"]
            said += heard["params"].get("data", "")


async def main() -> None:
    loop = asyncio.get_running_loop()
    user = GoodUser(sys.argv[1], sys.argv[2], sys.stdin.readline().strip())
    async with user.dial() as one, user.dial() as two:
        work = [asyncio.create_task(each) for each in (user.ping(one), user.run(two), user.log_in())]
        print("in", flush=True)
        while name := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
            user.lap(name)
            print("lap", flush=True)
        for task in work:
            if task.done() and (error := task.exception()):
                user._lap.wrong.append(f"it was thrown out: {error!r}")
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task
    print(json.dumps({name: asdict(lap) for name, lap in user.laps.items()}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
