"""Tickets with which a page logs in once, and the session that it then has."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from tests.conftest import RunningAgent
from tests.support.wire import Dial, Wire

Ask = Callable[..., Awaitable[dict[str, Any]]]
Start = Callable[..., RunningAgent]

OPS = "https://ops.example.org"
CONFIG = '[server]\norigins = ["https://ops.example.org"]\n[web]\nsession = "1h"\n'


@pytest.fixture(scope="module")
def running(start_agent: Start) -> RunningAgent:
    return start_agent(config=CONFIG)


@pytest.fixture
async def admin(running: RunningAgent, dial: Dial) -> AsyncIterator[Wire]:
    async with dial(running) as wire:
        yield wire


@pytest.fixture
def login(running: RunningAgent, dial: Dial) -> Ask:
    """Log in from a page; return the caller, or the error."""

    async def login(origin: str | None = None, **params: str) -> dict[str, Any]:
        headers = [("Origin", origin)] if origin else []
        async with dial(running, token=None, headers=headers) as wire:
            answer: dict[str, Any] = await wire.answer(await wire.begin("auth.login", **params))
            outcome: dict[str, Any] = answer.get("result") or answer["error"]
            return outcome

    return login


async def test_a_ticket_is_for_one_page_once(running: RunningAgent, admin: Wire, login: Ask) -> None:
    """It makes the page its creator, for 30 s and once; the address of the page is in the answer."""
    made = await admin.ask("auth.ticket", origin=running.url)
    assert (made["origin"], made["url"]) == (running.url, f"{running.url}/")
    who = await login(running.url, ticket=made["ticket"])
    assert (who["name"], who["provider"], who["roles"]) == ("local", "token", ["admin"])
    assert 3500 < who["expires_at"] - time.time() < 3700
    again = await login(running.url, ticket=made["ticket"])
    assert again["code"] == 40101
    assert "it was used" in again["message"]
    assert (await admin.ask("auth.ticket"))["origin"].startswith("https://"), "of the agent's own page"


async def test_a_ticket_is_of_one_origin(running: RunningAgent, admin: Wire, login: Ask) -> None:
    """Another page that may connect, and a client that is no page, cannot use it; trying ends it."""
    for origin in (OPS, f"https://localhost:{running.port}", None):
        code = (await admin.ask("auth.ticket", origin=running.url))["ticket"]
        assert (await login(origin, ticket=code))["code"] == 40101, origin
        assert (await login(running.url, ticket=code))["code"] == 40101, origin
    other = await admin.ask("auth.ticket", origin="https://ops.example.org")
    assert "url" not in other, "where that page is only its server knows"
    assert (await login("https://ops.example.org", ticket=other["ticket"]))["name"] == "local"


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://127.0.0.1",
        "null",
        "",
        "*",
        "https://127.0.0.1.evil.example",
        "https://a\0b",
        "x" * 999,
    ],
)
async def test_no_ticket_for_other_origins(admin: Wire, origin: str) -> None:
    refused = await admin.refused("auth.ticket", origin=origin)
    assert (refused["code"], refused["data"]["field"]) == (-32602, "origin")


async def test_the_origin_as_browsers_send_it(admin: Wire) -> None:
    for given in ("https://LOCALHOST:443", "https://localhost/", "https://localhost"):
        assert (await admin.ask("auth.ticket", origin=given))["origin"] == "https://localhost"


async def test_a_page_logs_in_again_until_it_has_logged_out(running: RunningAgent, admin: Wire, dial: Dial) -> None:
    """With the secret of its session; `auth.logout` ends the session, and all connections of the page."""
    code = (await admin.ask("auth.ticket", origin=OPS))["ticket"]
    page = [("Origin", OPS)]
    async with dial(running, token=None, headers=page) as first, dial(running, token=None, headers=page) as second:
        secret = (await first.ask("auth.login", ticket=code))["session"]
        again = await second.ask("auth.login", session=secret)
        assert again["name"] == "local"
        assert "session" not in again, "the page has it already"
        assert await second.ask("auth.logout") is True
        assert (await first.closed(), await second.closed()) == (1008, 1008)
    async with dial(running, token=None, headers=page) as third:
        assert (await third.refused("auth.login", session=secret))["code"] == 40101


async def test_logout_of_a_client_that_is_no_page(running: RunningAgent, dial: Dial) -> None:
    """Its connection ends, and it can log in again."""
    async with dial(running) as wire:
        assert await wire.ask("auth.logout") is True
        assert await wire.closed() == 1008
    async with dial(running) as wire:
        assert (await wire.ask("auth.whoami"))["name"] == "local"


async def test_a_session_is_of_one_origin(running: RunningAgent, admin: Wire, login: Ask) -> None:
    code = (await admin.ask("auth.ticket", origin=OPS))["ticket"]
    secret = (await login(OPS, ticket=code))["session"]
    for origin in (running.url, None):
        assert (await login(origin, session=secret))["code"] == 40101, origin
    assert (await login(OPS, session=secret))["name"] == "local"


async def test_a_session_survives_the_agent(start_agent: Start, dial: Dial) -> None:
    """A page logs in again with the secret of its session after kill -9; only the hash of the secret is on disk."""
    agent = start_agent(config=CONFIG)
    page = [("Origin", OPS)]
    async with dial(agent) as wire:
        code = (await wire.ask("auth.ticket", origin=OPS))["ticket"]
        unused = (await wire.ask("auth.ticket", origin=OPS))["ticket"]
    async with dial(agent, token=None, headers=page) as wire:
        first = await wire.ask("auth.login", ticket=code)
    stored = agent.home.page_sessions
    assert first["session"] not in stored.read_text()
    assert stored.stat().st_mode & 0o777 == 0o600
    agent.kill()
    agent.start()
    async with dial(agent, token=None, headers=page) as wire:
        again = await wire.ask("auth.login", session=first["session"])
        assert (again["name"], again["expires_at"]) == (first["name"], first["expires_at"])
    async with dial(agent, token=None, headers=page) as wire:
        assert (await wire.refused("auth.login", ticket=unused))["code"] == 40101, "tickets are in memory only"


@pytest.mark.parametrize("end", ["token.revoke", "token.renew"])
async def test_both_end_with_the_token(running: RunningAgent, admin: Wire, login: Ask, dial: Dial, end: str) -> None:
    """A token that is revoked or gets a new secret takes its tickets, its sessions and their connections along."""
    name = f"of-{end}"
    token = (await admin.ask("token.create", name=name, roles=["reader"]))["token"]
    async with dial(running, token=token) as creator:
        used, unused = [(await creator.ask("auth.ticket", origin=OPS))["ticket"] for _ in range(2)]
        async with dial(running, token=None, headers=[("Origin", OPS)]) as page:
            caller = await page.ask("auth.login", ticket=used)
            assert (caller["name"], caller["roles"]) == (name, ["reader"])
            assert (await page.refused("token.list"))["code"] == 40301, "no more rights than its creator"
            await admin.ask(end, name=name)
            assert await page.closed() == 1008
    assert (await login(OPS, ticket=unused))["code"] == 40101
    assert (await login(OPS, session=caller["session"]))["code"] == 40101


async def test_an_admin_ends_the_session_of_a_page(running: RunningAgent, admin: Wire, login: Ask) -> None:
    """Also while no page is connected, by its principal; then it cannot log in again."""
    token = (await admin.ask("token.create", name="away", roles=["reader"]))["token"]
    async with running.client(token) as client:
        code = (await client.call("auth.ticket", origin=OPS))["ticket"]
    secret = (await login(OPS, ticket=code))["session"]
    await admin.ask("session.end", principal="token:away")
    assert (await login(OPS, session=secret))["code"] == 40101
    assert (await admin.refused("session.end", principal="token:away"))["code"] == -32602, "there is none any more"


async def test_a_page_cannot_make_its_session_longer(running: RunningAgent, admin: Wire, dial: Dial) -> None:
    """A ticket that a page has made ends with the page's session."""
    page = [("Origin", OPS)]
    code = (await admin.ask("auth.ticket", origin=OPS))["ticket"]
    async with dial(running, token=None, headers=page) as first, dial(running, token=None, headers=page) as second:
        end = (await first.ask("auth.login", ticket=code))["expires_at"]
        more = (await first.ask("auth.ticket", origin=OPS))["ticket"]
        assert (await second.ask("auth.login", ticket=more))["expires_at"] <= end


async def test_guesses_are_throttled_and_audited(start_agent: Start, dial: Dial) -> None:
    """Like those of tokens; a page with a valid secret still gets in from the same address."""
    agent = start_agent(config=CONFIG + "[limits]\nfailed_logins = 3\n")
    page = [("Origin", OPS)]
    async with dial(agent) as wire:
        code = (await wire.ask("auth.ticket", origin=OPS))["ticket"]
        codes = []
        for number in range(5):
            async with dial(agent, token=None, headers=page) as guess:
                codes.append((await guess.refused("auth.login", ticket=f"jw1t_{number}"))["code"])
        assert codes == [40101, 40101, 40101, 42901, 42901]
        async with dial(agent, token=None, headers=page) as good:
            assert (await good.ask("auth.login", ticket=code))["name"] == "local"
        lines = [json.loads(line) for line in agent.home.audit.read_text().splitlines()]
        noted = {(line["decision"], line["method"]) for line in lines}
        assert {("allowed", "auth.ticket"), ("refused", "auth.login"), ("login", "auth.login")} <= noted
        assert code not in agent.home.audit.read_text()


async def test_tickets_that_are_not_used_are_bounded(running: RunningAgent, admin: Wire, dial: Dial) -> None:
    token = (await admin.ask("token.create", name="many", roles=["reader"]))["token"]
    async with dial(running, token=token) as wire:
        codes = [(await wire.answer(await wire.begin("auth.ticket"))).get("error", {}).get("code") for _ in range(60)]
    assert codes == [None] * 50 + [42901] * 10
    assert (await admin.ask("auth.ticket"))["ticket"], "of another principal"


@pytest.mark.parametrize(
    "given", [{}, {"ticket": "a", "token": "b"}, {"session": "a", "ticket": "b"}, {"username": "a"}]
)
async def test_one_kind_of_credentials(login: Ask, given: dict[str, str]) -> None:
    assert (await login(OPS, **given))["code"] == -32602


async def test_without_the_page(start_agent: Start, dial: Dial) -> None:
    """An agent that serves no page gives tickets for others; without sessions a page is logged in by its ticket."""
    agent = start_agent(config=CONFIG.replace('session = "1h"', "enabled = false\nsession = 0"))
    async with dial(agent) as wire:
        assert (await wire.refused("auth.ticket"))["code"] == -32602
        code = (await wire.ask("auth.ticket", origin=OPS))["ticket"]
    async with dial(agent, token=None, headers=[("Origin", OPS)]) as page:
        who = await page.ask("auth.login", ticket=code)
        assert (who["expires_at"], who.get("session")) == (None, None)
    assert not agent.home.page_sessions.exists()
