"""The audit log: nobody displaces what others did, and what an admin does is recorded before it is done."""

import asyncio
import json
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.conftest import FOR_OTHERS
from tests.support.waiting import DEADLINE
from websockets.exceptions import InvalidStatus

from jobworker import audit_log
from jobworker.auth.audit import Audit
from jobworker.model import Principal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.wire import Dial

    from jobworker.testing import RunningAgent

CALLS = 3000


def entries(folder: "Path") -> list[dict[str, Any]]:
    """Return the entries of all files."""
    return [json.loads(line) for file in folder.glob("audit.log*") for line in file.read_text().splitlines()]


async def test_refused_calls_displace_nothing(start_agent: "Callable[..., RunningAgent]", dial: "Dial") -> None:
    """A writer that repeats what cannot succeed leaves some lines, and the number of the others."""
    agent = start_agent(config=f'{FOR_OTHERS}\n[audit]\nmax_bytes = "160KiB"\n')
    async with dial(agent) as wire:
        token = (await wire.ask("token.create", name="busy", roles=["writer"]))["token"]
        async with dial(agent, token=token) as busy:
            job = await busy.create(argv=["true"])
            await busy.ask("job.start", id=job)
            await busy.ask("job.wait", id=job)
            for _ in range(CALLS // 50):
                for number in [await busy.begin("job.start", id=job) for _ in range(50)]:
                    assert "error" in await busy.answer(number)
            await busy.create(argv=["true"])
    recorded = entries(agent.home.path)
    assert "token.create" in [entry["method"] for entry in recorded]
    failed = [entry for entry in recorded if entry["method"] == "job.start" and entry["outcome"] != "ok"]
    assert 200 <= len(failed) < CALLS // 2
    assert len(failed) + sum(entry.get("unwritten", 0) for entry in recorded) == CALLS


async def test_connections_too_many_displace_nothing(
    start_agent: "Callable[..., RunningAgent]", dial: "Dial"
) -> None:
    """Upgrades that are refused although the token is good are rationed as well."""
    agent = start_agent(config="[limits]\nconnections_per_principal = 1\n")
    refused = 0
    async with dial(agent):
        for _ in range(260):
            try:
                async with dial(agent):
                    pass
            except InvalidStatus:
                refused += 1
    assert refused > 250
    assert 200 <= len([entry for entry in entries(agent.home.path) if entry["decision"] == "refused"]) < refused


def test_logins_displace_nothing(tmp_path: "Path") -> None:
    """Of very many logins of one principal from one address some are recorded, and those from another address."""
    audit = Audit(tmp_path / "audit.log", 1 << 20, 8)
    ann = Principal("ann", "token", [])
    for _ in range(400):
        audit.note("login", ann, "192.0.2.1:1", "upgrade")
    audit.note("login", ann, "192.0.2.2:1", "upgrade")
    audit.close()
    addresses = [entry["address"] for entry in entries(tmp_path)]
    assert 200 <= len(addresses) < 300
    assert addresses[-1] == "192.0.2.2:1"


async def test_what_an_admin_does_is_recorded_ahead(start_agent: "Callable[..., RunningAgent]", dial: "Dial") -> None:
    """An agent that is killed while it does what an admin has called for has recorded the call."""
    agent = start_agent()
    async with dial(agent) as wire:
        await wire.ask("token.create", name="ann", roles=["reader"])
        await wire.begin("agent.restart")  # which first tries, in another process, whether the agent would start
        await wire.ask("agent.ping")
        agent.kill()
    recorded = [(entry["decision"], entry["method"], entry.get("target")) for entry in entries(agent.home.path)]
    assert recorded[1:] == [
        ("begun", "token.create", "ann"),
        ("allowed", "token.create", "ann"),
        ("begun", "agent.restart", None),
    ]


def test_the_chain(tmp_path: "Path") -> None:
    """Over files and restarts each line names the one before it; a line that is changed or removed is found."""
    path, by = tmp_path / "audit.log", Principal("ann", "token", [])
    for _ in range(3):
        audit = Audit(path, 80_000, 3)
        for number in range(120):
            audit.note("allowed", by, "127.0.0.1:1", "job.create", job=f"job{number}", outcome="ok", reason="x" * 100)
        audit.close()
    files = sorted(tmp_path.glob("audit.log*"))
    assert len(files) > 1, "the log was to have several files"
    whole = audit_log.verify(path)
    assert (whole.unlinked, whole.breaks, whole.linked) == (
        0,
        [],
        sum(file.read_bytes().count(b"\n") for file in files),
    )
    lines = files[-1].read_text().splitlines(keepends=True)
    for changed in ([*lines[:5], lines[5].replace("ann", "bob"), *lines[6:]], [*lines[:5], *lines[6:]], lines[:-1]):
        files[-1].write_text("".join(changed))
        assert len(audit_log.verify(path).breaks) == 1
    files[-1].write_text("".join([*lines[:3], "not JSON\n", *lines[3:]]))
    assert [each.line for each in audit_log.verify(path).breaks] == [4, 5]


async def test_jw_audit_verify(start_agent: "Callable[..., RunningAgent]", dial: "Dial") -> None:
    """The command reads the log of the local agent, and ends with 1 if a line is not what it was."""
    agent = start_agent()
    async with dial(agent) as wire:
        for _ in range(3):
            await wire.create(argv=["true"])
    done = await asyncio.to_thread(agent.jw, "audit", "verify", "--json")
    assert (done.returncode, json.loads(done.stdout)["breaks"]) == (0, [])
    agent.home.audit.write_text(agent.home.audit.read_text().replace("job.create", "job.delete", 1))
    done = await asyncio.to_thread(agent.jw, "audit", "verify")
    assert done.returncode == 1
    assert "audit.log:" in done.stdout


async def test_lines_are_forwarded(start_agent: "Callable[..., RunningAgent]", dial: "Dial") -> None:
    """By UDP to a real socket: the lines of the file, with the id of each request."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(DEADLINE)
        agent = start_agent(config=f'[audit]\nforward = "udp://127.0.0.1:{receiver.getsockname()[1]}"\n')
        async with dial(agent) as wire:
            job = await wire.create(argv=["true"])
        received: list[dict[str, Any]] = []
        while not any(entry.get("job") == job for entry in received):
            message = await asyncio.to_thread(receiver.recv, 65536)
            received.append(json.loads(message.partition(b" audit - ")[2]))
    assert received == entries(agent.home.path)[: len(received)]
    assert "ref" in received[-1]
