"""Spans of tasks and of calls to Cronofy, for a collector that speaks OTLP over HTTP.

OpenTelemetry's instrumentations record more than may leave: here addresses lose their query strings
and the tokens of pages, exceptions keep nothing but their kind, and all else is masked as the log is.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx
import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.propagate import set_global_textmap
from opentelemetry.propagators.textmap import Setter, default_setter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, Status, set_tracer_provider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from config.logging import redaction_of
from config.settings import Settings

SERVICE = "conferencing-reconciler"
#: How long a process that ends waits for the collector to take what is left.
FLUSH_SECONDS = 3.0

#: Attributes that hold an address, by OpenTelemetry's older and newer names.
_ADDRESSES = ("http.url", "url.full")
_METHODS = ("http.method", "http.request.method")
#: Ids within a path: a span's name is one of few, and a page's token is nobody else's business.
_IDS = re.compile(r"/(calendars|channels|pages)/[^/]+")

log = structlog.get_logger()


class _Recording:
    """This process's provider, where it records."""

    provider: TracerProvider | None = None


class _WithinOurs(TraceContextTextMapPropagator):
    """Hands a trace on with our own messages, and takes it up from a caller's; Cronofy is told nothing."""

    def inject(
        self, carrier: Any, context: Context | None = None, setter: Setter[Any] = default_setter
    ) -> None:
        """Write the trace into a message's headers, but not into a request's."""
        if not isinstance(carrier, httpx.Headers):
            super().inject(carrier, context, setter)


class CleanExporter(SpanExporter):
    """Sends spans without what is not to leave, and says once when the collector does not take them."""

    def __init__(self, inner: SpanExporter, settings: Settings) -> None:
        """`inner` sends what is left."""
        self._inner = inner
        self._redaction = redaction_of(settings)
        self._reached = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send these spans; what cannot be sent is dropped."""
        result = self._inner.export([self._cleaned(span) for span in spans])
        reached = result is SpanExportResult.SUCCESS
        if reached is not self._reached:
            self._reached = reached
            if reached:
                log.info("tracing.recovered")
            else:
                log.warning(
                    "tracing.failed", reason="the collector does not take the spans; they are dropped"
                )
        return result

    def shutdown(self) -> None:
        """End."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is held back here."""
        return self._inner.force_flush(timeout_millis)

    def _cleaned(self, span: ReadableSpan) -> ReadableSpan:
        attributes = dict(span.attributes or {})
        name = span.name
        for key in _ADDRESSES:
            if key in attributes:
                origin, path = _place(str(attributes[key]))
                attributes[key] = origin + path
                if span.kind is SpanKind.CLIENT:
                    method = next((attributes[m] for m in _METHODS if m in attributes), "")
                    name = f"{method} {path}".strip()
        return ReadableSpan(
            name=self._redaction.mask(name),
            context=span.context,
            parent=span.parent,
            resource=span.resource,
            attributes={key: self._redaction.masked(value) for key, value in attributes.items()},
            events=[
                Event(
                    event.name,
                    {"exception.type": (event.attributes or {}).get("exception.type", "")},
                    event.timestamp,
                )
                for event in span.events
            ],
            links=span.links,
            kind=span.kind,
            # Its description is an exception's text.
            status=Status(span.status.status_code),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )


def _place(address: str) -> tuple[str, str]:
    """Origin and path of an address, with no ids, no query and no user."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}", _IDS.sub(r"/\1/*", parts.path)


def record(settings: Settings) -> None:
    """Record this process's spans from now on: after the fork, since it starts a thread."""
    # Of a collector that is away one line is enough, and it is ours.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    provider = TracerProvider(
        resource=Resource.create({} if named else {"service.name": SERVICE}), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(CleanExporter(OTLPSpanExporter(), settings)))
    set_tracer_provider(provider)
    set_global_textmap(_WithinOurs())
    CeleryInstrumentor().instrument(tracer_provider=provider)  # type: ignore[no-untyped-call]
    HTTPXClientInstrumentor().instrument(tracer_provider=provider)
    _Recording.provider = provider


def flush() -> None:
    """Send what is left; a collector that does not answer is not waited for."""
    provider, _Recording.provider = _Recording.provider, None
    if provider is not None:
        ending = threading.Thread(target=provider.shutdown, name="flush-spans", daemon=True)
        ending.start()
        ending.join(FLUSH_SECONDS)
