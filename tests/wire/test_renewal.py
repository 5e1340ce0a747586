"""The agent's certificate is replaced under open connections; what cannot be used is kept out."""

import datetime
import hashlib
import ipaddress
import logging
import os
import re
import shutil
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from tests.support.authority import CLIENT, NOW, SERVER, Authority, Pair
from tests.support.waiting import DEADLINE, until

from jobworker.paths import Home
from jobworker.tls import certificates
from jobworker.tls.context import Tls
from jobworker.tls.renewal import Renewal, _folders

if TYPE_CHECKING:
    from tests.conftest import RunningAgent

HOUR = datetime.timedelta(hours=1)


def shown(agent: "RunningAgent") -> str:
    """Return the fingerprint of what a new handshake is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", agent.port), timeout=DEADLINE) as plain,
        context.wrap_socket(plain) as sock,
    ):
        return f"sha256:{hashlib.sha256(sock.getpeercert(binary_form=True) or b'').hexdigest()}"


def fingerprint(path: Path) -> str:
    return str(certificates.describe(certificates.load(path)[0])["fingerprint"])


async def said(agent: "RunningAgent", words: str) -> None:
    await until(lambda: words in agent.home.agent_log.read_text())


def local_names() -> list[x509.GeneralName]:
    return [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]


def put(pair: Pair, folder: Path) -> None:
    """Replace certificate and key, each by a rename."""
    for source, name in ((pair.key, "server.key"), (pair.cert, "server.pem")):
        shutil.copy2(source, folder / f"{name}.new")
        os.replace(folder / f"{name}.new", folder / name)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
async def configured(home: Home, tmp_path: Path, authority: Authority) -> "AsyncIterator[RunningAgent]":
    """An agent with a pair that the configuration names, in a folder that is reached by a link, as k8s mounts it."""
    from tests.conftest import RunningAgent

    folder = tmp_path / "pairs" / "first"
    folder.mkdir(parents=True)
    (tmp_path / "pairs" / "data").symlink_to("first")
    put(authority.issue("agent", names=local_names(), usage=[SERVER]), folder)
    place = tmp_path / "pairs" / "data"
    config = f'[server]\ncert = "{place}/server.pem"\nkey = "{place}/server.key"\n'

    class Configured(RunningAgent):
        @property
        def ca(self) -> Path:
            return authority.ca

    agent = Configured(home, config)
    agent.start()
    yield agent
    await agent.clean()


async def test_a_renewal_drops_no_connection(agent: "RunningAgent") -> None:
    """An open connection and its log continue; a new handshake gets the new certificate at once."""
    async with agent.client() as client:
        before = (await client.call("agent.info"))["tls"]
        assert before["names"] == ["localhost", "127.0.0.1", "::1"]
        assert before["days_left"] == 396
        assert before["fingerprint"] == shown(agent) == fingerprint(agent.home.tls / "server.pem")
        certificates.renew(agent.home.tls)
        await said(agent, "the certificate was read again")
        after = (await client.call("agent.info"))["tls"]
    assert after["fingerprint"] == shown(agent) == fingerprint(agent.home.tls / "server.pem") != before["fingerprint"]
    async with agent.client() as client:
        await client.call("agent.ping")


async def test_a_link_that_is_swapped(configured: "RunningAgent", authority: Authority, tmp_path: Path) -> None:
    """The new pair is taken when the link in the path to it points elsewhere, and again after that."""
    for name in ("second", "third"):
        folder = tmp_path / "pairs" / name
        folder.mkdir()
        put(authority.issue("agent", names=local_names(), usage=[SERVER]), folder)
        (tmp_path / "pairs" / "next").symlink_to(name)
        os.replace(tmp_path / "pairs" / "next", tmp_path / "pairs" / "data")
        await said(configured, fingerprint(folder / "server.pem"))
        assert shown(configured) == fingerprint(folder / "server.pem")


OTHERS = ("open key", "expired", "text", "missing", "for clients")


@pytest.mark.parametrize("fault", ["foreign key", *(pytest.param(each, marks=pytest.mark.slow) for each in OTHERS)])
async def test_a_broken_pair_is_kept_out(
    configured: "RunningAgent", authority: Authority, tmp_path: Path, fault: str
) -> None:
    """One error in the log, and the old pair stays in use, until there is a good one."""
    folder = tmp_path / "pairs" / "first"
    good = shown(configured)
    ends = NOW - HOUR if fault == "expired" else NOW + HOUR
    usage = [CLIENT if fault == "for clients" else SERVER]
    pair = authority.issue("agent", names=local_names(), ends=ends, usage=usage)
    words = {
        "foreign key": "the key is not that of the certificate",
        "open key": "others can read this secret",
        "expired": "expired at",
        "text": "not a certificate and its key",
        "missing": "there is no such file",
        "for clients": "no client could use it",
    }[fault]
    if fault == "foreign key":
        pair.key = authority.issue("other").key
    elif fault == "text":
        pair.cert.write_text("nonsense")
    elif fault == "open key":
        pair.key.chmod(0o640)
    if fault == "missing":
        (folder / "server.pem").unlink()
        (folder / "unrelated").touch()
    else:
        put(pair, folder)
    await said(configured, words)
    assert shown(configured) == good
    (folder / "unrelated").write_text("news, but not of the pair")
    put(authority.issue("agent", names=local_names(), usage=[SERVER]), folder)
    await said(configured, "the certificate was read again")
    assert shown(configured) == fingerprint(folder / "server.pem") != good
    assert configured.home.agent_log.read_text().count("the new certificate is not used") == 1


async def test_sighup_takes_it_at_once(configured: "RunningAgent", authority: Authority, tmp_path: Path) -> None:
    put(authority.issue("agent", names=local_names(), usage=[SERVER]), tmp_path / "pairs" / "first")
    os.kill(configured.pid, signal.SIGHUP)
    await said(configured, "the certificate was read again")
    assert shown(configured) == fingerprint(tmp_path / "pairs" / "first" / "server.pem")


async def test_the_expiry_is_logged_before(home: Home, tmp_path: Path, authority: Authority) -> None:
    """It is logged at the start; an expired certificate does not prevent the start."""
    from tests.conftest import RunningAgent

    for ends, words in ((NOW + HOUR, "is valid for another 0 days"), (NOW - HOUR, "expired at")):
        pair = authority.issue("agent", names=local_names(), usage=[SERVER], ends=ends)
        agent = RunningAgent(home, f'[server]\ncert = "{pair.cert}"\nkey = "{pair.key}"\nexpiry_warning = "1d"\n')
        agent.start()
        await said(agent, words)
        agent.end()
    agent.config = ""
    agent.start()
    await agent.clean()


def aged(folder: Path, monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """Make CA and server certificate as if that had been so many days ago."""
    then = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)
    with monkeypatch.context() as patch:
        patch.setattr(certificates, "_now", lambda: then)
        certificates.make_all(folder, ["localhost", "127.0.0.1", "::1"])


@pytest.mark.parametrize(("days", "renewed"), [(200, False), (300, True), (500, True)])
async def test_its_own_certificate_is_renewed_in_time(
    home: Home, monkeypatch: pytest.MonkeyPatch, days: int, renewed: bool
) -> None:
    """When less than a third of its validity is left, by the same CA, so that clients need no change."""
    from tests.conftest import RunningAgent

    home.path.mkdir(mode=0o700)
    aged(home.tls, monkeypatch, days)
    before = fingerprint(home.tls / "server.pem")
    agent = RunningAgent(home)
    agent.start()
    if renewed:
        await said(agent, "the agent's own certificate was renewed")
    assert (shown(agent) != before) is renewed
    async with agent.client() as client:
        assert (await client.call("agent.info"))["tls"]["days_left"] == (396 if renewed else 396 - days)
    await agent.clean()


async def test_it_is_looked_at_every_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A certificate that has become old is renewed, and if it cannot be, each check logs a warning."""
    folder = tmp_path / "tls"
    aged(folder, monkeypatch, 300)
    (folder / "ca.key").rename(folder / "ca.away")
    tls = Tls(folder / "server.pem", folder / "server.key", None)
    before = tls.certificate.fingerprint
    renewal = Renewal(tls, lambda: certificates.renew(folder), 200 * 86400, every=0.01)
    renewal.open()
    try:
        await until(lambda: caplog.text.count("cannot be renewed") > 2)
        await until(lambda: caplog.text.count("is valid for another 96 days") > 2)
        (folder / "ca.away").rename(folder / "ca.key")
        await until(lambda: tls.certificate.fingerprint != before)
    finally:
        renewal.close()
    assert tls.certificate.fingerprint == fingerprint(folder / "server.pem")


async def test_a_name_that_the_configuration_adds(agent: "RunningAgent") -> None:
    """The agent's own certificate gets it at the next start, from its CA, which may sign for it then; others keep
    theirs, with a warning.
    """
    key = (agent.home.tls / "ca.key").read_bytes()
    agent.end()
    agent.config = '[server]\nnames = ["agent.example.org", "2001:db8:0::1"]\n'
    agent.start()
    async with agent.client() as client:
        names = (await client.call("agent.info"))["tls"]["names"]
    assert names == ["localhost", "127.0.0.1", "::1", "agent.example.org", "2001:db8::1"]
    assert (agent.home.tls / "ca.key").read_bytes() == key
    assert "clients that have a copy of it need the new one" in agent.home.agent_log.read_text()
    before = shown(agent)
    agent.end()
    agent.start()
    assert shown(agent) == before
    agent.end()
    agent.config = '[server]\nnames = ["more.example.org"]\n'
    (agent.home.tls / "ca.key").unlink()
    agent.start()
    assert shown(agent) == before
    assert "the certificate does not have all of more.example.org" in agent.home.agent_log.read_text()


async def test_a_renewal_that_was_cut_off(agent: "RunningAgent") -> None:
    """A key without its certificate, of our own CA: the agent makes another pair instead of staying away."""
    agent.end()
    before = fingerprint(agent.home.tls / "server.pem")
    (agent.home.tls / "server.key").write_bytes((agent.home.tls / "ca.key").read_bytes())
    agent.start()
    assert shown(agent) == fingerprint(agent.home.tls / "server.pem") != before
    async with agent.client() as client:
        await client.call("agent.ping")


async def test_no_inotify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """If the kernel refuses it, the agent logs that SIGHUP is left, which works."""

    def refuse() -> Any:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("jobworker.tls.renewal.Inotify", refuse)
    certificates.make_all(tmp_path / "tls", ["localhost"])
    tls = Tls(tmp_path / "tls" / "server.pem", tmp_path / "tls" / "server.key", None)
    renewal = Renewal(tls, None, 0)
    renewal.open()
    assert (
        "certificate files cannot be watched, so new ones are read at SIGHUP only: Too many open files" in caplog.text
    )
    certificates.renew(tmp_path / "tls")
    with caplog.at_level(logging.INFO):
        renewal.reload()
    renewal.close()
    assert re.search(r"read again: sha256:[0-9a-f]{64}", caplog.text)
    assert tls.certificate.fingerprint == fingerprint(tmp_path / "tls" / "server.pem")


async def test_other_files_in_the_folder(tmp_path: Path) -> None:
    """Only a change of the pair has it read again."""
    certificates.make_all(tmp_path, ["localhost"])
    tls = Tls(tmp_path / "server.pem", tmp_path / "server.key", None)
    before = tls.certificate
    renewal = Renewal(tls, None, 0)
    (tmp_path / "other").touch()
    renewal._reload_if_changed()
    assert tls.certificate is before
    certificates.renew(tmp_path)
    renewal._reload_if_changed()
    renewal.close()
    assert tls.certificate is not before


def test_the_folders_on_the_way_to_a_file(tmp_path: Path) -> None:
    """Each folder that holds a link on the way, and the file's own; a circle ends."""
    (tmp_path / "archive").mkdir()
    (tmp_path / "live" / "site").mkdir(parents=True)
    (tmp_path / "archive" / "cert1.pem").touch()
    (tmp_path / "live" / "site" / "cert.pem").symlink_to("../../archive/cert1.pem")
    (tmp_path / "current").symlink_to(tmp_path / "live")
    found = [*_folders(tmp_path / "current" / "site" / "cert.pem")]
    assert found == [tmp_path, tmp_path / "live" / "site", tmp_path / "archive"]
    (tmp_path / "circle").symlink_to("circle")
    assert {*_folders(tmp_path / "circle")} == {tmp_path}
