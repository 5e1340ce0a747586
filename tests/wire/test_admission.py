"""Admission: only failed logins are throttled, revoked credentials end their connections, and all is audited."""

import asyncio
import contextlib
import json
import stat
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import FOR_OTHERS, RunningAgent
from tests.support.waiting import DEADLINE
from websockets.exceptions import InvalidStatus

from jobworker.auth.throttle import network_of
from jobworker.paths import Home

if TYPE_CHECKING:
    from tests.support.wire import Dial, Upgrade, Wire

SLOW = "[limits]\nfailed_logins = 3\nunauthenticated = 2\n"


@pytest.fixture(scope="module")
def strict(start_agent: "Callable[..., RunningAgent]") -> RunningAgent:
    return start_agent(config=SLOW)


def entries(agent: RunningAgent) -> list[dict[str, Any]]:
    return [json.loads(line) for line in agent.home.audit.read_text().splitlines()]


async def test_failed_logins_are_throttled(strict: RunningAgent, dial: "Dial", upgrade: "Upgrade") -> None:
    """After some failed logins an address waits; a token that was valid before is still accepted from it."""
    async with dial(strict):
        pass
    codes = [(await upgrade(strict, ("Authorization", f"Bearer jw1_{n}")))[0] for n in range(6)]
    assert codes == [401, 401, 401, 429, 429, 429]
    status, headers, body = await upgrade(strict, ("Authorization", "Bearer jw1_more"))
    assert status == 429
    assert 0 < int(headers["retry-after"]) <= 20
    assert "too many failed logins" in body
    async with dial(strict) as wire:
        assert (await wire.ask("auth.whoami"))["name"] == "local"
    async with dial(strict, token=None) as wire:
        error = await wire.refused("auth.login", token="jw1_wrong")
        assert (error["code"], error["data"]["reason"]) == (42901, "rate_limited")
        assert error["data"]["retry_after"] > 0


async def test_parallel_guesses_cost_a_token_each(
    start_agent: "Callable[..., RunningAgent]", dial: "Dial", upgrade: "Upgrade"
) -> None:
    """Guesses sent together are as many as guesses sent one after the other."""
    agent = start_agent(config=SLOW)
    async with dial(agent):
        pass  # a token that was good before is let in whatever comes
    answers = await asyncio.gather(*(upgrade(agent, ("Authorization", f"Bearer jw1_{n}")) for n in range(40)))
    assert Counter(status for status, _, _ in answers) == {401: 3, 429: 37}


async def test_parallel_valid_logins_are_not_throttled(
    start_agent: "Callable[..., RunningAgent]", dial: "Dial"
) -> None:
    agent = start_agent(config=SLOW)
    async with dial(agent) as root:
        made = [await root.ask("token.create", name=f"n{n}", roles=["reader"]) for n in range(12)]
    assert all(await asyncio.gather(*(lets_in(agent, dial, one["token"]) for one in made)))


def test_a_network_is_what_one_caller_controls() -> None:
    """A caller with 2^64 addresses of IPv6 has no more guesses than one with a single address."""
    assert network_of("192.0.2.7:1") == network_of("[::ffff:192.0.2.7]:2") == "192.0.2.7"
    assert network_of("[2001:db8::1]:1") == network_of("[2001:db8::ffff:2]:9") != network_of("[2001:db8:0:1::1]:1")
    assert network_of("[fe80::1%eth0]:1") == network_of("[fe80::2%eth0]:1")


async def test_connections_that_have_not_logged_in_are_few(strict: RunningAgent, dial: "Dial") -> None:
    """The next one above the limit gets 429."""
    async with dial(strict, token=None), dial(strict, token=None):
        with pytest.raises(InvalidStatus) as refused:
            async with dial(strict, token=None):
                pass
        assert refused.value.response.status_code == 429
        async with dial(strict) as wire:
            await wire.ask("agent.ping")


async def test_connections_of_one_principal(start_agent: "Callable[..., RunningAgent]", dial: "Dial") -> None:
    strict = start_agent(config="[limits]\nconnections_per_principal = 4\n")
    async with dial(strict) as root:
        token = (await root.ask("token.create", name="many", roles=["reader"]))["token"]
        async with dial(strict, token=token), dial(strict, token=token), dial(strict, token=token):
            async with dial(strict, token=token) as last:
                await last.ask("agent.ping")
                with pytest.raises(InvalidStatus) as refused:
                    async with dial(strict, token=token):
                        pass
                assert refused.value.response.status_code == 429
            async with asyncio.timeout(DEADLINE):
                while not await lets_in(strict, dial, token):  # once the agent has noticed that one is gone
                    pass


async def lets_in(agent: RunningAgent, dial: "Dial", token: str) -> bool:
    try:
        async with dial(agent, token=token) as wire:
            await wire.ask("agent.ping")
            return True
    except InvalidStatus:
        return False


async def test_requests_of_one_principal(start_agent: "Callable[..., RunningAgent]", dial: "Dial") -> None:
    """Too many a second, over all its connections, are refused with `retry_after`; others are served."""
    agent = start_agent(config="[limits]\nrequests_per_second = 5\n")
    async with dial(agent) as root:
        token = (await root.ask("token.create", name="busy", roles=["reader"]))["token"]
        async with dial(agent, token=token) as one, dial(agent, token=token) as two:
            answers = []
            for wire in [one, two] * 10:
                answers.append(await wire.answer(await wire.begin("agent.ping")))
            refused = [answer["error"] for answer in answers if "error" in answer]
            assert 5 <= len(refused) <= 11
            assert {error["code"] for error in refused} == {42901}
            assert all(0 < error["data"]["retry_after"] <= 1 for error in refused)
            await root.ask("agent.ping")
            await asyncio.sleep(refused[-1]["data"]["retry_after"] + 0.1)
            await one.ask("agent.ping")


async def test_running_jobs_of_one_principal(start_agent: "Callable[..., RunningAgent]", dial: "Dial") -> None:
    agent = start_agent(config=f"[limits]\njobs_per_principal = 2\n{FOR_OTHERS}")
    async with dial(agent) as root:
        token = (await root.ask("token.create", name="busy", roles=["writer"]))["token"]
        async with dial(agent, token=token) as wire:
            jobs = [await wire.run(argv=["sleep", "1000"]) for _ in range(2)]
            third = await wire.create(argv=["true"])
            error = await wire.refused("job.start", id=third)
            assert (error["code"], error["data"]["retry_after"]) == (42901, 1)
            before = (await root.ask("job.list"))["jobs"]
            options = ("--address", agent.address, "--token", token, "--ca", str(agent.ca))
            for words in ([*options, "run", "-d"], [*options, "run"]):
                done = await asyncio.to_thread(agent.jw, *words, "--", "true")
                assert (done.returncode, "2" in done.stderr) == (125, True), done
            assert (await root.ask("job.list"))["jobs"] == before, "a start that is refused leaves no job"
            await root.ask("job.wait", id=(await root.run(argv=["true"]))["id"])
            await wire.ask("job.stop", id=jobs[0]["id"])
            await wire.ask("job.start", id=third)


async def test_a_revoked_token_ends_its_connections(shared: RunningAgent, dial: "Dial", wire: "Wire") -> None:
    """At once; connections of others stay, and its jobs run on."""
    token = (await wire.ask("token.create", name="leaver", roles=["admin"]))["token"]
    async with dial(shared, token=token) as one, dial(shared, token=token) as two:
        job = (await one.run(argv=["sleep", "1000"]))["id"]
        await wire.ask("token.revoke", name="leaver")
        began = time.monotonic()
        assert await one.closed() == await two.closed() == 1008
        assert time.monotonic() - began < 5  # the promise
    assert (await wire.ask("job.status", id=job))["state"] == "running"
    await wire.ask("job.delete", id=job, force=True)
    with pytest.raises(InvalidStatus):
        async with dial(shared, token=token):
            pass


async def test_a_token_that_expires_ends_its_connections(shared: RunningAgent, dial: "Dial", wire: "Wire") -> None:
    token = (await wire.ask("token.create", name="short", roles=["reader"], expires_in="500ms"))["token"]
    async with dial(shared, token=token) as one:
        assert (await one.ask("auth.whoami"))["expires_at"] > time.time()
        assert await one.closed() == 1008
        assert one.connection.close_reason == "the credentials expired"
    await wire.ask("token.revoke", name="short")


# The audit log


async def test_what_is_audited(start_agent: "Callable[..., RunningAgent]", dial: "Dial", upgrade: "Upgrade") -> None:
    """Logins, refusals, changes and denials: one line each with principal, address and outcome; no secrets."""
    agent = start_agent(config=FOR_OTHERS)
    async with dial(agent) as wire:
        token = (await wire.ask("token.create", name="ann", roles=["writer"]))["token"]
        async with dial(agent, token=token) as ann:
            job = await ann.create(argv=["sleep", "1000"], env={"SECRET": "hunter2"}, name="n")
            await ann.ask("job.start", id=job)
            await ann.ask("job.status", id=job)
            foreign = await wire.create(argv=["true"])
            await ann.refused("job.delete", id=foreign)
            await ann.refused("job.stop", id="0" * 12)
            await ann.refused("job.start", id=job)
            await ann.ask("job.stop", id=job)
        await upgrade(agent, ("Authorization", "Bearer jw1_hunter2"))
        await upgrade(agent, ("Origin", "https://evil.example"))
        async with dial(agent, token=None) as late:
            await late.refused("auth.login", username="bob", password="hunter2")
    text = agent.home.audit.read_text()
    assert "hunter2" not in text
    assert token not in text
    assert stat.S_IMODE(agent.home.audit.stat().st_mode) == 0o600
    told = [(e["decision"], e.get("principal"), e["method"], e.get("job"), e.get("outcome")) for e in entries(agent)]
    who = "token:ann"
    assert told == [
        ("login", "token:local", "upgrade", None, None),
        ("begun", "token:local", "token.create", None, None),
        ("allowed", "token:local", "token.create", None, "ok"),
        ("login", who, "upgrade", None, None),
        ("allowed", who, "job.create", job, "ok"),
        ("allowed", who, "job.start", job, "ok"),
        ("allowed", "token:local", "job.create", foreign, "ok"),
        ("denied", who, "job.delete", foreign, None),
        ("denied", who, "job.stop", "0" * 12, None),
        ("allowed", who, "job.start", job, "40901"),
        ("allowed", who, "job.stop", job, "ok"),
        ("refused", None, "upgrade", None, None),
        ("refused", None, "upgrade", None, None),
        ("refused", None, "auth.login", None, None),
    ]
    assert all(entry["address"].startswith("127.0.0.1:") and entry["time"].endswith("Z") for entry in entries(agent))


async def test_the_audit_log_is_bounded(start_agent: "Callable[..., RunningAgent]", dial: "Dial") -> None:
    """The oldest file is removed; whole lines remain, the newest."""
    agent = start_agent(config='[audit]\nmax_bytes = "32KiB"\n')
    async with dial(agent) as wire:
        for _ in range(300):
            await wire.create(argv=["true"])
        last = await wire.create(argv=["true"])
    files = [*(agent.home.audit.with_name(f"audit.log.{number}") for number in (3, 2, 1)), agent.home.audit]
    assert len([*agent.home.path.glob("audit.log*")]) == len(files)
    assert sum(file.stat().st_size for file in files) <= 34 << 10
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert lines[-1]["job"] == last
    assert len(lines) > 50


async def test_many_denials_do_not_push_out_other_lines(shared: RunningAgent, dial: "Dial", wire: "Wire") -> None:
    """Of very many denials of one principal some are recorded, and the number of the others."""
    token = (await wire.ask("token.create", name="stubborn", roles=["reader"]))["token"]
    async with dial(shared, token=token) as reader:
        for _ in range(300):
            await reader.refused("token.list")
    async with dial(shared, token=token):
        pass  # the next line of the same principal
    mine = [entry for entry in entries(shared) if entry["principal"] == "token:stubborn"]
    denied = [entry for entry in mine if entry["decision"] == "denied"]
    assert 200 <= len(denied) < 290
    assert len(denied) + sum(entry.get("unwritten", 0) for entry in mine) == 300


async def test_no_room_for_the_audit_log(mounted: "Callable[[str], Path]", home: Home, dial: "Dial") -> None:
    """No job is started whose line would not fit; a stop works, and its line is written once there is room."""
    folder = mounted("size=256k")
    home.path.mkdir(mode=0o700)
    home.audit.symlink_to(folder / "audit.log")
    agent = RunningAgent(home)
    agent.start()
    filler = folder / "filler"
    try:
        async with dial(agent) as wire:
            running = (await wire.run(argv=["sleep", "1000"]))["id"]
            created = await wire.create(argv=["true"])
            fill(filler)
            for _ in range(1000):  # the room that was reserved is used up first
                await wire.ask("job.signal", id=running, signal="SIGCONT")
                error = (await wire.answer(await wire.begin("job.start", id=running))).get("error", {})
                if error["code"] == 50701:
                    break
            assert (error["code"], error["data"]["reason"]) == (50701, "disk_full")
            assert "audit" in error["message"]
            assert (await wire.refused("job.start", id=created))["code"] == 50701
            assert (await wire.ask("job.stop", id=running))["state"] == "exited"
            filler.unlink()
            assert (await wire.ask("job.start", id=created))["id"] == created
        stops = [entry["job"] for entry in entries(agent) if entry["method"] == "job.stop"]
        assert stops == [running]
    finally:
        filler.unlink(missing_ok=True)
        await agent.clean()


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass
