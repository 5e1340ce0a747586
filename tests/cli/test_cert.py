"""`jw cert`: certificates in files, and what they open."""

import asyncio
import json
import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.conftest import RunningAgent

from jobworker.client.local import agent_pid
from jobworker.paths import Home

if TYPE_CHECKING:
    from tests.cli.conftest import Jw


@pytest.fixture
def ca(jw: "Jw", tmp_path: Path) -> Path:
    """A folder with a CA and a server certificate."""
    jw.out("cert", "init", "--out", str(tmp_path / "ca"), "--name", "agent.example.org")
    return tmp_path / "ca"


def test_a_client_certificate_with_a_role_in_its_unit(jw: "Jw", home: Home) -> None:
    """An agent that accepts client certificates of its own CA gets name and role from the certificate."""
    config = (
        f'[server]\nclient_ca = "{home.tls}/ca.pem"\n[auth]\nproviders = ["mtls", "token"]\n[plugins]\n'
        'enabled = ["token", "mtls", "roles", "graceful", "kill", "total"]\n[plugins.mtls]\nroles_from = "ou"\n'
    )
    os.environ["JOBWORKER_HOME"] = str(home.path)  # undone by the fixture
    home.create()
    jw.out("cert", "init")
    jw.out("cert", "issue", "alice", "--ou", "reader", "--out", str(home.path / "people"))
    agent = RunningAgent(home, config)
    agent.start()
    try:
        shown = [f"--cert={home.path}/people/alice.pem", f"--key={home.path}/people/alice.key"]
        where = [f"--address={agent.address}", f"--ca={agent.ca}", *shown]
        who = json.loads(jw.out(*where, "rpc", "auth.whoami"))
        assert (who["name"], who["provider"], who["roles"]) == ("alice", "mtls", ["reader"])
        jw.out("context", "add", "mine", *where)
        jw.out("context", "use", "mine")
        assert json.loads(jw.out("rpc", "auth.whoami"))["name"] == "alice"
        assert jw("run", "true").returncode == 125
        jw.out("context", "use", "local")
    finally:
        asyncio.run(agent.clean())


def test_issue_overwrites_nothing_unasked(jw: "Jw", ca: Path, tmp_path: Path) -> None:
    """Files of 0600, for one end of a connection, and not for longer than is accepted."""
    out = tmp_path / "out"
    issue = [
        "cert",
        "issue",
        "web.agent.example.org",
        "--server",
        "--name",
        "127.0.0.1",
        "--ca",
        str(ca),
        "--out",
        str(out),
    ]
    made = json.loads(jw.out(*issue, "--days", "398", "--json"))
    assert made == {"cert": f"{out}/web.agent.example.org.pem", "key": f"{out}/web.agent.example.org.key"}
    before = Path(made["cert"]).read_bytes()
    assert all(stat.S_IMODE(Path(file).stat().st_mode) == 0o600 for file in made.values())
    again = jw(*issue)
    assert (again.returncode, "--force" in again.stderr) == (1, True)
    assert Path(made["cert"]).read_bytes() == before
    assert jw(*issue, "--force").returncode == 0
    assert Path(made["cert"]).read_bytes() != before
    long = jw(*issue, "--force", "--days", "399")
    assert (long.returncode, "expected at most 398" in long.stderr) == (2, True)
    for name in ("../x", ".x", "a b", "ä", "x/y", ""):
        done = jw("cert", "issue", name, "--ca", str(ca), "--out", str(out))
        assert (done.returncode, "name: " in done.stderr) == (2, True), name
    assert jw("cert", "issue", "a", "--name", "a b", "--ca", str(ca), "--out", str(out)).returncode == 2
    other = jw("cert", "issue", "web.example.org", "--server", "--ca", str(ca), "--out", str(out))
    assert (other.returncode, "jw cert init --out DIR --name web.example.org" in other.stderr) == (6, True)
    nowhere = jw("cert", "issue", "a", "--ca", str(out), "--out", str(out))
    assert (nowhere.returncode, f"{out}/ca.pem: there is no such file" in nowhere.stderr) == (6, True)


def test_show_prints_what_is_in_a_certificate(jw: "Jw", ca: Path) -> None:
    files = [str(ca / "server.pem"), str(ca / "ca.pem")]
    server, above, same = json.loads(jw.out("cert", "show", *files, "--json"))
    assert above | {"file": files[1]} == same
    assert server["names"] == ["agent.example.org", "localhost", "127.0.0.1", "::1"]
    assert (server["extended_key_usage"], server["days_left"]) == (["serverAuth"], 396)
    said = jw.out("cert", "show", files[0])
    assert f"fingerprint:        {server['fingerprint']}" in said
    assert f"issuer:             {same['subject']}" in said


def test_files_that_are_no_certificates(jw: "Jw", ca: Path, tmp_path: Path) -> None:
    """The cause in words of ours: those of OpenSSL and of a library name none that people know."""
    (damaged := tmp_path / "damaged.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    pair = ["--address", "wss://127.0.0.1:1/rpc", "--cert", str(ca / "server.pem"), "--key"]
    there = socket.create_server(("127.0.0.1", 0))  # the files are read once there is a connection
    pair[1] = f"wss://127.0.0.1:{there.getsockname()[1]}/rpc"
    with there:
        for words, fault in (
            (
                ["cert", "show", str(ca / "ca.key")],
                "ca.key: there is no certificate in it; expected certificates in PEM",
            ),
            (["cert", "show", str(damaged)], "damaged.pem: it is no PEM, or damaged; expected certificates in PEM"),
            ([*pair, str(ca / "ca.key"), "ps"], "the key is not that of the certificate; expected PEM"),
            ([*pair[:2], "--ca", str(ca / "ca.key"), "ps"], "ca.key cannot be used: there is no certificate in it"),
            ([*pair[:2], "--ca", str(ca / "none"), "ps"], "none cannot be used: No such file or directory"),
        ):
            done = jw(*words)
            assert (done.returncode, fault in done.stderr, "http" in done.stderr) == (6, True, False), done.stderr


def test_renew_names_the_clients_that_it_locks_out(jw: "Jw", ca: Path) -> None:
    before = (ca / "ca.pem").read_bytes()
    done = jw("cert", "renew", "--out", str(ca))
    assert done.returncode == 0
    assert done.stdout.splitlines() == [f"{ca}/server.pem", f"{ca}/server.key"]
    pin = json.loads(jw.out("cert", "show", f"{ca}/server.pem", "--json"))[0]["fingerprint"]
    assert pin in done.stderr
    assert "cannot connect" not in done.stderr
    assert (ca / "ca.pem").read_bytes() == before
    done = jw("cert", "renew", "--ca", "--out", str(ca))
    assert done.returncode == 0
    assert "clients that trust the old CA cannot connect" in done.stderr
    assert (ca / "ca.pem").read_bytes() != before


def test_the_local_agent_takes_a_renewal(lone_jw: "Jw", home: Home) -> None:
    """At once, in the process that runs."""
    lone_jw.out("agent", "start")
    pid = agent_pid(home)
    lone_jw.out("cert", "renew")
    pin = json.loads(lone_jw.out("cert", "show", f"{home.tls}/server.pem", "--json"))[0]["fingerprint"]
    assert json.loads(lone_jw.out("agent", "info", "--json"))["tls"]["fingerprint"] == pin
    assert agent_pid(home) == pid
