"""Behind a proxy that the configuration trusts, failed logins are counted by client."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from websockets.datastructures import Headers

from jobworker.server.proxies import Proxies

if TYPE_CHECKING:
    from tests.support.wire import Upgrade

    from jobworker.testing import RunningAgent

GUESS = ("Authorization", "Bearer jw1_wrong")


async def guesses(agent: "RunningAgent", upgrade: "Upgrade", *forwarded: str) -> list[int]:
    """Guess from each of these clients; return the statuses."""
    return [(await upgrade(agent, GUESS, ("X-Forwarded-For", client)))[0] for client in forwarded]


async def test_each_client_has_its_own_limit(start_agent: "Callable[..., RunningAgent]", upgrade: "Upgrade") -> None:
    """A client that guesses waits, also if it claims that others called it; another client does not."""
    agent = start_agent(config='[server]\nproxies = ["127.0.0.0/8"]\n[limits]\nfailed_logins = 2\n')
    one, other = "192.0.2.1", "192.0.2.2"
    claimed = [f"198.51.100.{n}, {one}" for n in range(2)]
    assert await guesses(agent, upgrade, one, one, *claimed) == [401, 401, 429, 429]
    assert await guesses(agent, upgrade, other) == [401]
    lines = [json.loads(line) for line in agent.home.audit.read_text().splitlines()]
    assert [line["address"] for line in lines] == [f"{one}:0"] * 2 + [f"{other}:0"]


async def test_a_client_that_is_no_proxy(start_agent: "Callable[..., RunningAgent]", upgrade: "Upgrade") -> None:
    """Whoever it names, it is counted itself."""
    agent = start_agent(config='[server]\nproxies = ["10.0.0.0/8"]\n[limits]\nfailed_logins = 2\n')
    assert await guesses(agent, upgrade, *(f"192.0.2.{n}" for n in range(4))) == [401, 401, 429, 429]


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ([], "10.0.0.1"),
        (["192.0.2.1"], "192.0.2.1"),
        (["192.0.2.1:4711"], "192.0.2.1"),
        (["[2001:db8::1]:443"], "2001:db8::1"),
        (["evil, 192.0.2.1, 10.0.0.2"], "192.0.2.1"),
        (["192.0.2.1", "10.0.0.2"], "192.0.2.1"),
        (["192.0.2.1, unknown"], "10.0.0.1"),
        (["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
    ],
)
def test_the_client_in_the_header(forwarded: list[str], client: str) -> None:
    headers = Headers([("X-Forwarded-For", value) for value in forwarded])
    assert Proxies(["10.0.0.0/8"]).client("10.0.0.1", headers) == client
