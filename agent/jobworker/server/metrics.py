"""The metrics of the agent for Prometheus: made of plain counters at each scrape."""

import asyncio
import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from jobworker import __version__, resources
from jobworker.measures import Durations
from jobworker.model import State
from jobworker.server.services import Services

if TYPE_CHECKING:
    from prometheus_client.core import Metric

PATH = "/metrics"
METHOD = "agent.metrics"  # for which a role has to be an admin: admin = true, methods = ["agent.metrics"]
OPEN_METRICS = "application/openmetrics-text"
PREFIX = "jobworker_"
ALIVE = (State.QUEUED, State.RUNNING, State.PAUSED, State.STOPPING)  # states that are counted by name
LAGS = {"log": "bytes", "event": "events"}  # units, by kind of subscription
PAUSE_SECONDS = (
    0.1  # between two scrapes: each takes some 10 ms of the agent, which a flood must not take from others
)
LAG_PROBE_SECONDS = 0.01  # a timer of this length shows how late the loop is


class Turns:
    """Gives scrapes their turns: one at a time, with a pause between them. A flood waits, and delays no one else."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._next = 0.0  # when the next turn may begin, in the time of the loop

    async def __aenter__(self) -> None:
        await self._turn.acquire()
        try:
            await asyncio.sleep(self._next - asyncio.get_running_loop().time())
        except BaseException:
            self._turn.release()
            raise

    async def __aexit__(self, *failure: object) -> None:
        self._next = asyncio.get_running_loop().time() + PAUSE_SECONDS
        self._turn.release()


class Metrics:
    """Answers scrapes."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._turns = Turns()

    async def text(self, accept: str) -> tuple[str, bytes]:
        """Return the content type and the metrics, in the format that the header Accept asks for."""
        async with self._turns:
            host = await asyncio.to_thread(resources.measure, self._services.home)
            loop = asyncio.get_running_loop()
            before = loop.time()
            await asyncio.sleep(LAG_PROBE_SECONDS)
            lag = max(0.0, loop.time() - before - LAG_PROBE_SECONDS)
            families = [*self._families(host, lag)]
            return await asyncio.to_thread(_encode, families, accept)

    def _families(self, host: resources.Measured, lag: float) -> "Iterator[Metric]":
        from prometheus_client import core  # slow to import, and most agents are never scraped

        build = {"version": __version__, "python": platform.python_version()}
        yield core.InfoMetricFamily(f"{PREFIX}build", "The version of the agent.", value=build)
        yield from self._of_jobs()
        yield from self._of_callers()
        yield from self._of_plugins()
        yield _gauge("start_timestamp_seconds", "When the agent started, since 1970", self._services.started / 1e9)
        yield _gauge("loop_lag_seconds", "How late a timer of the agent was during this scrape", lag)
        yield _gauge("state_disk_free_bytes", "Room in the state folder", host.disk - host.disk_used)
        yield _gauge("state_disk_bytes", "Size of the disk of the state folder", host.disk)
        yield _gauge("state_inodes_free", "Inodes that are free there", max(0, host.inodes - host.inodes_used))
        yield _gauge("audit_log_bytes", "Size of the audit log", host.audit)
        yield _gauge("open_fds", "Open descriptors of the agent", host.descriptors_used)
        end = self._services.tls.certificate.not_after
        yield _gauge("certificate_expiry_timestamp_seconds", "When the certificate ends, since 1970", end)

    def _of_jobs(self) -> "Iterator[Metric]":
        jobs = self._services.jobs
        measures, (kept, log_bytes) = jobs.measures, jobs.retained()
        states = Counter(str(state) for state in jobs.states())
        running = {state.value: states[state.value] for state in ALIVE}
        yield _gauge("jobs", "Jobs that run, or wait in the queue of an executor", running, "state")
        yield _gauge("jobs_retained", "Jobs that have ended and are kept", kept)
        yield _gauge("logs_retained_bytes", "Bytes of the logs of these jobs", log_bytes)
        yield _gauge("draining", "1 while the agent starts no jobs until its admin ends that", bool(jobs.drain.since))
        yield _counter("jobs_ended", "Jobs that have ended", measures.ended, "reason")
        yield _counter("job_output_bytes", "Bytes of output of jobs that have ended", measures.logged)
        yield _counter("job_output_dropped_bytes", "Bytes of it that their logs had no room for", measures.dropped)
        yield _counter("job_logs_truncated", "Jobs that ended with output that was never kept", measures.truncated)
        yield _histogram("job_start_seconds", "From the call to the execve of a job", {"": measures.starts})
        yield _histogram("job_stop_seconds", "From the request to the end of all processes", {"": measures.stops})
        yield _counter("job_stop_kills", "Stops in which the agent killed what was left", measures.kills)
        yield _counter("keeper_restarts", "Keepers that were lost and replaced", jobs.keepers_lost)
        yield _counter("pump_restarts", "Pumps that were lost and replaced", jobs.link.pumps_lost)

    def _of_callers(self) -> "Iterator[Metric]":
        sessions = self._services.sessions.open()
        subscriptions = [each for session in sessions for each in session.subscriptions.values()]
        calls = {**self._services.jobs.measures.calls}
        yield _histogram("call_seconds", "From a request to its answer", calls, "method")
        yield _gauge("connections", "Open connections", len(sessions))
        yield _gauge("subscriptions", "Open subscriptions", len(subscriptions))
        lags: dict[str, int] = dict.fromkeys(LAGS, 0)
        for subscription in subscriptions:
            lags[subscription.kind] = max(lags[subscription.kind], subscription.lag())
        for kind, unit in LAGS.items():
            yield _gauge(
                f"{kind}_subscription_lag_{unit}", "What the slowest subscription has not been sent", lags[kind]
            )
        decisions = self._services.audit.decisions
        yield _counter("access_decisions", "Logins, refusals, denials and allowed changes", decisions, "decision")
        if (forward := self._services.audit.forward) is not None:
            yield _counter("audit_lines_forwarded", "Lines of the audit log that were forwarded", forward.sent)
            yield _counter("audit_lines_dropped", "Lines that were not forwarded for want of room", forward.dropped)

    def _of_plugins(self) -> "Iterator[Metric]":
        services = self._services
        plugins = {plugin.name: services.plugin_host.state(plugin.name) for plugin in services.registry.plugins}
        faults = {name: state["faults"] for name, state in plugins.items()}
        yield _counter("plugin_faults", "Calls of a plugin that failed", faults, "plugin")
        seconds = {name: services.plugin_host.seconds(name) for name in plugins}
        yield _counter("plugin_seconds", "That calls of a plugin have taken", seconds, "plugin")
        blocked = {name: int(state["blocked"]) for name, state in plugins.items()}
        yield _gauge("plugin_blocked", "1 while a plugin blocks its thread", blocked, "plugin")


def _gauge(name: str, text: str, values: float | Mapping[str, float], label: str = "") -> Any:
    from prometheus_client import core

    return _filled(core.GaugeMetricFamily(PREFIX + name, f"{text}.", labels=[label] if label else []), values)


def _counter(name: str, text: str, values: float | Mapping[str, float], label: str = "") -> Any:
    from prometheus_client import core

    return _filled(core.CounterMetricFamily(PREFIX + name, f"{text}.", labels=[label] if label else []), values)


def _filled(family: Any, values: float | Mapping[str, float]) -> Any:
    """Add the values of a metric, by its label if there are several."""
    if isinstance(values, Mapping):
        for value_of, value in values.items():
            family.add_metric([value_of], value)
    else:
        family.add_metric([], values)
    return family


def _histogram(name: str, text: str, values: Mapping[str, Durations], label: str = "") -> "Metric":
    from prometheus_client import core

    family = core.HistogramMetricFamily(PREFIX + name, f"{text}, in seconds.", labels=[label] if label else [])
    for value_of, durations in values.items():
        bounds, counts = (*map(str, durations.bounds), "+Inf"), accumulate([*durations.counts])
        family.add_metric([value_of] if label else [], [*zip(bounds, counts, strict=True)], durations.total)
    return family


def _encode(families: "Iterable[Metric]", accept: str) -> tuple[str, bytes]:
    from prometheus_client import exposition
    from prometheus_client.openmetrics import exposition as openmetrics

    class Collected:
        def collect(self) -> "Iterable[Metric]":
            return families

    module: Any = openmetrics if OPEN_METRICS in accept else exposition
    content_type = module.CONTENT_TYPE_LATEST
    return content_type, module.generate_latest(Collected())
