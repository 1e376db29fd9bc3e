"""Spans of tasks and of calls to Cronofy, for a collector that speaks OTLP over HTTP.

OpenTelemetry's instrumentations record too much. Here URLs lose their query strings and page tokens,
exceptions keep only their type, and everything else is masked like the log.
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
#: How long an ending process waits for the collector to take the last spans.
FLUSH_SECONDS = 3.0

#: Attributes that hold a URL, under OpenTelemetry's older and newer names.
_ADDRESSES = ("http.url", "url.full")
_METHODS = ("http.method", "http.request.method")
#: Ids in a path: span names must be few, and page tokens are secret.
_IDS = re.compile(r"/(calendars|channels|pages)/[^/]+")

log = structlog.get_logger()


class _Recording:
    """This process's provider, if it traces."""

    provider: TracerProvider | None = None


class _WithinOurs(TraceContextTextMapPropagator):
    """Passes a trace on in our messages and picks up callers' traces, but sends Cronofy nothing."""

    def inject(
        self, carrier: Any, context: Context | None = None, setter: Setter[Any] = default_setter
    ) -> None:
        """Write the trace into the headers of messages, not of HTTP requests."""
        if not isinstance(carrier, httpx.Headers):
            super().inject(carrier, context, setter)


class CleanExporter(SpanExporter):
    """Strips private data from spans, and logs once when the collector does not take them."""

    def __init__(self, inner: SpanExporter, settings: Settings) -> None:
        """`inner` sends the stripped spans."""
        self._inner = inner
        self._redaction = redaction_of(settings)
        self._reached = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send these spans, or drop them."""
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
        """Shut down the inner exporter."""
        self._inner.shutdown()

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
            # Without its description, which is an exception's text.
            status=Status(span.status.status_code),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )


def _place(address: str) -> tuple[str, str]:
    """Origin and path of a URL, without ids, query or user."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}", _IDS.sub(r"/\1/*", parts.path)


def record(settings: Settings) -> None:
    """Start recording this process's spans; call it after the fork, since it starts a thread."""
    # When the collector is down, our own single line is enough.
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
    """Send the last spans, but do not wait for a collector that does not answer."""
    provider, _Recording.provider = _Recording.provider, None
    if provider is not None:
        ending = threading.Thread(target=provider.shutdown, name="flush-spans", daemon=True)
        ending.start()
        ending.join(FLUSH_SECONDS)
