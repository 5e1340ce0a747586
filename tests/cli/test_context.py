"""Contexts: address and credentials of an agent, and no token for any other server."""

import contextlib
import json
import os
import pty
import signal
import socket
import ssl
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import DEADLINE

from jobworker.client import Endpoint
from jobworker.paths import Home, contexts_file
from jobworker.tls import certificates

if TYPE_CHECKING:
    from tests.cli.conftest import Jw
    from tests.conftest import RunningAgent

SECRET = "jw1_" + "S" * 43


@pytest.fixture(autouse=True)
def user(shared: "RunningAgent", jw: "Jw", home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A user with a home in which no agent runs, with a `jw`."""
    monkeypatch.setenv("JOBWORKER_HOME", str(home.path))
    return home


@pytest.fixture
def pin(shared: "RunningAgent") -> str:
    return str(certificates.describe(certificates.load(shared.home.tls / "server.pem")[0])["fingerprint"])


def add(name: str, address: str, *arguments: str, token: str = SECRET) -> "subprocess.CompletedProcess[str]":
    """Add a context, with the token on stdin."""
    return call("context", "add", name, "--no-check", "--address", address, *arguments, stdin=token + "\n")


def call(*arguments: str, stdin: str) -> "subprocess.CompletedProcess[str]":
    from tests.cli.conftest import COMMAND

    return subprocess.run(
        [*COMMAND, *arguments], input=stdin, capture_output=True, text=True, timeout=DEADLINE, check=False
    )


def whoami(jw: "Jw", *arguments: str, **env: str) -> str:
    done = jw(*arguments, "rpc", "auth.whoami", **env)
    assert done.returncode == 0, done
    return str(json.loads(done.stdout)["name"])


def test_contexts_from_end_to_end(lone_jw: "Jw", shared: "RunningAgent", pin: str, user: Home) -> None:
    """By name, by use, by JW_CONTEXT; `local` is the agent of this host; what is removed is gone."""
    jw, mine = lone_jw, shared.token
    assert add("prod", shared.address, "--ca", str(shared.ca), token=mine).returncode == 0
    file = user.path.parent / "token"
    file.write_text(mine + "\n")
    colons = "sha256:" + ":".join(pin[7:][at : at + 2].upper() for at in range(0, 64, 2))
    pinned = ["--address", shared.address, "--pin", colons, "--token-file", str(file)]
    assert jw("context", "add", "pinned", *pinned).returncode == 0
    again = add("prod", shared.address)
    assert (again.returncode, "--force" in again.stderr) == (1, True)
    assert [whoami(jw, "--context", name) for name in ("prod", "pinned")] == ["local"] * 2
    assert whoami(jw, JW_CONTEXT="prod") == "local"
    assert jw("ps", "-a", JW_CONTEXT="local").returncode == 0, "started here"
    assert jw("agent", "stop").returncode == 0
    jw.out("context", "use", "prod")
    assert whoami(jw) == "local"
    ran = jw("run", "--", "echo", "hi")
    assert (ran.returncode, ran.stdout) == (0, "hi\n")
    info = json.loads(jw.out("agent", "info", "--json"))
    assert (info["pid"], info["tls"]["fingerprint"]) == (shared.pid, pin)
    stop = jw("agent", "stop")
    assert (stop.returncode, "for the local agent" in stop.stderr) == (2, True)
    listed = jw("context", "ls")
    assert mine not in listed.stdout + listed.stderr + jw("context", "ls", "--json").stdout
    shown = {one["name"]: one for one in json.loads(jw.out("context", "ls", "--json"))["contexts"]}
    assert (shown["prod"]["trust"], shown["pinned"]["trust"]) == (str(shared.ca), pin)
    assert [one["current"] for one in shown.values()] == [True, False]
    assert jw("context", "rm", "prod").returncode == 0
    assert jw.out("context", "ls", "-q") == "pinned"
    assert jw("context", "rm", "prod").returncode == 2
    gone = jw("--context", "prod", "ps")
    assert (gone.returncode, "expected one of pinned, local" in gone.stderr) == (2, True)
    nobody = jw("agent", "info")
    assert (nobody.returncode, f"no agent runs on {user.path}" in nobody.stderr) == (6, True), (
        "the current one is gone"
    )


def test_the_file_is_its_owners_alone(jw: "Jw", shared: "RunningAgent", user: Home) -> None:
    """0600 from birth in a folder of 0700; one that others can read is refused, with the command that helps."""
    assert add("prod", shared.address, "--ca", str(shared.ca), token=shared.token).returncode == 0
    path = contexts_file()
    assert path == user.path / "contexts.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for place, mode, right in ((path, 0o640, 0o600), (path.parent, 0o755, 0o700)):
        place.chmod(mode)
        for command in (["--context", "prod", "ps"], ["context", "ls"], ["ps"], ["context", "rm", "prod"]):
            done = jw(*command)
            assert done.returncode == 6, command
            assert f"hint: chmod {right:o} {place}" in done.stderr
        assert jw("version").returncode == 0
        place.chmod(right)
    path.write_text("{")
    assert "not contexts of jw" in jw("ps").stderr
    path.write_text(json.dumps({"version": 1, "contexts": {"a": {"token": SECRET}}}))
    local = jw("--context", "a", "ps")
    assert (local.returncode, "'a' has no address" in local.stderr) == (6, True), "not the local agent"
    path.write_text(
        json.dumps({"version": 1, "contexts": {"a": {"address": "wss://127.0.0.1:1/rpc", "insecure": True}}})
    )
    assert "insecure" not in jw("--context", "a", "ps").stderr, "only a flag or the environment says so"
    path.write_text(json.dumps({"version": 9, "later": 1, "contexts": {"a": {"address": "wss://a/rpc", "later": 1}}}))
    assert jw.out("context", "ls", "-q") == "a"


def test_the_place_of_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In JOBWORKER_HOME if it is set, else in the XDG folder for settings."""
    monkeypatch.delenv("JOBWORKER_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert contexts_file() == tmp_path / ".config" / "jobworker" / "contexts.json"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert contexts_file() == tmp_path / "xdg" / "jobworker" / "contexts.json"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a/b", "--address", "wss://x/rpc"], "name: 'a/b'"),
        (["local", "--address", "wss://x/rpc"], "name: 'local'"),
        (["a", "--address", "ws://x/rpc"], "address: 'ws://x/rpc'"),
        (["a", "--address", "wss://x/rpc", "--pin", "sha256:12"], "64 hexadecimal digits"),
        (["a", "--address", "wss://x/rpc", "--pin", "f" * 64], "64 hexadecimal digits"),
        (["a", "--address", "wss://x/rpc", "--ca", "/none"], "ca: '/none'"),
        (["a", "--address", "wss://x/rpc", "--key", "/none"], "--cert"),
        (["a", "--address", "wss://x/rpc", "--ca", "/none", "--pin", "x"], "both are given"),
        (["a", "--address", "wss://x/rpc", "--token-file", "/none"], "token-file: '/none'"),
    ],
)
def test_a_context_that_makes_no_sense(jw: "Jw", arguments: list[str], words: str) -> None:
    done = jw("context", "add", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert not contexts_file().exists()


def test_login(jw: "Jw", shared: "RunningAgent") -> None:
    """A token is kept only when the agent knows it; without NAME it is that of the current context."""
    assert add("prod", shared.address, "--ca", str(shared.ca), token="").returncode == 0
    nobody = call("login", stdin="x\n")
    assert (nobody.returncode, "no context is chosen" in nobody.stderr) == (2, True)
    jw.out("context", "use", "prod")
    for arguments in (["login"], ["login", "--user", "alice"]):
        wrong = call(*arguments, stdin=SECRET + "\n")
        assert (wrong.returncode, SECRET in wrong.stdout + wrong.stderr) == (4, False)
        assert SECRET not in contexts_file().read_text()
    right = call("login", "prod", stdin=shared.token + "\n")
    assert (right.returncode, "knows you as local (admin)" in right.stderr) == (0, True)
    assert whoami(jw) == "local"


def test_ctrl_c_at_the_prompt(jw: "Jw") -> None:
    """It ends `jw` as everywhere else."""
    from tests.cli.conftest import COMMAND

    add("prod", "wss://127.0.0.1:1/rpc")
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*COMMAND, "login", "prod"], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while b"Token" not in shown:
        shown += os.read(ours, 1024)
    process.send_signal(signal.SIGINT)
    try:
        assert process.wait(DEADLINE) == 130
    finally:
        process.kill()
        os.close(ours)


class Impostor:
    """A TLS server at an address of its own that records what it receives and answers with `answer`."""

    def __init__(self, folder: Path, answer: bytes) -> None:
        certificates.make_all(folder, ["localhost", "127.0.0.1"])
        self.ca = folder / "ca.pem"
        self.pin = str(certificates.describe(certificates.load(folder / "server.pem")[0])["fingerprint"])
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / "server.pem", folder / "server.key")
        self._answer = answer
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.address = f"wss://127.0.0.1:{self._sock.getsockname()[1]}/rpc"
        self.heard: list[bytes] = []
        self.failed: list[str] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._sock.accept()
            except OSError:
                return
            plain.settimeout(DEADLINE)
            with plain:
                try:
                    with self._context.wrap_socket(plain, server_side=True) as sock:
                        self.heard.append(sock.recv(65536))
                        if self.heard[-1]:  # else the client has left after it saw the certificate
                            sock.sendall(self._answer)
                except OSError as error:
                    self.failed.append(str(error))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        self._thread.join(DEADLINE)


@pytest.fixture
def impostor(tmp_path: Path, shared: "RunningAgent") -> Iterator[Impostor]:
    """It would send everybody on to the shared agent."""
    elsewhere = shared.address.encode()
    answer = b"HTTP/1.1 302 Found\r\nLocation: " + elsewhere + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    found = Impostor(tmp_path / "impostor", answer)
    yield found
    found.close()


def test_nothing_is_sent_to_a_server_that_is_not_trusted(
    jw: "Jw", impostor: Impostor, shared: "RunningAgent", pin: str
) -> None:
    """Neither request nor token goes out: by pin, by CA and by the system's CAs; a mismatch names both pins."""
    add("pinned", impostor.address, "--pin", pin)
    add("by-ca", impostor.address, "--ca", str(shared.ca))
    add("plain", impostor.address)
    for name in ("pinned", "by-ca", "plain"):
        done = jw("--context", name, "ps")
        assert (done.returncode, "is not trusted" in done.stderr) == (6, True), done
        if name == "pinned":
            assert f"its certificate is {impostor.pin}, the pinned one {pin}" in done.stderr
            assert "hint: if it was renewed, pin the new one" in done.stderr
    both = jw("--ca", str(impostor.ca), "--pin", pin, "--address", impostor.address, "--token", SECRET, "ps")
    assert (both.returncode, "is not trusted" in both.stderr) == (6, True)
    impostor.close()
    assert not any(impostor.heard)
    assert len(impostor.failed) + len(impostor.heard) == 4


def test_insecure_warns_each_time(jw: "Jw", impostor: Impostor) -> None:
    """Only then the token goes to a server that is not verified; but not on to one that it redirects to."""
    for arguments, env in ((["--insecure"], {}), ([], {"JW_INSECURE": "1"})):
        done = jw(*arguments, "ps", JW_ADDRESS=impostor.address, JW_TOKEN=SECRET, **env)
        assert done.returncode == 6
        assert f"the certificate of {impostor.address} is not verified (insecure)" in done.stderr
        assert "answered 302" in done.stderr, "an agent never redirects"
    impostor.close()
    assert [SECRET.encode() in heard for heard in impostor.heard] == [True, True]


def test_a_token_is_for_its_own_address(jw: "Jw", impostor: Impostor, shared: "RunningAgent") -> None:
    """Another address, by flag or environment, gets nothing of a context; a context nothing of the environment."""
    add("prod", shared.address, "--ca", str(shared.ca), token=shared.token)
    add("other", impostor.address, "--ca", str(impostor.ca), token="jw1_other")
    jw.out("context", "use", "prod")
    there = str(impostor.ca)
    assert jw("--address", impostor.address, "--ca", there, "ps").returncode == 6
    assert jw("ps", JW_ADDRESS=impostor.address, JW_CA=there, JW_CONTEXT="prod").returncode == 6
    assert jw("--context", "other", "ps", JW_TOKEN=shared.token, JW_ADDRESS=shared.address).returncode == 6
    two = jw("--context", "other", "--address", shared.address, "ps")
    assert (two.returncode, "both are given" in two.stderr) == (2, True)
    impostor.close()
    assert len(impostor.heard) == 3
    assert not any(shared.token.encode() in heard for heard in impostor.heard)
    assert b"authorization" not in (impostor.heard[0] + impostor.heard[1]).lower()
    assert b"jw1_other" in impostor.heard[2]


def test_no_secret_is_in_what_a_traceback_shows() -> None:
    found = Endpoint("wss://x/rpc", token=SECRET, password=SECRET)
    assert SECRET not in repr(found)


def test_a_service_starts_whatever_its_user_looks_at(
    lone_jw: "Jw", shared: "RunningAgent", tmp_path: Path, user: Home
) -> None:
    """`jw agent run` is this host's, also while a context of another is in use."""
    add("prod", shared.address, token=shared.token)
    lone_jw.out("context", "use", "prod")
    config = tmp_path / "agent.toml"
    config.write_text("[server]\nport = 0\n")
    agent = lone_jw.start("agent", "run", "--config", str(config))
    agent.wait_for(rb"listening on wss://", "stderr")
    assert lone_jw("--context", "local", "agent", "stop").returncode == 0
    assert agent.end() == 0
    lone_jw.out("context", "use", "local")
