"""The lives of tokens and sessions, and that a token has no jobs of another one that had its name."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import RunningAgent
    from tests.support.wire import Dial, Wire

OWN = """
[jobs]
user = "nobody"
[plugins.roles.private]
look = "own"
control = "own"
create = true
"""


@pytest.fixture(scope="module")
def shared(start_agent: "Callable[..., RunningAgent]") -> "RunningAgent":
    """An agent with a role that sees only its own jobs."""
    return start_agent(config=OWN)


async def listed(wire: "Wire", name: str) -> dict[str, Any]:
    (found,) = [token for token in (await wire.ask("token.list"))["tokens"] if token["name"] == name]
    return dict(found)


def days(token: dict[str, Any]) -> float:
    created, ends = (datetime.fromisoformat(token[field]) for field in ("created_at", "expires_at"))
    return (ends - created).total_seconds() / 86400


async def test_a_reused_name(shared: "RunningAgent", dial: "Dial", wire: "Wire") -> None:
    """A token with the name of one that was revoked is another principal: it neither sees nor owns the old jobs."""
    first = (await wire.ask("token.create", name="ci", roles=["private"]))["token"]
    async with dial(shared, token=first) as ci:
        job = (await ci.ask("job.create", spec={"argv": ["true"]}, key="k"))["id"]
    await wire.ask("token.revoke", name="ci")
    second = (await wire.ask("token.create", name="ci", roles=["private"]))["token"]
    assert (await listed(wire, "ci"))["last_used"] is None
    async with dial(shared, token=second) as ci:
        me = await ci.ask("auth.whoami")
        assert (me["name"], me["id"]) == ("ci", "token:ci#2")
        assert (await ci.ask("job.list"))["jobs"] == []
        assert (await ci.refused("job.status", id=job))["code"] == 40401
        other = await ci.ask("job.create", spec={"argv": ["true"]}, key="k")
        assert other["id"] != job
    owners = {(await wire.ask("job.status", id=one))["owner"] for one in (job, other["id"])}
    assert len(owners) == 2
    assert (await listed(wire, "ci"))["id"] == other["owner"]


async def test_a_name_that_looks_like_an_id(shared: "RunningAgent", wire: "Wire") -> None:
    """A name may be chosen like the id of another token: the ids differ."""
    for name in ("web", "web", "web#2", "web#2"):
        await wire.ask("token.create", name=name, roles=["reader"])
        await wire.ask("token.revoke", name=name)
    ids = [await made(wire, name) for name in ("web", "web#2", "web#2#2")]
    assert len({*ids}) == 3
    assert not {*ids} & {"token:web", "token:web#2", "token:web#2#2"}


async def made(wire: "Wire", name: str) -> str:
    await wire.ask("token.create", name=name, roles=["reader"])
    return str((await listed(wire, name))["id"])


async def test_renewal(shared: "RunningAgent", dial: "Dial", wire: "Wire") -> None:
    """A renewed token keeps its jobs; the old secret and its connections end, and the life begins again."""
    first = (await wire.ask("token.create", name="night", roles=["private"], expires_in="1h"))["token"]
    async with dial(shared, token=first) as old:
        job = (await old.ask("job.create", spec={"argv": ["true"]}))["id"]
        renewed = await wire.ask("token.renew", name="night", expires_in="2d")
        assert await old.closed() == 1008
    assert days(await listed(wire, "night")) == pytest.approx(2)
    assert renewed["expires_at"] == (await listed(wire, "night"))["expires_at"]
    async with dial(shared, token=None) as late:
        assert (await late.refused("auth.login", token=first))["code"] == 40101
    async with dial(shared, token=renewed["token"]) as new:
        assert (await new.ask("job.status", id=job))["owner"] == "token:night"
    assert (await wire.refused("token.renew", name="nobody"))["data"]["field"] == "name"


async def test_a_token_renews_itself(shared: "RunningAgent", dial: "Dial", wire: "Wire") -> None:
    """An admin that renews its own token gets the new one, and then its connection ends."""
    token = (await wire.ask("token.create", name="self", roles=["admin"]))["token"]
    async with dial(shared, token=token) as own:
        new = (await own.ask("token.renew", name="self"))["token"]
        assert await own.closed() == 1008
    async with dial(shared, token=new) as again:
        assert (await again.ask("auth.whoami"))["name"] == "self"


@pytest.mark.parametrize("never", ["never", None])
async def test_how_long_a_token_lives(wire: "Wire", never: str | None) -> None:
    """90 days unless the call gives another time; for ever if it asks for that."""
    name = f"life-{never}"
    await wire.ask("token.create", name=name, roles=["reader"])
    assert days(await listed(wire, name)) == pytest.approx(90)
    assert (await wire.ask("token.renew", name=name, expires_in=never))["expires_at"] is None
    assert (await listed(wire, name))["expires_at"] is None


async def test_the_local_token_has_no_end(shared: "RunningAgent", wire: "Wire") -> None:
    """The agent's own user is not locked out of the port after 90 days, and not by a lost file."""
    assert (await listed(wire, "local"))["expires_at"] is None


async def test_configured_lives(start_agent: "Callable[..., RunningAgent]", dial: "Dial") -> None:
    """`auth.token_lifetime` is for tokens made without a time; a session ends after `auth.session_lifetime`.

    The client may log in again at once: the close code invites it to.
    """
    agent = start_agent(config='[auth]\ntoken_lifetime = "10d"\nsession_lifetime = "1s"\n')
    async with dial(agent) as wire:
        assert (await wire.ask("token.create", name="short", roles=["reader"]))["expires_at"]
        assert days(await listed(wire, "short")) == pytest.approx(10)
        assert await wire.closed() == 1012
        assert "session_lifetime" in (wire.connection.close_reason or "")
    agent.home.local_token.write_text("lost\n")
    agent.end()
    agent.start()
    async with dial(agent) as wire:
        assert (await wire.create(argv=["true"])) in [
            job["id"] for job in (await wire.ask("job.list", owner="token:local"))["jobs"]
        ]


async def test_a_client_goes_on_in_a_new_session(start_agent: "Callable[..., RunningAgent]") -> None:
    """A follower of a log sees every byte over several sessions."""
    agent = start_agent(config='[auth]\nsession_lifetime = "300ms"\n')
    done = agent.jw("run", "--", "sh", "-c", "for n in 1 2 3 4 5; do echo $n; sleep 0.2; done")
    assert (done.returncode, done.stdout) == (0, "1\n2\n3\n4\n5\n")
    assert "connected again" in done.stderr
