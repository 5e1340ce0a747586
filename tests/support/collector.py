"""A collector of spans: a real server that takes OTLP over HTTP."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from tests.support.waiting import DEADLINE

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """Keeps the spans that it was sent. While `held` is cleared it answers no request."""

    def __init__(self, port: int = 0) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        collector = self
        self.spans: list[Span] = []
        self.answering = threading.Event()
        self.answering.set()
        self.requests = 0  # that have arrived
        self._changed = threading.Condition()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.requests += 1
                collector.answering.wait(DEADLINE)
                request = ExportTraceServiceRequest.FromString(body)
                self.send_response(200)
                self.end_headers()
                with collector._changed:
                    for resource in request.resource_spans:
                        for scope in resource.scope_spans:
                            collector.spans.extend(scope.spans)
                    collector._changed.notify_all()

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/traces"

    def find(self, name: str, **attributes: str) -> "Span":
        """Wait for a span with these attributes (`_` for each dot), and return it."""
        wanted = {key.replace("_", "."): value for key, value in attributes.items()}

        def fits(span: "Span") -> bool:
            has = {each.key: each.value.string_value for each in span.attributes}
            return span.name == name and wanted.items() <= has.items()

        with self._changed:
            assert self._changed.wait_for(lambda: any(map(fits, self.spans)), DEADLINE), [s.name for s in self.spans]
            return next(filter(fits, self.spans))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
