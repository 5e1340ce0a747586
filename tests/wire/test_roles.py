"""Who may do what: readers see jobs, writers have their own, admins do everything."""

import json
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import FOR_OTHERS

if TYPE_CHECKING:
    from tests.conftest import RunningAgent
    from tests.support.wire import Dial, Upgrade, Wire


@pytest.fixture(scope="module")
def shared(start_agent: "Callable[..., RunningAgent]") -> "RunningAgent":
    """An agent whose writers may run jobs, also if it runs as root."""
    return start_agent(config=FOR_OTHERS)


@dataclass
class People:
    """One connection for each role, two writers."""

    admin: "Wire"
    reader: "Wire"
    writer: "Wire"
    other: "Wire"


@pytest.fixture
async def people(shared: "RunningAgent", dial: "Dial", wire: "Wire") -> AsyncIterator[People]:
    names = ("reader", "writer", "other")
    async with AsyncExitStack() as stack:
        wires = []
        for name in names:
            role = "reader" if name == "reader" else "writer"
            token = (await wire.ask("token.create", name=name, roles=[role]))["token"]
            wires.append(await stack.enter_async_context(dial(shared, token=token)))
        yield People(wire, *wires)
        for name in names:
            await wire.ask("token.revoke", name=name)


def is_denied(error: dict[str, Any]) -> bool:
    return (error["code"], error["data"]["reason"], error["data"]["retryable"]) == (40301, "permission_denied", False)


async def test_a_reader_looks(people: People) -> None:
    """A reader sees every job, waits for it and follows its log."""
    run = await people.writer.ask("job.run", spec={"shell": "echo x; exit 2"})
    job = run["job"]["id"]
    assert (await people.reader.ask("job.wait", id=job))["exit"]["code"] == 2
    assert (await people.reader.ask("job.status", id=job))["owner"] == "token:writer"
    assert job in [each["id"] for each in (await people.reader.ask("job.list", owner="token:writer"))["jobs"]]
    assert (await people.reader.follow(await people.reader.subscribe(job))).stdout == b"x\n"
    assert "version" in await people.reader.ask("agent.info")
    assert (await people.reader.ask("auth.whoami"))["roles"] == ["reader"]


async def test_a_reader_changes_nothing(people: People) -> None:
    """A reader creates, starts, stops and deletes nothing."""
    created = await people.writer.create(shell=":")
    running = (await people.writer.run(argv=["sleep", "1000"]))["id"]
    for method, params in (
        ("job.create", {"spec": {"shell": ":"}}),
        ("job.run", {"spec": {"shell": ":"}}),
        ("job.start", {"id": created}),
        ("job.stop", {"id": running}),
        ("job.stop", {"id": running, "stop": {"strategy": "kill"}}),
        ("job.delete", {"id": created}),
        ("job.delete", {"id": running, "force": True}),
        ("token.create", {"name": "mine", "roles": ["admin"]}),
        ("token.list", {}),
        ("token.revoke", {"name": "local"}),
        ("agent.shutdown", {}),
        ("agent.restart", {}),
        ("agent.drain", {}),
        ("agent.undrain", {}),
        ("agent.garbage", {}),
        ("agent.gc", {}),
        ("agent.health", {}),
        ("audit.list", {}),
    ):
        assert is_denied(await people.reader.refused(method, **params)), method
    assert (await people.admin.ask("job.status", id=created))["state"] == "created"
    assert (await people.admin.ask("job.status", id=running))["state"] == "running"
    await people.admin.ask("job.stop", id=running)


async def test_a_writer_and_the_jobs_of_others(people: People) -> None:
    """A writer does everything to its own jobs, looks at others' and controls none of them."""
    theirs = (await people.other.run(argv=["sleep", "1000"]))["id"]
    created = await people.other.create(shell=":")
    for method, params in (
        ("job.start", {"id": created}),
        ("job.stop", {"id": theirs}),
        ("job.delete", {"id": created}),
        ("job.delete", {"id": theirs, "force": True}),
        ("token.list", {}),
        ("token.create", {"name": "mine", "roles": ["admin"]}),
        ("agent.shutdown", {}),
        ("agent.restart", {}),
        ("agent.drain", {}),
        ("agent.undrain", {}),
        ("agent.garbage", {}),
        ("agent.gc", {}),
        ("agent.health", {}),
        ("audit.list", {}),
    ):
        assert is_denied(await people.writer.refused(method, **params)), method
    assert (await people.writer.ask("job.status", id=theirs))["state"] == "running"
    name = await people.writer.subscribe(theirs)
    own = (await people.writer.run(argv=["sleep", "1000"]))["id"]
    assert (await people.writer.ask("job.stop", id=own))["exit"]["by"] == "writer"
    assert (await people.writer.ask("job.delete", id=own)) == {"deleted": True}
    assert (await people.admin.ask("job.stop", id=theirs))["exit"]["by"] == "local"
    assert (await people.writer.follow(name)).end is not None
    for job in (theirs, created):
        await people.admin.ask("job.delete", id=job)


async def test_keys_belong_to_their_owner(people: People) -> None:
    """The same key of two writers creates two jobs, and reveals neither to the other."""
    spec = {"shell": ":"}
    one = await people.writer.ask("job.create", spec=spec, key="ours")
    two = await people.other.ask("job.create", spec={"shell": ": other"}, key="ours")
    assert one["id"] != two["id"]
    assert (await people.writer.ask("job.create", spec=spec, key="ours"))["id"] == one["id"]


async def test_a_job_that_is_not_there(people: People) -> None:
    """The answer does not reveal whether there is such a job: 40401 for all."""
    for wire in (people.reader, people.writer, people.admin):
        for method in ("job.stop", "job.start", "job.delete", "job.status"):
            assert (await wire.refused(method, id="000000000000"))["code"] == 40401


async def test_a_token_without_a_role_for_it(people: People, shared: "RunningAgent", dial: "Dial") -> None:
    """Roles add up, and are those of the token."""
    token = (await people.admin.ask("token.create", name="both", roles=["reader", "writer"]))["token"]
    async with dial(shared, token=token) as wire:
        assert (await wire.ask("auth.whoami"))["roles"] == ["reader", "writer"]
        assert (await wire.ask("job.create", spec={"shell": ":"}))["owner"] == "token:both"
    await people.admin.ask("token.revoke", name="both")


# Tokens


async def test_tokens_are_listed_without_the_secret(wire: "Wire", shared: "RunningAgent") -> None:
    """The token is shown once; the list has name, roles and times; the file has hashes, mode 0600."""
    made = await wire.ask("token.create", name="listed", roles=["reader"], expires_in="1h")
    text = json.dumps(await wire.ask("token.list"))
    assert made["token"] not in text
    found = next(each for each in (await wire.ask("token.list"))["tokens"] if each["name"] == "listed")
    assert found["roles"] == ["reader"]
    assert found["created_at"] < found["expires_at"]
    assert made["token"].startswith("jw1_")
    on_disk = shared.home.tokens.read_text()
    for secret in (made["token"], shared.token, made["token"].removeprefix("jw1_")):
        assert secret not in on_disk
    assert stat.S_IMODE(shared.home.tokens.stat().st_mode) == 0o600
    assert stat.S_IMODE(shared.home.local_token.stat().st_mode) == 0o600
    error = await wire.refused("token.create", name="listed", roles=["admin"])
    assert (error["code"], error["data"]["field"]) == (-32602, "name")
    await wire.ask("token.revoke", name="listed")
    logs = shared.home.agent_log.read_text()
    assert made["token"] not in logs
    assert shared.token not in logs


async def test_a_revoked_token(wire: "Wire", shared: "RunningAgent", dial: "Dial", upgrade: "Upgrade") -> None:
    """It is refused at the next connect, in the header and in a login."""
    token = (await wire.ask("token.create", name="short", roles=["writer"]))["token"]
    bearer = ("Authorization", f"Bearer {token}")
    assert (await upgrade(shared, bearer))[0] == 101
    assert await wire.ask("token.revoke", name="short") is True
    assert (await upgrade(shared, bearer))[0] == 401
    async with dial(shared, token=None) as late:
        assert (await late.refused("auth.login", token=token))["code"] == 40101
    assert (await wire.refused("token.revoke", name="short"))["code"] == -32602


async def test_an_expired_token(wire: "Wire", shared: "RunningAgent", dial: "Dial", upgrade: "Upgrade") -> None:
    """It is a 401 at the upgrade and 40102 in a login."""
    token = (await wire.ask("token.create", name="brief", roles=["admin"], expires_in="1ms"))["token"]
    status, _, body = await upgrade(shared, ("Authorization", f"Bearer {token}"))
    assert (status, "expired" in body) == (401, True)
    async with dial(shared, token=None) as late:
        error = await late.refused("auth.login", token=token)
        assert (error["code"], error["data"]["reason"]) == (40102, "token_expired")
        assert await late.closed() == 1008
    await wire.ask("token.revoke", name="brief")


@pytest.mark.parametrize("bad", ["5x", -1, 1e99, ""])
async def test_a_token_for_no_time(wire: "Wire", bad: Any) -> None:
    """A bad duration makes no token."""
    error = await wire.refused("token.create", name="never", roles=["admin"], expires_in=bad)
    assert error["code"] in (-32602, 40001)
    assert error["data"]["field"] == "expires_in"
    assert "never" not in [each["name"] for each in (await wire.ask("token.list"))["tokens"]]


async def test_when_a_token_was_last_used(shared: "RunningAgent", dial: "Dial", wire: "Wire") -> None:
    """The list has it, for the token that was used."""
    token = (await wire.ask("token.create", name="idle", roles=["reader"]))["token"]
    assert token
    found = {one["name"]: one["last_used"] for one in (await wire.ask("token.list"))["tokens"]}
    assert found["idle"] is None
    assert found["local"] is not None
    assert stat.S_IMODE((shared.home.path / "tokens.used.json").stat().st_mode) == 0o600
    await wire.ask("token.revoke", name="idle")


async def test_values_of_the_environment(people: People) -> None:
    """The owner of a job and those that control it see the values of its variables, others only the names."""
    spec = {"argv": ["true"], "env": {"TOKEN": "s3cret", "MODE": "fast"}}
    job = (await people.writer.ask("job.run", spec=spec))["job"]["id"]
    await people.writer.ask("job.wait", id=job)
    for caller, value in (
        (people.writer, "s3cret"),
        (people.admin, "s3cret"),
        (people.reader, "***"),
        (people.other, "***"),
    ):
        listed = next(each for each in (await caller.ask("job.list"))["jobs"] if each["id"] == job)
        seen = [listed, await caller.ask("job.status", id=job), await caller.ask("job.wait", id=job)]
        assert [each["spec"]["env"]["TOKEN"] for each in seen] == [value] * 3
        assert seen[0]["spec"]["env"].keys() == {"TOKEN", "MODE"}
