"""The audit log forwarded to real sockets: in order, whole, and never at the cost of a call."""

import json
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import DEADLINE

from jobworker import audit_log
from jobworker.audit_forward import MAX_WAITING, Forward, Target, target
from jobworker.auth.audit import Audit
from jobworker.errors import InvalidSpec
from jobworker.model import Principal

JOURNALD = "/lib/systemd/systemd-journald"
ANN = Principal("ann", "token", [])


@pytest.fixture
def datagrams(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket as those of syslog and journald."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "log"))
        sock.settimeout(DEADLINE)
        yield sock


def audit_to(folder: Path, to: Target) -> Audit:
    return Audit(folder / "audit.log", 1 << 20, 2, Forward(to))


def journal_fields(datagram: bytes) -> dict[str, bytes]:
    """Read the native protocol of journald."""
    found = {}
    while datagram:
        name, _, datagram = datagram.partition(b"\n")
        (length,) = struct.unpack_from("<Q", datagram)
        found[name.decode()], datagram = datagram[8 : 8 + length], datagram[9 + length :]
    return found


def test_journald(tmp_path: Path, datagrams: socket.socket) -> None:
    """Each line with its fields; a value of several lines begins no field of its own."""
    audit = audit_to(tmp_path, Target("journald", str(tmp_path / "log")))
    audit.note("denied", ANN, "127.0.0.1:1", "job.stop", job="x\nMESSAGE=forged\n", reason="no")
    found = journal_fields(datagrams.recv(65536))
    audit.close()
    written = (tmp_path / "audit.log").read_bytes()
    assert found.pop("MESSAGE") + b"\n" == written
    assert found.pop("SYSLOG_PID").isdigit()
    assert found == {
        "PRIORITY": b"4",
        "SYSLOG_FACILITY": b"10",
        "SYSLOG_IDENTIFIER": b"jobworker",
        "JOBWORKER_DECISION": b"denied",
        "JOBWORKER_PRINCIPAL": b"token:ann",
        "JOBWORKER_PROVIDER": b"token",
        "JOBWORKER_ADDRESS": b"127.0.0.1:1",
        "JOBWORKER_METHOD": b"job.stop",
        "JOBWORKER_JOB": b"x\nMESSAGE=forged\n",
    }


def test_syslog_of_this_host(tmp_path: Path, datagrams: socket.socket) -> None:
    audit = audit_to(tmp_path, Target("syslog", str(tmp_path / "log")))
    audit.note("login", ANN, "127.0.0.1:1", "upgrade")
    message = datagrams.recv(65536)
    audit.close()
    assert message.startswith(b"<86>")
    assert json.loads(message.partition(b"]: ")[2])["decision"] == "login"


@pytest.fixture
def journal() -> Iterator[Path]:
    """The root of a mount namespace in which journald runs, apart from that of this host."""
    if os.geteuid() or not os.access(JOURNALD, os.X_OK):
        pytest.skip("needs root, and systemd-journald")
    script = f"mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal /run/log/journal && exec {JOURNALD}"
    process = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c", script])
    root = Path(f"/proc/{process.pid}/root/run")
    try:
        sockets = [root / "systemd/journal" / name for name in ("socket", "dev-log")]
        until(lambda: process.poll() is not None or all(path.is_socket() for path in sockets))
        if process.poll() is not None:
            pytest.skip("no namespace can be made here")
        yield root
    finally:
        process.terminate()
        process.wait(DEADLINE)


def until(found: Callable[[], Any]) -> Any:
    """Return what is found once it is."""
    end = time.monotonic() + DEADLINE
    while not (value := found()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return value


def test_a_real_journald(tmp_path: Path, journal: Path) -> None:
    """It takes both forms: as entries with fields, and as messages of syslog."""

    def entries(field: str) -> list[dict[str, Any]]:
        command = [
            "journalctl",
            "-D",
            str(journal / "log/journal"),
            "-o",
            "json",
            "SYSLOG_IDENTIFIER=jobworker",
            field,
        ]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE)
        return [json.loads(line) for line in ran.stdout.splitlines()]

    for kind, name, field in (
        ("journald", "socket", "JOBWORKER_JOB=abc"),
        ("syslog", "dev-log", "_TRANSPORT=syslog"),
    ):
        audit = audit_to(tmp_path, Target(kind, str(journal / "systemd/journal" / name)))
        audit.note("denied", ANN, "127.0.0.1:1", "job.stop", job="abc", reason="\n two lines")
        audit.close()
        (entry,) = until(lambda: entries(field))  # noqa: B023  # it is called here
        written = (tmp_path / "audit.log").read_text().splitlines()[-1]
        assert (entry["MESSAGE"], entry["PRIORITY"], entry["SYSLOG_FACILITY"]) == (written, "4", "10")
        assert entry["SYSLOG_PID"] == str(os.getpid())


def test_a_chain_arrives_over_a_network(tmp_path: Path) -> None:
    """What arrives by TCP are the lines of the files, in order, though the files were shifted meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(DEADLINE)
        audit = Audit(tmp_path / "audit.log", 40_000, 3, Forward(Target("tcp", server.getsockname())))
        for number in range(100):
            audit.note("allowed", ANN, "127.0.0.1:1", "job.run", job=f"{number}", outcome="ok", reason="x" * 99)
        connection, _ = server.accept()
        with connection, connection.makefile("rb") as stream:
            lines = [stream.readline() for _ in range(100)]
        audit.close()
    received = [line.partition(b" audit - ")[2] for line in lines]
    assert all(line.startswith(b"<86>1 20") for line in lines)
    (tmp_path / "copy.log").write_bytes(b"".join(received))
    verdict = audit_log.verify(tmp_path / "copy.log")
    assert (verdict.unlinked + verdict.linked, verdict.breaks) == (100, [])
    assert verdict.last == audit_log.verify(tmp_path / "audit.log").last
    assert len([*tmp_path.glob("audit.log*")]) > 1


def test_a_receiver_that_reads_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is audited is on disk, a bounded number waits, what is dropped is counted, and the log has it once."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        forward = Forward(Target("tcp", server.getsockname()))
        number = 3 * MAX_WAITING
        for _ in range(number):
            forward.put(b"x" * 2000, {})
        assert number - MAX_WAITING - forward.sent - 1 <= forward.dropped < number
        assert forward.dropped > MAX_WAITING
        forward.close()
    assert len([line for line in caplog.messages if "too slow or down" in line]) == 1


def test_no_receiver(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Lines wait for one that comes later; the log has one line when they begin to wait, and one when they go on."""
    caplog.set_level("INFO")
    path = tmp_path / "log"
    audit = audit_to(tmp_path, Target("syslog", str(path)))
    audit.note("login", ANN, "127.0.0.1:1", "upgrade")
    audit.note("login", ANN, "127.0.0.1:2", "upgrade")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        sock.settimeout(DEADLINE)
        arrived = [json.loads(sock.recv(65536).partition(b"]: ")[2])["address"] for _ in range(2)]
    audit.close()
    assert arrived == ["127.0.0.1:1", "127.0.0.1:2"]
    assert len([line for line in caplog.messages if "cannot be forwarded" in line]) <= 1
    assert audit.forward is not None
    assert (audit.forward.sent, audit.forward.dropped) == (2, 0)


@pytest.mark.parametrize(
    "value", ["syslogd", "udp://", "udp://host", "tcp://host:0", "tcp://host:514/x", "http://x:1"]
)
def test_no_receiver_by_this_name(value: str) -> None:
    with pytest.raises(InvalidSpec, match=r"audit\.forward"):
        target(value, "audit.forward")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", None),
        ("udp://loghost:514", Target("udp", ("loghost", 514))),
        ("tcp://[::1]:601", Target("tcp", ("::1", 601))),
    ],
)
def test_receivers(value: str, expected: Any) -> None:
    assert target(value, "audit.forward") == expected
