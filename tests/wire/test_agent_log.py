"""The log of a running agent: JSON by choice, an id per request, and levels that a SIGHUP changes."""

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.waiting import DEADLINE

if TYPE_CHECKING:
    from tests.support.wire import Dial

    from jobworker.testing import RunningAgent

CONFIG = '[agent]\nlog_format = "json"\nlog_level = {level}\n'
DEBUG, QUIET = '{ default = "info", server = "debug" }', '{ default = "info", server = "warning" }'


def lines(agent: "RunningAgent") -> list[dict[str, Any]]:
    """Return the log; each line must be an object."""
    return [json.loads(line) for line in agent.home.agent_log.read_bytes().splitlines()]


@pytest.fixture(scope="module")
def agent(start_agent: "Callable[..., RunningAgent]") -> "RunningAgent":
    return start_agent(config=CONFIG.format(level=DEBUG))


async def test_a_request_has_one_id(agent: "RunningAgent", dial: "Dial") -> None:
    """In its error, in the log and in the audit log; of a batch, each request has its own."""
    async with dial(agent) as wire:
        batch = [
            {"jsonrpc": "2.0", "id": n, "method": method, "params": {"id": "01HZZZZZZZZZZZZZZZZZZZZZZZ"}}
            for n, method in enumerate(("job.stop", "job.delete", "nonsense"))
        ]
        answers = await wire.tell(batch)
        alone = await wire.refused("job.stop", id="01HZZZZZZZZZZZZZZZZZZZZZZZ")
        job = await wire.create(argv=["true"])
        audited = (await wire.ask("audit.list"))["entries"]
    refs = [answer["error"]["data"]["ref"] for answer in answers] + [alone["data"]["ref"]]
    assert len({*refs}) == 4
    assert [entry["ref"] for entry in audited if entry["decision"] == "denied"] == [refs[0], refs[1], refs[3]]
    (created,) = [entry["ref"] for entry in audited if entry.get("job") == job]
    logged = {line["ref"]: line["message"] for line in lines(agent) if "failed: " in line["message"]}
    assert {*logged} == {refs[0], refs[1], refs[3]}
    assert logged[refs[3]].startswith("job.stop failed: 40401 ")
    assert any(line.get("ref") == created and line["message"].startswith("job.create of") for line in lines(agent))


async def test_an_error_inside_of_the_agent(agent: "RunningAgent", dial: "Dial") -> None:
    """The traceback has the id that the error has."""
    async with dial(agent) as wire:
        log = agent.home.path / "audit.log"
        log.rename(log.with_name("aside"))
        log.mkdir()
        try:
            error = await wire.refused("audit.list")
        finally:
            log.rmdir()
            log.with_name("aside").rename(log)
    assert error["code"] == 50001, error
    (line,) = [line for line in lines(agent) if line.get("ref") == error["data"]["ref"] and "traceback" in line]
    assert line["level"] == "error"
    assert "IsADirectoryError" in line["traceback"]
    assert error["data"]["ref"] in error["message"]


async def test_what_a_plugin_logs_for_a_request(agent: "RunningAgent", dial: "Dial") -> None:
    """It runs in a thread of its own; its lines have the id of the request all the same, and its own logger."""
    async with dial(agent) as wire:
        job = (await wire.run(argv=["sleep", "600"]))["id"]
        await wire.ask("job.stop", id=job, stop={"strategy": "command", "options": {"argv": ["/nothing/here"]}})
        audited = (await wire.ask("audit.list"))["entries"]
    (stopped,) = [entry["ref"] for entry in audited if entry["method"] == "job.stop" and entry.get("job") == job]
    (line,) = [line for line in lines(agent) if "cannot be executed" in line["message"]]
    assert (line["logger"], line.get("ref")) == ("plugin.command", stopped)


async def test_a_signal_changes_the_levels(agent: "RunningAgent", dial: "Dial") -> None:
    config = agent.home.path / "test.toml"

    async def reload(level: str) -> dict[str, Any]:
        """Return the line that the reload logs."""
        known = len(lines(agent))
        config.write_text(CONFIG.format(level=level))
        os.kill(agent.pid, signal.SIGHUP)
        async with asyncio.timeout(DEADLINE):
            while True:
                for line in lines(agent)[known:]:
                    if "agent.log_level" in line["message"]:
                        return line
                await asyncio.sleep(0.02)

    async def logged() -> bool:
        known = len(lines(agent))
        async with dial(agent) as wire:
            await wire.ask("agent.ping")
        return any(line["message"].startswith("agent.ping of") for line in lines(agent)[known:])

    assert await logged()
    assert (await reload(QUIET))["level"] == "info"
    assert not await logged()
    wrong = await reload('"loud"')
    assert (wrong["level"], "loud" in wrong["message"]) == ("error", True)
    assert not await logged()
    assert (await reload(DEBUG))["level"] == "info"
    assert await logged()


async def test_why_it_does_not_start_is_json_too(refused_log: Callable[[str], str]) -> None:
    (line,) = refused_log('[server]\nhost = "192.0.2.1"\nport = 0\n' + CONFIG.format(level=DEBUG)).splitlines()
    assert json.loads(line)["level"] == "critical"


@pytest.fixture
def refused_log(tmp_path: Path) -> Callable[[str], str]:
    """Start an agent that must not start; return its log."""
    import subprocess
    import sys

    def start(config: str) -> str:
        path = tmp_path / "agent.toml"
        path.write_text(config)
        arguments = [sys.executable, "-m", "jobworker", "--home", str(tmp_path / "home"), "--config", str(path)]
        ended = subprocess.run(arguments, capture_output=True, text=True, timeout=DEADLINE, check=False)
        assert ended.returncode == 1
        return ended.stderr

    return start
