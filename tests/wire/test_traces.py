"""Spans for OpenTelemetry, received by a real collector: of requests, and of jobs that may outlive the agent."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import DEADLINE

pytest.importorskip("opentelemetry.proto", reason="needs jobworker[otel]")

from tests.support.collector import Collector

if TYPE_CHECKING:
    from tests.support.wire import Dial

    from jobworker.testing import RunningAgent

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


@pytest.fixture(scope="module")
def agent(collector: Collector, start_agent: "Callable[..., RunningAgent]") -> Iterator["RunningAgent"]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        patch.setenv("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "1")
        yield start_agent(config=f'[traces]\nendpoint = "{collector.url}"\n')


async def test_a_request_and_its_job(agent: "RunningAgent", collector: Collector, dial: "Dial") -> None:
    """The job is in the trace of the connection, below the request that started it; it has its own span's id."""
    header = ("traceparent", f"00-{TRACE}-{PARENT}-01")
    async with dial(agent, headers=[header]) as wire:
        run = await wire.ask("job.run", spec={"shell": "printenv TRACEPARENT; exit 3", "name": "traced"})
        log = await wire.follow(run["subscription"])
        own = await wire.ask("job.run", spec={"shell": "printenv TRACEPARENT", "env": {"TRACEPARENT": "mine"}})
        assert (await wire.follow(own["subscription"])).stdout == b"mine\n"
        ref = (await wire.refused("job.stop", id="nothing"))["data"]["ref"]
    request, failed = collector.find("job.run"), collector.find("job.stop", jobworker_ref=ref)
    job = collector.find("job", jobworker_job_id=run["job"]["id"])
    assert [span.trace_id.hex() for span in (request, failed, job)] == [TRACE] * 3
    assert [span.parent_span_id.hex() for span in (request, failed)] == [PARENT] * 2
    assert job.parent_span_id == request.span_id
    assert log.stdout.decode().strip() == f"00-{TRACE}-{job.span_id.hex()}-01"
    assert [span.status.code for span in (request, failed, job)] == [0, 2, 2]
    assert request.start_time_unix_nano <= job.start_time_unix_nano <= job.end_time_unix_nano


@pytest.mark.parametrize("value", ["x" * 4000, f"00-{'0' * 32}-{'0' * 16}-01", f"ff-{TRACE}-{PARENT}-01", "\xff"])
async def test_a_parent_that_is_none(agent: "RunningAgent", collector: Collector, dial: "Dial", value: str) -> None:
    """The request has a trace of its own."""
    async with dial(agent, headers=[("traceparent", value)]) as wire:
        ref = (await wire.refused("job.pause", id="nothing"))["data"]["ref"]
    span = await asyncio.to_thread(collector.find, "job.pause", jobworker_ref=ref)
    assert not span.parent_span_id
    assert span.trace_id.hex() not in (TRACE, "0" * 32)


async def test_jw_takes_part_in_a_trace(
    agent: "RunningAgent", collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By TRACEPARENT in its environment: so does what a job calls. An invalid one is not sent."""
    other = TRACE[::-1]
    monkeypatch.setenv("TRACEPARENT", f"00-{other}-{PARENT}-01")
    assert agent.jw("run", "--", "true").returncode == 0
    monkeypatch.setenv("TRACEPARENT", "00-\r\nX: y")
    assert agent.jw("run", "--name", "apart", "--", "true").returncode == 0
    await asyncio.to_thread(collector.find, "job", jobworker_job_name="apart")
    found = {span.trace_id.hex() for span in collector.spans if span.name == "job"}
    assert other in found
    assert len(found - {other, TRACE}) == 1


async def test_a_job_outlives_its_agent(agent: "RunningAgent", collector: Collector, dial: "Dial") -> None:
    """The agent that sees its end makes its span, with the time at which another one started it."""
    async with dial(agent) as wire:
        job = await wire.run(shell="read line; exit 0", stdin="pipe", name="long")
        await wire.create(argv=["true"])  # which is answered when all that came before is on disk
    agent.kill()
    restarted = time.time_ns()
    agent.start()
    async with dial(agent) as wire:
        await wire.ask("job.stop", id=job["id"])
    span = await asyncio.to_thread(collector.find, "job", jobworker_job_name="long")
    assert len([each for each in collector.spans if each.span_id == span.span_id]) == 1
    assert span.parent_span_id
    assert span.start_time_unix_nano < restarted < span.end_time_unix_nano


async def test_a_collector_that_hangs_or_is_down(agent: "RunningAgent", collector: Collector, dial: "Dial") -> None:
    """Jobs run as ever, what cannot be sent is dropped, and the log has one line about it; then spans come again."""
    lines = agent.home.agent_log.read_text
    collector.answering.clear()
    async with dial(agent) as wire:
        for _ in range(3):
            run = await wire.ask("job.run", spec={"argv": ["true"]})
            await wire.follow(run["subscription"])
        async with asyncio.timeout(DEADLINE):
            while "takes no spans" not in lines():
                await wire.ask("agent.ping")
                await asyncio.sleep(0.05)
        collector.answering.set()
        collector.close()
        for _ in range(20):
            await wire.ask("agent.ping")
        again = Collector(collector.port)
        try:
            async with asyncio.timeout(DEADLINE):
                while "takes spans again" not in lines():
                    await wire.ask("agent.ping")
                    await asyncio.sleep(0.05)
            assert await asyncio.to_thread(again.find, "agent.ping")
        finally:
            again.close()
    assert lines().count("takes no spans") <= 2
    assert "Traceback" not in lines()
    assert agent.end() == 0, "it waits for no collector"
