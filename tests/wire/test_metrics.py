"""Probes and metrics: what an operator's tools ask the agent for over plain HTTP."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import DEADLINE

from jobworker.server.metrics import PAUSE_SECONDS, Turns

if TYPE_CHECKING:
    from tests.conftest import RunningAgent
    from tests.support.wire import Dial, Upgrade, Wire

    from jobworker.paths import Home

PACKAGING = Path(__file__).parents[2] / "packaging"
RULES = PACKAGING / "prometheus" / "jobworker.rules.yml"
DASHBOARD = PACKAGING / "grafana" / "jobworker.json"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


PORT = free_port()
CONFIG = f"""
[metrics]
listen = "127.0.0.1:{PORT}"
[plugins.roles.scraper]
admin = true
methods = ["agent.metrics"]
"""


@pytest.fixture(scope="module")
def shared(start_agent: "Callable[..., RunningAgent]") -> "RunningAgent":
    return start_agent(config=CONFIG)


async def scraped(request: bytes = b"GET /metrics HTTP/1.1\r\n\r\n") -> str:
    """Return the answer of the listener without a login."""
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    writer.write(request)
    async with asyncio.timeout(DEADLINE):
        answer = await reader.read()
    writer.close()
    return answer.decode()


def value_of(metrics: str, name: str) -> float:
    return float(re.findall(rf"^{re.escape(name)} (\S+)$", metrics, re.MULTILINE)[0])


async def test_probes(shared: "RunningAgent", upgrade: "Upgrade") -> None:
    """Without a login, for any Host: the process answers, and each check is named without a detail."""
    for host in (None, "10.1.2.3:7443"):
        assert (await upgrade(shared, path="/healthz", host=host))[::2] == (200, "ok\n")
        assert (await upgrade(shared, path="/readyz", host=host))[::2] == (
            200,
            "keeper: ok\ntable: ok\ndisk: ok\nstarts: ok\n",
        )


async def test_the_command_for_probes(shared: "RunningAgent", home: "object") -> None:
    """`jw agent health` ends with 0 if the agent is ready, and with 1 if there is none."""
    done = await asyncio.to_thread(shared.jw, "agent", "health")
    assert (done.returncode, done.stdout.split()) == (
        0,
        ["keeper:", "ok", "table:", "ok", "disk:", "ok", "starts:", "ok"],
    )
    shared_home, shared.home = shared.home, home  # type: ignore[assignment]  # a folder without an agent
    try:
        done = await asyncio.to_thread(shared.jw, "agent", "health", "--json")
    finally:
        shared.home = shared_home
    assert (done.returncode, json.loads(done.stdout)) == (1, {"agent": "does not run"})


async def test_a_full_disk(
    start: "Callable[..., RunningAgent]",
    mounted: "Callable[[str], Path]",
    upgrade: "Upgrade",
) -> None:
    """An agent whose disk is full lives, and is not ready; with room it is ready again."""
    from jobworker.paths import Home
    from jobworker.testing import RunningAgent as Running

    agent = Running(Home(mounted("size=24m") / "home"))
    agent.start()
    try:
        filler = agent.home.path / "filler"
        filler.write_bytes(bytes(12 << 20))
        for status, line in ((503, "disk: full"), (200, "disk: ok")):
            async with asyncio.timeout(DEADLINE):
                while (answer := await upgrade(agent, path="/readyz"))[0] != status:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)  # a look at the disk counts for a second
            assert line in answer[2]
            assert (await upgrade(agent, path="/healthz"))[0] == 200
            filler.unlink(missing_ok=True)
    finally:
        await agent.clean()


async def test_what_is_counted(shared: "RunningAgent", wire: "Wire") -> None:
    """Jobs by their ends, starts, stops, bytes, calls and denials: each once."""
    before = await scraped()
    for shell in ("printf 12345", "exit 3"):
        await wire.follow((await wire.ask("job.run", spec={"shell": shell}))["subscription"])
    job = (await wire.run(argv=["sleep", "600"]))["id"]
    assert value_of(await scraped(), 'jobworker_jobs{state="running"}') >= 1
    await wire.ask("job.stop", id=job)
    while value_of(after := await scraped(), 'jobworker_jobs_ended_total{reason="stopped"}') < 1:  # noqa: ASYNC110
        await asyncio.sleep(0.05)  # its log is closed a moment after its end

    def more(name: str) -> float:
        return value_of(after, name) - (value_of(before, name) if name in before else 0)

    assert more('jobworker_jobs_ended_total{reason="finished"}') == 2
    assert more("jobworker_job_output_bytes_total") == 5
    assert more("jobworker_job_start_seconds_count") == 3
    assert more("jobworker_job_stop_seconds_count") == 1
    assert more('jobworker_call_seconds_count{method="job.run"}') == 2
    assert more('jobworker_call_seconds_bucket{le="+Inf",method="job.stop"}') == 1
    assert not re.search(f"{job}|127.0.0.1|local", after), "no job, address or principal is a label"


async def test_what_falls_behind_and_dies(shared: "RunningAgent", wire: "Wire", second: "Wire") -> None:
    """Output that a subscriber does not read, output that is dropped, a pump that is killed, the time of plugins."""
    before = await scraped()
    spec = {"shell": "head -c 30000000 /dev/zero", "log": {"max_bytes": "1MiB"}}
    await second.begin("job.run", spec=spec)  # and reads nothing
    await second.begin("event.subscribe")
    async with asyncio.timeout(DEADLINE):
        while value_of(await scraped(), "jobworker_job_output_dropped_bytes_total") < 20_000_000:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    os.kill((await wire.ask("agent.info"))["keeper"]["pump"], signal.SIGKILL)
    async with asyncio.timeout(DEADLINE):
        while value_of(after := await scraped(), "jobworker_pump_restarts_total") < 1:
            await wire.run(argv=["true"])
    assert value_of(after, "jobworker_log_subscription_lag_bytes") > 100_000
    assert value_of(after, "jobworker_event_subscription_lag_events") >= 0
    seconds = 'jobworker_plugin_seconds_total{plugin="graceful"}'
    assert value_of(after, seconds) > 0
    assert value_of(before, "jobworker_log_subscription_lag_bytes") == 0


async def test_with_credentials(shared: "RunningAgent", wire: "Wire", upgrade: "Upgrade", dial: "Dial") -> None:
    """At the port, a role for this method alone suffices, and it can do nothing else."""
    assert (await upgrade(shared, path="/metrics"))[0] == 401
    tokens = {}
    for role in ("scraper", "operator"):
        tokens[role] = (await wire.ask("token.create", name=f"m-{role}", roles=[role]))["token"]
    answers = {
        role: await upgrade(shared, ("Authorization", f"Bearer {token}"), path="/metrics")
        for role, token in tokens.items()
    }
    assert [answers[role][0] for role in ("scraper", "operator")] == [200, 403]
    assert 'methods = ["agent.metrics"]' in answers["operator"][2]
    assert "jobworker_build_info" in answers["scraper"][2]
    async with dial(shared, token=tokens["scraper"]) as scraper:
        assert (await scraper.refused("agent.shutdown"))["code"] == 40301
    for role in tokens:
        await wire.ask("token.revoke", name=f"m-{role}")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /metrics HTTP/1.1\r\n\r\n", "405"),
        (b"GET / HTTP/1.1\r\n\r\n", "404"),
        (b"GET /metrics?x HTTP/1.0\r\nAccept: application/openmetrics-text\r\n\r\n", "200"),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", "200"),
        (b"\xff\xfe\r\n\r\n", "405"),
    ],
)
async def test_requests(shared: "RunningAgent", request_: bytes, status: str) -> None:
    answer = await scraped(request_)
    assert answer.split()[1] == status
    if b"openmetrics" in request_:
        assert answer.endswith("# EOF\n")
    if request_.startswith(b"HEAD"):
        assert answer.endswith("\r\n\r\n")


@pytest.mark.parametrize("listen", ["9465", "localhost:9465", "127.0.0.1:", "127.0.0.1:70000", "[::1:9465x"])
def test_an_address_that_is_none(unfit: "Callable[[str], str]", listen: str) -> None:
    """A check finds it, so that no restart ends an agent that works."""
    assert "metrics.listen" in unfit(f'[metrics]\nlisten = "{listen}"\n')


def test_an_address_that_is_taken(shared: "RunningAgent", refused: "Callable[..., str]", home: "Home") -> None:
    """The agent does not start, in few words, and leaves no keeper behind."""
    assert f"127.0.0.1 port {PORT}: Address already in use" in refused(f'[metrics]\nlisten = "127.0.0.1:{PORT}"\n')
    assert not home.keeper_log.exists()


async def test_a_flood_of_scrapes(shared: "RunningAgent", wire: "Wire") -> None:
    """A hundred scrapers, of which half send no request or read no answer, hold up neither calls nor each other."""
    silent = [await asyncio.open_connection("127.0.0.1", PORT) for _ in range(4)]
    flood = [asyncio.create_task(scraped()) for _ in range(50)]
    assert await wire.ask("agent.ping")
    for reader, writer in silent:
        writer.write(b"x" * 9000)  # more than a request may have
        async with asyncio.timeout(DEADLINE):
            assert await reader.read() == b""
        writer.close()
    answers = [answer for answer in await asyncio.gather(*flood, return_exceptions=True) if isinstance(answer, str)]
    assert "jobworker_build_info" in "".join(answers)
    assert "jobworker_build_info" in await scraped()


async def test_turns_of_scrapes() -> None:
    """One at a time, with a pause between them, in which others have the agent; one that is cancelled takes none."""
    turns, loop = Turns(), asyncio.get_running_loop()
    spans: list[tuple[float, float]] = []

    async def scrape() -> None:
        async with turns:
            began = loop.time()
            await asyncio.sleep(0)
            spans.append((began, loop.time()))

    waiting = [asyncio.create_task(scrape()) for _ in range(4)]
    await asyncio.sleep(0)
    for task in waiting[1:3]:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    (_, end), (begin, _) = spans
    assert begin - end >= PAUSE_SECONDS * 0.99


async def test_jobs_beside_a_flood(shared: "RunningAgent", wire: "Wire") -> None:
    """Scrapers that fill all connections, some of which send nothing: jobs of others start and end."""
    idle = [await asyncio.open_connection("127.0.0.1", PORT) for _ in range(4)]
    done = asyncio.Event()

    async def flood() -> None:
        while not done.is_set():
            with contextlib.suppress(ConnectionError):
                await scraped()

    scrapers = [asyncio.create_task(flood()) for _ in range(8)]
    for _ in range(5):
        await wire.follow((await wire.ask("job.run", spec={"argv": ["true"]}))["subscription"])
    done.set()
    await asyncio.gather(*scrapers)
    for _, writer in idle:
        writer.close()


def test_rules_and_dashboard_name_metrics_that_exist(shared: "RunningAgent") -> None:
    """Each metric in the alert rules and the dashboard is one that the agent has."""
    named = set(re.findall(r"jobworker_\w+", RULES.read_text() + DASHBOARD.read_text()))
    answer = asyncio.run(scraped())
    there = set(re.findall(r"^# TYPE (\S+)", answer, re.MULTILINE))
    there |= {f"{name}_{end}" for name in there for end in ("bucket", "count", "total")}
    assert named <= there


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (apt install prometheus)")
async def test_prometheus(shared: "RunningAgent", tmp_path: Path) -> None:
    """A real server scrapes the agent, with the alert rules; promtool finds nothing to mend in rules and metrics."""
    text = (await scraped()).partition("\r\n\r\n")[2]
    for command, stdin in ((["check", "rules", str(RULES)], ""), (["check", "metrics"], text)):
        done = await asyncio.to_thread(
            subprocess.run, ["promtool", *command], input=stdin, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    port = free_port()
    config = tmp_path / "prometheus.yml"
    config.write_text(f"""
global: {{ scrape_interval: 1s }}
rule_files: ["{RULES}"]
scrape_configs:
  - job_name: jobworker
    static_configs: [{{ targets: ["127.0.0.1:{PORT}"] }}]
""")
    words = [
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    server = _started(["prometheus", *words], tmp_path / "log")
    try:
        end = time.monotonic() + DEADLINE
        while '"up"' not in (answer := await _query(port)):
            assert time.monotonic() < end, f"{answer}\n{(tmp_path / 'log').read_text()[-2000:]}"
            await asyncio.sleep(0.2)
    finally:
        server.terminate()
        server.wait(DEADLINE)


def _started(command: list[str], log: Path) -> "subprocess.Popen[bytes]":
    with open(log, "wb") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, "GOMAXPROCS": "1"})


async def _query(port: int) -> str:
    """Return the health of the target that a Prometheus server scrapes; "" before it listens."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return ""
    writer.write(b"GET /api/v1/targets HTTP/1.0\r\n\r\n")
    answer = (await reader.read()).decode()
    writer.close()
    return answer
