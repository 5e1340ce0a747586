"""What an agent refuses to start with: folders, keys and ports that are not its own alone."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobworker.model import JobSpec, Reason, State
from jobworker.paths import Home
from jobworker.tls import certificates

if TYPE_CHECKING:
    from tests.conftest import RunningAgent


Refused = Callable[..., str]


def test_a_port_in_use(refused: Refused) -> None:
    """The message names address and port and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(f"[server]\nport = {port}\n")
    assert f"127.0.0.1 port {port}" in said
    assert "in use" in said
    assert "server.port" in said


def test_an_address_of_another_host(refused: Refused) -> None:
    """An address that this host does not have is named."""
    assert "192.0.2.1" in refused('[server]\nhost = "192.0.2.1"\nport = 0\n')


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o702])
def test_a_folder_that_others_can_reach(refused: Refused, home: Home, mode: int) -> None:
    """The state folder must be ours alone; the message has the mode and the command that helps."""
    home.path.mkdir()
    home.path.chmod(mode)
    said = refused()
    assert f"mode {mode:o}" in said
    assert f"chmod 700 {home.path}" in said
    assert list(home.path.iterdir()) == []


def test_a_folder_that_is_a_link(refused: Refused, home: Home, tmp_path: Path) -> None:
    """A symbolic link is refused: another user may have created it."""
    (tmp_path / "real").mkdir(mode=0o700)
    home.path.symlink_to(tmp_path / "real")
    assert "symbolic link" in refused()
    assert list((tmp_path / "real").iterdir()) == []


def test_a_file_in_place_of_the_folder(refused: Refused, home: Home) -> None:
    """It is named, without a traceback."""
    home.path.write_text("")
    assert str(home.path) in refused()


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate and its key."""
    certificates.make_all(tmp_path / "pair", ["localhost"])
    return tmp_path / "pair" / "server.pem", tmp_path / "pair" / "server.key"


def tls(cert: Path, key: Path) -> str:
    return f'[server]\nport = 0\ncert = "{cert}"\nkey = "{key}"\n'


def test_a_key_that_others_can_read(refused: Refused, pair: tuple[Path, Path]) -> None:
    """A private key that is not private is refused, with the command that helps."""
    cert, key = pair
    key.chmod(0o640)
    said = refused(tls(cert, key))
    assert "mode 640" in said
    assert f"chmod 600 {key}" in said


def test_a_certificate_without_its_key(refused: Refused, pair: tuple[Path, Path], tmp_path: Path) -> None:
    """Missing, foreign and broken files are named."""
    cert, key = pair
    assert "both or neither" in refused(f'[server]\nport = 0\ncert = "{cert}"\n')
    assert str(tmp_path / "none") in refused(tls(cert, tmp_path / "none"))
    assert str(tmp_path / "none") in refused(tls(tmp_path / "none", key))
    foreign = tmp_path / "foreign"
    certificates.make_all(foreign, ["localhost"])
    assert "not a certificate and its key" in refused(tls(cert, foreign / "server.key"))
    cert.write_text("nonsense")
    assert "not a certificate and its key" in refused(tls(cert, key))


async def test_one_agent_on_one_folder(start: "Callable[..., RunningAgent]", refused: Refused) -> None:
    """A second agent on the same state folder is refused, and the first does not notice."""
    agent = start()
    said = refused("")
    assert str(agent.home.path) in said
    assert "another agent" in said
    async with agent.client() as client:
        assert (await client.call("agent.info"))["pid"] == agent.pid


async def test_a_broken_token_file(start: "Callable[..., RunningAgent]", refused: Refused, home: Home) -> None:
    """Tokens that others can read, or that are none, stop the start and are left as they are."""
    agent = start()
    agent.end()
    good = home.tokens.read_bytes()
    try:
        home.tokens.chmod(0o644)
        assert "mode 644" in refused("")
        home.tokens.chmod(0o600)
        home.tokens.write_bytes(b"[{")
        said = refused("")
        assert "tokens.json" in said
        assert home.tokens.read_bytes() == b"[{"
    finally:
        home.tokens.chmod(0o600)
        home.tokens.write_bytes(good)


async def test_a_job_table_of_a_later_version(
    start: "Callable[..., RunningAgent]", refused: Refused, home: Home
) -> None:
    """What a later version wrote is not touched."""
    import sqlite3

    start().end()
    with sqlite3.connect(home.database) as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    said = refused("")
    assert "later version" in said
    assert "99" in said
    with sqlite3.connect(home.database) as db:
        db.execute("PRAGMA user_version = 2")
    db.close()


async def test_the_address_file(start: "Callable[..., RunningAgent]") -> None:
    """The local agent keeps its port over a restart if it is free, and takes another one if it is not."""
    agent = start()
    port = agent.port
    agent.end()
    agent.start()
    assert agent.port == port
    agent.end()
    with socket.create_server(("127.0.0.1", port)):
        agent.start()
    assert agent.port != port
    async with agent.client() as client:
        assert (await client.call("agent.info"))["address"] == agent.address == f"wss://127.0.0.1:{agent.port}/rpc"


async def test_a_garbled_job_table_is_set_aside(agent: "RunningAgent") -> None:
    """The agent starts, renames the old table, logs that, runs jobs, and knows the one that was running."""
    async with agent.client() as client:
        before = await client.run(JobSpec(argv=["sh", "-c", "echo up; exec sleep 1000"]))
        async for _ in before:
            break
        over = await client.run(JobSpec(argv=["true"]))
        assert [chunk async for chunk in over] == []
    agent.end()
    garbled = b"this was a database once\n" * 1000
    for suffix in ("-wal", "-shm"):
        agent.home.database.with_name(agent.home.database.name + suffix).unlink(missing_ok=True)
    agent.home.database.write_bytes(garbled)
    agent.start()
    aside = list(agent.home.path.glob("jobs.db.broken-*"))
    assert [path.read_bytes() for path in aside] == [garbled]
    assert aside[0].name in agent.home.agent_log.read_text()
    async with agent.client() as client:
        [known] = await client.list()
        assert (known.id, known.state, known.owner) == (before.job.id, State.RUNNING, "unknown")
        assert known.spec.argv == ["sleep", "1000"]
        stopped = await client.stop(known.id)
        assert stopped.exit is not None
        assert (stopped.exit.signal, stopped.exit.reason, stopped.log.bytes) == ("SIGTERM", Reason.STOPPED, 3)
        run = await client.run(JobSpec(argv=["true"]))
        assert [chunk async for chunk in run] == []
        assert run.end is not None
        assert run.end.exit is not None
        assert run.end.exit.code == 0


def test_the_agent_exits_1(refused: Callable[..., str], tmp_path: Path) -> None:
    """An agent with a configuration that it cannot use writes the reason to stderr and exits 1."""
    said = refused("[server]\nport = '7443'\n")
    assert all(word in said for word in ("agent.toml", "server.port", "'7443'", "expected int"))
    said = refused(tmp_path / "missing.toml")
    assert "missing.toml" in said
    assert "no such file" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[auth]\nproviders = ['ldap']", ["auth.providers", "'ldap'", "token"]),
        ("[jobs]\nstop_strategy = 'nicely'", ["jobs.stop_strategy", "'nicely'", "graceful, input, kill"]),
        (
            "[plugins]\nenabled = ['token', 'moon']",
            [
                "plugins.enabled",
                "'moon'",
                "command, cpu, deadline, graceful, idle, input, jwt, kill, ladder",
                "mtls, roles, secrets, token, total, waiting",
            ],
        ),
        ("[plugins]\nenabled = ['graceful']", ["auth.providers", "'token'", "none"]),
    ],
    ids=["provider", "strategy", "not-installed", "not-enabled"],
)
def test_what_no_plugin_provides(unfit: Callable[[str], str], text: str, words: list[str]) -> None:
    """A name that no enabled plugin has: the start is refused with the names there are."""
    said = unfit(text)
    for word in words:
        assert word in said
