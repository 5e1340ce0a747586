"""Junk in the shape of JSON-RPC, made by hypothesis, for as long as is asked for."""

import asyncio
import contextlib
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from tests.hostile.messages import FIELDS, SPEC_FIELDS, request
from tests.hostile.outcome import Outcome, quantile
from tests.hostile.raw import TEXT, Raw, frame
from tests.hostile.target import Target

from jobworker.server import methods
from jobworker.server.dispatch import METHODS

__all__ = ["methods"]  # importing them registers them

AT_ONCE = 200  # examples of one seed
HARMLESS: tuple[list[str], ...] = (["true"], ["sleep", "0.01"], ["/no/such"], ["false"], [], [""], ["true", "\0"])
FAULTS = {50001, -32603}
FINAL = {"agent.shutdown", "agent.restart", "auth.logout"}

text = st.text(max_size=20) | st.sampled_from(["10s", "64MiB", "SIGTERM", "all", "utf8", "total", "graceful", "own"])
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70)
leaves = st.none() | st.booleans() | numbers | text
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4), max_leaves=12
)
limits = st.fixed_dictionaries(
    {},
    optional={"policy": text | leaves, "options": st.dictionaries(st.sampled_from(["limit", "at", "cpu"]), values)},
)
# What could be executed is of our choosing: the words of a command are never junk.
specs = st.fixed_dictionaries(
    {"argv": st.sampled_from(HARMLESS)},
    optional={name: values for name in SPEC_FIELDS if name not in ("argv", "shell", "stop", "timeout_policies")}
    | {"timeout_policies": st.lists(limits, max_size=3), "shell": st.sampled_from([None, 5, [], {}, ""])},
)


def requests(job: str) -> st.SearchStrategy[Any]:
    """Return what makes requests: of methods that exist mostly, with params that fit now and then."""
    own = {"id": st.just(job) | values, "spec": specs | values}
    params = st.dictionaries(st.sampled_from(FIELDS), values, max_size=4)
    fitting = st.fixed_dictionaries({}, optional=own | dict.fromkeys(("offset", "limit", "labels"), values))
    params = st.builds(lambda one, two: one | two, params, fitting)
    method = st.sampled_from(sorted(METHODS.keys() - FINAL))
    right = st.fixed_dictionaries(
        {"jsonrpc": st.just("2.0"), "method": method, "params": fitting | params}, optional={"id": st.integers(0, 9)}
    )
    odd = st.fixed_dictionaries(
        {},
        optional={
            "jsonrpc": st.sampled_from(["2.0", "1.0", 2]),
            "id": values,
            "method": method | values,
            "params": params | values,
        },
    )
    return st.integers(0, 4).flatmap(lambda number: right if number else odd)


class Fuzzer:
    def __init__(self, target: Target, token: str) -> None:
        self._target = target
        self._token = token
        self._raw: Raw | None = None
        self.times: list[tuple[float, str]] = []
        self.codes: Counter[int] = Counter()
        self.crashes: list[str] = []

    async def send(self, message: str) -> None:
        """Send one message and a ping after it; read until that is answered."""
        began = time.monotonic()
        mark = f"ping {len(self.times)}"
        if self._raw is None:
            self._raw = await Raw.upgraded(self._target.agent, self._token)
        ping = json.dumps(request("agent.ping", None, mark))
        await self._raw.say(frame(TEXT, message.encode()) + frame(TEXT, ping.encode()))
        try:
            while not self._judge(message, mark, answer := await self._raw.answer()):
                if isinstance(answer, int):
                    self.close()
                    break
        except TimeoutError:
            self.crashes.append(f"no answer to a ping after {message[:300]}")
            self.close()
        self.times.append((time.monotonic() - began, message[:100]))
        if len(self.times) % 50 == 0:  # and with it its subscriptions
            self.close()

    def _judge(self, message: str, mark: str, answer: Any) -> bool:
        """Count what an answer says; return whether it is the one to the ping."""
        if isinstance(answer, int):
            if answer not in (1007, 1009):
                self.crashes.append(f"closed ({answer}) after {message[:300]}")
            return False
        for one in answer if isinstance(answer, list) else [answer]:
            code = one.get("error", {}).get("code", 0)
            self.codes[code] += 1
            if code in FAULTS:
                self.crashes.append(f"{one['error']} for {message[:300]}")
        return isinstance(answer, dict) and answer["id"] == mark

    def close(self) -> None:
        if self._raw is not None:
            self._raw.drop()
        self._raw = None

    def run(self, job: str, number: int, end: float, loop: asyncio.AbstractEventLoop) -> None:
        """Send what one seed makes; in a thread, for hypothesis knows no loop."""
        one = requests(job)
        kinds = [st.lists(one, max_size=5), values, one, one, one, one]  # for `|` an alternative said twice is one
        told = st.builds(json.dumps, st.integers(0, 5).flatmap(kinds.__getitem__))
        broken = st.builds(lambda text, at: text[:at] + text[at + 1 :], told, st.integers(0, 400))

        @seed(number)
        @settings(
            max_examples=AT_ONCE,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.integers(0, 4).flatmap(lambda kind: told if kind else broken))
        def each(message: str) -> None:
            if time.monotonic() < end:
                with contextlib.suppress(UnicodeEncodeError):  # a lone surrogate in no string of JSON
                    asyncio.run_coroutine_threadsafe(self.send(message), loop).result()

        each()


async def throw(path: Path, *, seconds: float, first: int) -> Outcome:
    outcome = Outcome(f"fuzz (from seed {first})")
    async with Target(path, outcome) as target:
        token = await target.token("fuzz", "admin")
        async with target.agent.client(token) as client:
            job = (await client.call("job.create", spec={"argv": ["true"]}))["id"]
        fuzzer = Fuzzer(target, token)
        end = time.monotonic() + seconds
        number = first
        while time.monotonic() < end:
            await asyncio.to_thread(fuzzer.run, job, number, end, asyncio.get_running_loop())
            number += 1
        fuzzer.close()
    outcome.cases = len(fuzzer.times)
    took, message = max(fuzzer.times)
    times = [took for took, _ in fuzzer.times]
    outcome.notes.append(
        f"{seconds:g} s, {len(fuzzer.crashes)} crashes; answers {dict(sorted(fuzzer.codes.items()))}"
    )
    outcome.notes.append(f"p50 {quantile(times, 0.5):.2f} ms, the slowest {took * 1000:.0f} ms: {message!r}")
    outcome.broken.extend(fuzzer.crashes[:10])
    return outcome
