"""What locks others out, or is not trusted by them, does not lock the agent's own user out."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.plugin_site import BUILT_IN, Install

from jobworker.errors import Unauthenticated
from jobworker.tls.certificates import make_all

if TYPE_CHECKING:
    from tests.conftest import RunningAgent

BROKEN = """
from jobworker import hookimpl
class Broken:
    name = "broken"
    async def authenticate(self, credentials): raise RuntimeError("the directory is down")
@hookimpl
def register_auth_providers(context): return [Broken()]
"""


async def test_a_provider_that_fails(plugin: Install, start: "Callable[..., RunningAgent]") -> None:
    """The first provider always fails, so no token is accepted; `jw` runs, lists and stops on its own host."""
    plugin("broken", BROKEN)
    agent = start(f"[auth]\nproviders = ['broken', 'token']\n[plugins]\nenabled = [{BUILT_IN}, 'broken']\n")
    with pytest.raises(Unauthenticated):
        async with agent.client():
            pass
    for words in (["run", "--", "echo", "in"], ["ps"], ["token", "list"], ["agent", "info"]):
        done = agent.jw(*words)
        assert done.returncode == 0, done
    assert agent.jw("agent", "stop", "--jobs").returncode == 0
    assert agent.process is not None
    agent.process.wait()
    agent.config = ""  # the test's end logs in by token


async def test_a_certificate_of_ones_own(start: "Callable[..., RunningAgent]", tmp_path: Path) -> None:
    """`jw` does not know the CA of the certificate that is configured, and reaches its own agent all the same."""
    make_all(tmp_path / "certs", ["agent.example.org"])
    files = f"cert = '{tmp_path}/certs/server.pem'\nkey = '{tmp_path}/certs/server.key'\n"
    agent = start(f"[server]\n{files}")
    assert not agent.ca.exists()
    done = agent.jw("run", "--", "echo", "in")
    assert (done.returncode, done.stdout) == (0, "in\n"), done
    assert agent.jw("agent", "stop", "--jobs").returncode == 0
    assert agent.process is not None
    agent.process.wait()
    agent.config = ""
