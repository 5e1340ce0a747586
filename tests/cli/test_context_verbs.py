"""Contexts by -c, their new names, and a restart of an agent that is not of this host."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobworker.paths import Home, contexts_file
from jobworker.tls import certificates

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Jw
    from tests.conftest import RunningAgent
    from tests.support.window import Window


@pytest.fixture(autouse=True)
def user(shared: "RunningAgent", jw: "Jw", home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A user with a home in which no agent runs, and with the context prod."""
    monkeypatch.setenv("JOBWORKER_HOME", str(home.path))
    home.path.mkdir(mode=0o700)
    context = {"address": shared.address, "ca": str(shared.ca), "token": shared.token}
    contexts_file().write_text(json.dumps({"version": 1, "contexts": {"prod": context}}))
    contexts_file().chmod(0o600)
    return home


def pin_of(agent: "RunningAgent") -> str:
    return str(certificates.describe(certificates.load(agent.home.tls / "server.pem")[0])["fingerprint"])


def test_show_and_rename(jw: "Jw", shared: "RunningAgent", user: Home) -> None:
    """The one in use stays in use; no secret is shown; a name that is taken, unknown or none is refused."""
    assert json.loads(jw.out("context", "show", "--json"))["state"] == str(user.path)
    jw.out("context", "use", "prod")
    jw.out("context", "rename", "prod", "stage")
    shown = jw.out("context", "show")
    assert shared.address in shown
    assert shared.token not in shown + jw.out("context", "show", "--json", "stage")
    found = json.loads(jw.out("-c", "stage", "context", "show", "--json"))
    assert (found["name"], found["current"], found["trust"]) == ("stage", True, str(shared.ca))
    wrong = {
        "rename nix x": "expected one of stage",
        "rename stage stage": "exists",
        "rename stage local": "not 'local'",
    }
    wrong |= {"rename stage a/b": "expected letters", "show nix": "expected one of stage"}
    for words, reason in wrong.items():
        done = jw("context", *words.split())
        assert (done.returncode in (1, 2), reason in done.stderr) == (True, True), done
    assert jw.out("-c", "stage", "rpc", "agent.ping").startswith('{"time"')


def test_restart_of_a_remote_agent(jw: "Jw", shared: "RunningAgent") -> None:
    """It is executed again in its process, its jobs run on, and a caller that is no admin is refused."""
    with_home = {"JOBWORKER_HOME": str(shared.home.path)}
    job = jw("run", "-d", "--", "sleep", "600", **with_home).stdout.strip()
    token = jw("token", "create", "looker", "--role", "reader", **with_home).stdout.strip()
    for words in (["agent", "restart"], ["audit"]):
        refused = jw("--address", shared.address, "--ca", str(shared.ca), *words, JW_TOKEN=token)
        assert refused.returncode == 4, refused
    done = jw("-c", "prod", "agent", "restart", "--json")
    assert (done.returncode, done.stderr, json.loads(done.stdout)["pid"]) == (0, "", shared.pid)
    assert "--inherited" in Path(f"/proc/{shared.pid}/cmdline").read_text().split("\0"), "it is another program now"
    assert json.loads(jw.out("-c", "prod", "status", "--json", job))["state"] == "running"
    assert jw("-c", "prod", "rm", "-f", job).returncode == 0
    entry = json.loads(jw.out("-c", "prod", "audit", "--json", "-n", "1", "--job", job))
    assert (entry["method"], entry["job"]) == ("job.delete", job)
    assert jw.out("audit") == "", "this host has no agent, and so no audit log"
    assert "agent.restart" in jw.out("-c", "prod", "audit", "--denied")


def test_add_tries_the_agent_first(jw: "Jw", shared: "RunningAgent", tmp_path: Path) -> None:
    """A context is stored once the server is trusted and knows the credentials, or unchecked if that is asked for."""
    token, wrong = tmp_path / "token", tmp_path / "wrong"
    token.write_text(shared.token)
    wrong.write_text("jw1_" + "S" * 43)
    where = ["--address", shared.address]
    done = jw("context", "add", "new", *where, "--ca", str(shared.ca), "--token-file", str(token))
    pin = pin_of(shared)
    assert (done.returncode, pin in done.stderr, "knows you as local (admin)" in done.stderr) == (0, True, True), done
    refused = {
        4: [*where, "--ca", str(shared.ca), "--token-file", str(wrong)],
        6: [*where, "--token-file", str(token)],
    }
    for code, words in refused.items():
        done = jw("context", "add", "other", *words)
        assert done.returncode == code, done
    assert f"--pin {pin}" in done.stderr, "without a terminal, the next command has the pin"
    done = jw("context", "add", "other", "--address", "wss://127.0.0.1:1/rpc", "--token-file", str(token))
    assert (done.returncode, "--no-check" in done.stderr) == (6, True)
    assert sorted(jw.out("context", "ls", "-q").split()) == ["new", "prod"]
    assert jw("context", "add", "other", "--no-check", "--address", "wss://127.0.0.1:1/rpc").returncode == 0


def test_trust_at_first_sight(jw: "Jw", shared: "RunningAgent", window: "Callable[..., Window]") -> None:
    """On a terminal the fingerprint is shown, and pinned if the user confirms it."""
    for answer, code in (("n", 6), ("y", 0)):
        opened = window("context", "add", "seen", "--address", shared.address, cols=200)
        opened.wait_for("sha256:[0-9a-f]{64}")
        opened.wait_for(r"\[y/N\]")
        opened.type(f"{answer}\r")
        if answer == "y":
            opened.wait_for("Token")
            opened.type(f"{shared.token}\r")
        assert opened.end() == code
    assert json.loads(contexts_file().read_text())["contexts"]["seen"]["pin"] == pin_of(shared)
    assert json.loads(jw.out("-c", "seen", "rpc", "auth.whoami"))["name"] == "local"


def test_contexts_that_cannot_be_read(jw: "Jw", user: Home) -> None:
    """The error names the file and what to do; an address needs none of them."""
    contexts_file().unlink()
    contexts_file().mkdir()
    for words in (["-c", "prod", "ps"], ["context", "ls"], ["ps"], ["context", "rename", "prod", "x"]):
        done = jw(*words)
        assert (done.returncode, "contexts of jw cannot be read: Is a directory" in done.stderr) == (6, True), done
        assert f"hint: ls -ld {contexts_file()}" in done.stderr
    done = jw("--address", "wss://127.0.0.1:1/rpc", "ps")
    assert "cannot be reached" in done.stderr, done


def test_without_a_home(jw: "Jw", monkeypatch: pytest.MonkeyPatch) -> None:
    """`jw` has no place for contexts then, and names the variable to set."""
    monkeypatch.delenv("JOBWORKER_HOME")
    for words in (["context", "ls"], ["-c", "prod", "ps"], ["context", "rename", "a", "b"]):
        done = jw(*words, XDG_CONFIG_HOME="~no-such-user/.config")
        assert (done.returncode, "the home folder is not known" in done.stderr) == (6, True), done
        assert "hint: set JOBWORKER_HOME" in done.stderr
