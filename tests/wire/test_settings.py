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


@pytest.mark.parametrize("check", [[], ["--check"]])
@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_a_host_that_is_not_ours(refused: Callable[..., str], host: str, check: list[str]) -> None:
    """The hint is about the host, not about the port; `--check` has it too."""
    shown = refused(f'[server]\nhost = "{host}"\nport = 0\n', more=check)
    assert f"cannot listen on {host}" in shown
    assert "server.host" in shown
    assert "free port" not in shown


@pytest.mark.parametrize("check", [[], ["--check"]])
def test_a_client_ca_that_is_not_there(refused: Callable[..., str], check: list[str]) -> None:
    """Also before the agent has certificates of its own."""
    assert "server.client_ca: /nowhere/ca.pem" in refused('[server]\nclient_ca = "/nowhere/ca.pem"\n', more=check)


async def test_a_refused_origin(agent: "RunningAgent", upgrade: "Upgrade") -> None:
    """The response and the log have it, and the key that allows it."""
    assert (await upgrade(agent, ("Origin", "https://ops.example.org/")))[0] == 403
    await until(lambda: "the Origin 'https://ops.example.org/' is not allowed" in agent.home.agent_log.read_text())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[unix]\npath = "agent.sock"', "unix.path: 'agent.sock'; expected an absolute path"),
        ('[server]\nnames = ["*.example.org"]', "server.names: '*.example.org'; expected the name or address"),
        ('[server]\nnames = ["example.org:7443"]', "server.names: 'example.org:7443'; expected"),
        ('[server]\nnames = ["https://example.org"]', "server.names: 'https://example.org'; expected"),
        ('[jobs]\npath = ""', "jobs.path: ''; expected folders"),
    ],
)
def test_a_setting_that_never_works(unfit: Callable[[str], str], text: str, words: str) -> None:
    """No client reaches a socket in an unknown folder, and none sends such a name in its `Host`."""
    assert words in unfit(text)
