"""A collector of traces, as small as can be: OTLP over HTTP, decoded and kept."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(slots=True)
class Collected:
    """What came in so far."""

    url: str
    requests: list[bytes] = field(default_factory=list)
    #: What is answered.
    status: int = 200

    def spans(self) -> list[Span]:
        """All spans."""
        return [
            span
            for raw in list(self.requests)
            for resource in ExportTraceServiceRequest.FromString(raw).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def services(self) -> set[str]:
        """The names of the services that they came from."""
        return {
            attribute.value.string_value
            for raw in list(self.requests)
            for resource in ExportTraceServiceRequest.FromString(raw).resource_spans
            for attribute in resource.resource.attributes
            if attribute.key == "service.name"
        }

    def traces(self) -> dict[bytes, list[str]]:
        """The names of the spans of each trace."""
        found: dict[bytes, list[str]] = {}
        for span in self.spans():
            found.setdefault(span.trace_id, []).append(span.name)
        return found


@contextmanager
def collector() -> Iterator[Collected]:
    """Listen on a free loopback port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if collected.status == 200:
                collected.requests.append(body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(collected.status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collected = Collected(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield collected
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
