"""The Unix socket: the agent's own user is its admin there, other users are who the configuration makes them."""

import contextlib
import json
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import RunningAgent
from tests.support.wire import Wire
from websockets.asyncio.client import unix_connect
from websockets.exceptions import InvalidStatus

from jobworker.client import connect
from jobworker.client.blocking import Client
from jobworker.client.endpoint import Endpoint
from jobworker.paths import Home

if TYPE_CHECKING:
    from tests.support.wire import Dial, Upgrade

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")
MAPPED, OTHER = 65534, 12345  # uids


def path_of(agent: RunningAgent) -> str:
    return str(json.loads(agent.home.address.read_text())["socket"])


@contextlib.asynccontextmanager
async def at_socket(path: str, sock: socket.socket | None = None) -> AsyncIterator[Wire]:
    where: dict[str, Any] = {"path": path} if sock is None else {"sock": sock}
    async with unix_connect(uri="ws://localhost/rpc", max_size=None, close_timeout=1, **where) as connection:
        yield Wire(connection)


def connected_as(uid: int, path: str) -> socket.socket:
    """Return a socket that a process of this user has connected."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if not pid:
        with contextlib.suppress(BaseException):
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(path)
            socket.send_fds(theirs, [b"x"], [sock.fileno()])
        os._exit(0)
    os.waitpid(pid, 0)
    theirs.close()
    with ours:
        _, fds, _, _ = socket.recv_fds(ours, 1, 1)
    if not fds:
        raise PermissionError(f"uid {uid} cannot connect to {path}")
    return socket.socket(fileno=fds[0])


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that all users can enter and only this one can change."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def config(folder: Path) -> str:
    return f'[unix]\npath = "{folder}/agent.sock"\nusers = {{ {MAPPED} = ["reader"] }}\n'


async def test_clients_on_this_host(start_agent: "Callable[..., RunningAgent]") -> None:
    """The clients find the socket and need no credentials there; folder and socket are the user's own."""
    agent = start_agent()
    path = path_of(agent)
    async with connect(f"unix://{path}") as client:
        assert (await client.call("auth.whoami"))["provider"] == "unix"
        assert (await client.call("token.list"))["tokens"]
    with Client(lambda: Endpoint(f"unix://{path}")) as blocking:
        assert blocking.call("auth.whoami")["roles"] == ["admin"]
        assert blocking.call("auth.whoami")["roles"] == ["admin"]  # a second call looks first whether anything came
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
    shown = agent.jw("agent", "info", "--json")
    assert (shown.returncode, shown.stderr) == (0, "")
    login = json.loads(agent.home.audit.read_text().splitlines()[-1])
    assert login["address"] == f"unix:{os.geteuid()}"


async def test_broken_credentials_lock_nobody_out(start_agent: "Callable[..., RunningAgent]") -> None:
    """`jw` reaches its own agent whose tokens and CA are of no use."""
    agent = start_agent()
    broken = (agent.home.tokens, agent.home.local_token, agent.ca)
    kept = [(file, file.read_bytes()) for file in broken]
    for file in broken:
        file.write_bytes(b"broken")
    try:
        done = agent.jw("run", "--", "echo", "in")
        assert (done.returncode, done.stdout) == (0, "in\n")
    finally:
        for file, content in kept:
            file.write_bytes(content)


async def test_a_full_agent_has_room_for_its_own_user(
    start_agent: "Callable[..., RunningAgent]", dial: "Dial"
) -> None:
    """Its own user can still look and act when others have all the connections there may be."""
    agent = start_agent(config="[limits]\nconnections = 2\n")
    async with dial(agent), dial(agent):
        with pytest.raises(InvalidStatus):
            async with dial(agent):
                pass
        async with at_socket(path_of(agent)) as wire:
            assert await wire.ask("agent.ping")


@NEEDS_ROOT
async def test_another_user_is_who_the_configuration_makes_it(
    start_agent: "Callable[..., RunningAgent]", shared_folder: Path
) -> None:
    """A mapped user has its roles and its name; another one is refused; no other can reach an unshared socket."""
    agent = start_agent(config=config(shared_folder))
    path = path_of(agent)
    async with at_socket(path, connected_as(MAPPED, path)) as wire:
        me = await wire.ask("auth.whoami")
        assert (me["provider"], me["roles"]) == ("unix", ["reader"])
        assert (await wire.refused("token.list"))["code"] == 40301
    with pytest.raises(InvalidStatus) as refused:
        async with at_socket(path, connected_as(OTHER, path)):
            pass
    assert refused.value.response.status_code == 401
    private = start_agent()
    with pytest.raises(PermissionError):
        connected_as(MAPPED, path_of(private))


@NEEDS_ROOT
def test_a_folder_that_others_can_change(tmp_path: Path, shared_folder: Path) -> None:
    """Another user could put a socket of its own there: the agent does not start."""
    shared_folder.chmod(0o777)
    agent = RunningAgent(Home(tmp_path / "home"), config=config(shared_folder))
    with pytest.raises(AssertionError, match="other users can change"):
        agent.start()


async def test_a_restart_refuses_nobody_at_the_socket(start_agent: "Callable[..., RunningAgent]") -> None:
    """Who connects during a restart in place waits, as at the port."""
    agent = start_agent()
    path = path_of(agent)
    async with at_socket(path) as wire:
        await wire.ask("agent.restart")
        assert await wire.closed() == 1012
    async with at_socket(path) as wire:
        assert await wire.ask("agent.ping")


async def test_guesses_lock_no_valid_token_out(
    start_agent: "Callable[..., RunningAgent]", dial: "Dial", upgrade: "Upgrade"
) -> None:
    """On loopback all users have one address: a token that was never used is let in beside one that guesses."""
    agent = start_agent(config="[limits]\nfailed_logins = 3\n")
    async with dial(agent) as wire:
        token = (await wire.ask("token.create", name="late", roles=["reader"]))["token"]
        codes = [(await upgrade(agent, ("Authorization", f"Bearer jw1_{n}")))[0] for n in range(5)]
        assert codes == [401, 401, 401, 429, 429]
        async with dial(agent, token=token) as late:
            assert await late.ask("agent.ping")
        await wire.ask("token.revoke", name="late")
        async with dial(agent) as again:
            assert await again.ask("agent.ping")
        assert (await upgrade(agent, ("Authorization", f"Bearer {token}")))[0] == 401
