"""Settings that can never work stop the start, or are named in the log."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.conftest import RunningAgent
    from tests.support.wire import Upgrade


def test_a_user_of_jobs_that_does_not_exist(refused: Callable[..., str]) -> None:
    shown = refused('[jobs]\nuser = "nosuchuser"\n')
    assert "jobs.user: 'nosuchuser'" in shown
    assert "hint: create it" in shown


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_a_host_that_is_not_ours(refused: Callable[..., str], host: str) -> None:
    """The hint is about the host, not about the port."""
    shown = refused(f'[server]\nhost = "{host}"\nport = 0\n')
    assert f"cannot listen on {host}" in shown
    assert "server.host" in shown
    assert "free port" not in shown


async def test_a_refused_origin(agent: "RunningAgent", upgrade: "Upgrade") -> None:
    """The response and the log have it, and the key that allows it."""
    assert (await upgrade(agent, ("Origin", "https://ops.example.org/")))[0] == 403
    await until(lambda: "the Origin 'https://ops.example.org/' is not allowed" in agent.home.agent_log.read_text())
