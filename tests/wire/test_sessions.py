"""What admins see and end of other callers' connections, and what callers without rights do not see."""

import os
import pwd
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from tests.hostile.messages import request

if TYPE_CHECKING:
    from tests.conftest import RunningAgent
    from tests.support.wire import Dial, Wire

UNKNOWN = ("no-such-user", "4123456")  # no user of this host
HIDDEN = "www-data"  # a user and group of this host that only admins may use
HIDDEN_UID = str(pwd.getpwnam(HIDDEN).pw_uid)
GONE = "an admin has ended the session"


async def token(wire: "Wire", name: str, *roles: str) -> str:
    return str((await wire.ask("token.create", name=name, roles=list(roles)))["token"])


async def test_an_admin_ends_a_session(shared: "RunningAgent", dial: "Dial", wire: "Wire") -> None:
    """By the id that `session.list` shows; the token stays valid. Others may do neither."""
    reader = await token(wire, "visitor", "reader")
    async with dial(shared, token=reader) as visitor:
        assert (await visitor.refused("session.list"))["code"] == 40301
        (shown,) = [s for s in (await wire.ask("session.list"))["sessions"] if s["principal"] == "token:visitor"]
        assert shown["address"].startswith("127.0.0.1:")
        assert (await visitor.refused("session.end", id=shown["id"]))["code"] == 40301
        assert await wire.ask("session.end", id=shown["id"]) == {"ended": 1}
        assert await visitor.closed() == 1008
        assert visitor.connection.close_reason == GONE
    assert (await wire.refused("session.end", id=shown["id"]))["data"]["field"] == "id"
    assert (await wire.refused("session.end"))["code"] == -32602
    async with dial(shared, token=reader) as again, dial(shared, token=reader) as twice:
        await again.ask("agent.ping")
        await twice.ask("agent.ping")
        assert await wire.ask("session.end", principal="token:visitor") == {"ended": 2}
        assert await again.closed() == await twice.closed() == 1008
    await wire.ask("token.revoke", name="visitor")


async def test_a_session_that_has_not_logged_in(shared: "RunningAgent", dial: "Dial", wire: "Wire") -> None:
    """An admin sees and ends it as well."""
    async with dial(shared, token=None) as anonymous:
        (shown,) = [s for s in (await wire.ask("session.list"))["sessions"] if s["principal"] is None]
        await wire.ask("session.end", id=shown["id"])
        assert await anonymous.closed() == 1008


async def test_an_admin_ends_its_own_session(shared: "RunningAgent", dial: "Dial") -> None:
    """It gets the answer first, and what follows in the same batch is refused."""
    async with dial(shared) as mine:
        (own,) = [session for session in (await mine.ask("session.list"))["sessions"] if session["own"]]
        batch = [request("session.end", {"id": own["id"]}) | {"id": 1}, request("agent.ping", {}) | {"id": 2}]
        ended, refused = await mine.tell(batch)
        assert ended["result"] == {"ended": 1}
        assert refused["error"]["code"] == 40101
        assert await mine.closed() == 1008


async def test_a_caller_without_rights_sees_little(start_agent: "Callable[..., RunningAgent]", dial: "Dial") -> None:
    """No version, process, plugin or certificate of the agent; only how to speak to it."""
    agent = start_agent(config='[plugins.roles.none]\nlook = "none"\n')
    async with dial(agent) as wire, dial(agent, token=await token(wire, "nobody", "none")) as nobody:
        assert set(await nobody.ask("agent.info")) == {"protocol", "limits"}
        assert (await nobody.refused("plugin.list"))["code"] == 40301
        assert await nobody.ask("agent.ping")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run jobs as another user")
async def test_whether_a_user_exists_is_not_told(start_agent: "Callable[..., RunningAgent]", dial: "Dial") -> None:
    """A writer gets the same error for users and groups that exist and that do not."""
    agent = start_agent(config='[jobs]\nuser = "nobody"\n')
    async with dial(agent) as wire, dial(agent, token=await token(wire, "writer", "writer")) as writer:

        async def error(name: str, **spec: str) -> str:
            """Return an error with the name left out."""
            error = await writer.refused("job.create", spec={"argv": ["true"], **spec})
            del error["data"]["ref"]  # of the request
            return str(error).replace(name, "NAME")

        for unknown in UNKNOWN:
            denied = await error(unknown, user=unknown)
            assert denied == await error(HIDDEN, user=HIDDEN) == await error(HIDDEN_UID, user=HIDDEN_UID)
            assert await error(unknown, group=unknown) == await error(HIDDEN, group=HIDDEN)
            spec = {"argv": ["true"], "user": unknown}
            if unknown.isdigit():
                assert await wire.ask("job.create", spec=spec)  # a number needs no entry
            else:
                assert (await wire.refused("job.create", spec=spec))["code"] == 40001


@pytest.mark.parametrize("suite", ["ECDHE-ECDSA-AES256-SHA384", "ECDHE-ECDSA-AES128-SHA256"])
async def test_suites_with_cbc(shared: "RunningAgent", suite: str) -> None:
    """No handshake comes about with any of them; one of TLS 1.2 with GCM does."""
    assert not shakes_hands(shared, suite)
    assert shakes_hands(shared, "ECDHE+AESGCM")


def shakes_hands(agent: "RunningAgent", suites: str) -> bool:
    context = ssl.create_default_context(cafile=agent.ca)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"@SECLEVEL=0:{suites}")
    try:
        with (
            socket.create_connection(("127.0.0.1", agent.port), timeout=15) as sock,
            context.wrap_socket(sock, server_hostname="127.0.0.1"),
        ):
            return True
    except ssl.SSLError:
        return False
