"""Spans for OpenTelemetry, by choice: one for each request and one for each job, sent by OTLP over HTTP.

A thread of the library sends them from a bounded queue: a collector that is slow or down delays nothing, and what the
queue has no room for is dropped. Without `traces.endpoint` nothing of the library is imported.

The span of a job is made at its end, with the time of its start: what it needs of the request that started it is in
the job's record, so the job may outlive the agent.
"""

import importlib.util
import logging
import threading
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from jobworker import __version__, request_ref
from jobworker.errors import StartError
from jobworker.model import Job
from jobworker.units import nanoseconds

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Span

log = logging.getLogger(__name__)

VARIABLE = "TRACEPARENT"  # in the environment of a job
QUEUE_SPANS = 4096
CLOSE_SECONDS = 2.0  # for what is in the queue when the agent ends


def require(endpoint: str) -> None:
    """Raise StartError if spans are to be sent and the library is not installed."""
    if endpoint and importlib.util.find_spec("opentelemetry") is None:
        text = "traces.endpoint: needs OpenTelemetry, which is not installed beside the agent"
        raise StartError(text, hint="pip install 'jobworker[otel]', or remove traces.endpoint")


class Tracing:
    """Makes the spans of one agent. Used in the thread of the event loop."""

    def __init__(self, endpoint: str) -> None:
        """Begin to send spans to the URL of a collector; raise StartError if the library is not installed."""
        require(endpoint)
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        counts = self

        class Counted(SpanProcessor):
            def on_end(self, span: "ReadableSpan") -> None:
                counts.ended += 1

        class Sender(SpanExporter):
            """Sends batches, counts them, and logs the first failure of a row."""

            def __init__(self) -> None:
                self._exporter = OTLPSpanExporter(endpoint)
                self._failing = False

            def export(self, spans: "Sequence[ReadableSpan]") -> SpanExportResult:
                result = self._exporter.export(spans)
                failed = result is not SpanExportResult.SUCCESS
                if failed and not self._failing:
                    log.warning("%s takes no spans: they are dropped until it does", endpoint)
                elif self._failing and not failed:
                    log.info("%s takes spans again; of %d, %d were sent", endpoint, counts.ended, counts.sent)
                self._failing = failed
                counts.sent += 0 if failed else len(spans)
                return result

            def shutdown(self) -> None:
                self._exporter.shutdown()  # type: ignore[no-untyped-call]

        class Ids(RandomIdGenerator):
            """Random ids; the span of a job has the id that the job was given."""

            given: int | None = None

            def generate_span_id(self) -> int:
                chosen, self.given = self.given, None
                return super().generate_span_id() if chosen is None else chosen

        # Spans that have ended, and those of them that the collector has taken: the rest waits or was dropped.
        self.ended = self.sent = 0
        self._ids = Ids()
        self._propagator = TraceContextTextMapPropagator()
        resource = Resource.create({"service.name": "jobworker", "service.version": __version__})
        self._provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        self._provider.add_span_processor(Counted())
        self._provider.add_span_processor(BatchSpanProcessor(Sender(), QUEUE_SPANS))
        self._tracer = self._provider.get_tracer("jobworker", __version__)
        # It logs each span that is dropped, and each attempt to send.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)

    def begin(self, method: str, traceparent: str) -> "Span":
        """Begin the span of a request; `traceparent` is that of its connection, "" if it has none."""
        from opentelemetry.trace import SpanKind

        context = self._propagator.extract({"traceparent": traceparent})
        attributes = {"rpc.system": "jsonrpc", "rpc.method": method}
        return self._tracer.start_span(method, context, SpanKind.SERVER, attributes)

    def end(self, span: "Span", caller: str | None, failed: int) -> None:
        """End the span of a request; `failed` is the code of its error, 0 if it has none."""
        from opentelemetry.trace import StatusCode

        span.set_attribute("jobworker.ref", request_ref.current())
        if caller is not None:
            span.set_attribute("enduser.id", caller)
        if failed:
            span.set_attribute("rpc.jsonrpc.error_code", failed)
            span.set_status(StatusCode.ERROR)
        span.end()

    def of_job(self) -> tuple[str, str]:
        """Return `TRACEPARENT` of a job that this request starts, and what its record keeps; "" without a span.

        What is kept: the trace, the id of the job's span, that of its parent, and the flags, each in hexadecimal.
        """
        span = request_ref.span()
        if span is None:
            return "", ""
        context = span.get_span_context()
        trace, flags = f"{context.trace_id:032x}", f"{int(context.trace_flags):02x}"
        own = f"{self._ids.generate_span_id():016x}"
        return f"00-{trace}-{own}-{flags}", f"{trace}-{own}-{context.span_id:016x}-{flags}"

    def job_ended(self, job: Job, kept: str) -> None:
        """Make the span of a job that has ended; `kept` is what its record has."""
        from opentelemetry.trace import NonRecordingSpan, SpanContext, StatusCode, TraceFlags, set_span_in_context

        if not kept or job.started_at is None:
            return
        trace, own, parent, flags = (int(part, 16) for part in kept.split("-"))
        above = SpanContext(trace, parent, is_remote=True, trace_flags=TraceFlags(flags))
        self._ids.given = own
        found: dict[str, Any] = {"id": job.id, "name": job.name, "state": str(job.state)}
        attributes = {f"jobworker.job.{key}": value for key, value in found.items() if value}
        attributes["enduser.id"] = job.owner
        if (exit_ := job.exit) is not None:
            found = {"reason": exit_.reason, "code": exit_.code, "signal": exit_.signal, "by": exit_.by}
            attributes |= {f"jobworker.exit.{key}": value for key, value in found.items() if value is not None}
        span = self._tracer.start_span(
            "job",
            set_span_in_context(NonRecordingSpan(above)),
            attributes=attributes,
            start_time=_since_1970(job.started_at),
        )
        self._ids.given = None  # a span that is not sampled has no id of its own
        if exit_ is None or exit_.code != 0:
            span.set_status(StatusCode.ERROR)
        span.end(_since_1970(job.exited_at) if job.exited_at else None)

    def close(self) -> None:
        """Send what is in the queue, for a short time; blocking."""
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)  # it may take 30 s and more
        sending.start()
        sending.join(CLOSE_SECONDS)


def _since_1970(moment: str) -> int:
    return nanoseconds(datetime.fromisoformat(moment))
