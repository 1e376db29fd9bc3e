"""Spans: recorded if OpenTelemetry's variables ask for it, and cleaned before export."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from cryptography.fernet import Fernet

from config.settings import load_settings
from config.tracing import wanted

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")

import httpx
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, use_span

from config.spans import CleanExporter, _WithinOurs

SECRET = "planted-client-secret"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture
def kept() -> InMemorySpanExporter:
    """What would be exported."""
    return InMemorySpanExporter()


@pytest.fixture
def provider(kept: InMemorySpanExporter) -> TracerProvider:
    """Records spans and exports each at once."""
    settings = load_settings(cronofy_client_secret=SECRET, vault_keys=Fernet.generate_key().decode())
    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(SimpleSpanProcessor(CleanExporter(kept, settings)))
    return made


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({}, False, id="nothing"),
        pytest.param({ENDPOINT: "http://localhost:4318"}, True, id="a collector"),
        pytest.param({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x/v1/traces"}, True, id="for traces"),
        pytest.param({ENDPOINT: ""}, False, id="an empty one"),
        pytest.param({ENDPOINT: "http://x", "OTEL_TRACES_EXPORTER": "otlp"}, True, id="by name"),
        pytest.param({ENDPOINT: "http://x", "OTEL_TRACES_EXPORTER": "none"}, False, id="no traces"),
        pytest.param({ENDPOINT: "http://x", "OTEL_SDK_DISABLED": "TRUE"}, False, id="switched off"),
        pytest.param({"OTEL_SERVICE_NAME": "x"}, False, id="a name only"),
    ],
)
def test_the_standard_variables_enable_it(
    environment: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collector must be configured, and traces not disabled."""
    for name in (ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert wanted() is expected


def test_without_them_nothing_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a worker's modules nor its start import anything that records or exports spans."""
    monkeypatch.delenv(ENDPOINT, raising=False)
    program = (
        "import sys, worker.app, tasks.internal; from config import tracing;"
        "tracing.prepare(); tracing.start(None); tracing.stop();"
        # Redis's client imports the metrics API on its own.
        "parts = ('exporter', 'instrumentation', 'sdk.trace');"
        "print([name for name in sys.modules if name.startswith(tuple(f'opentelemetry.{p}' for p in parts))])"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


API, LOCAL = "https://api.cronofy.com/v1", "http://127.0.0.1:8080/v1"


@pytest.mark.parametrize(
    ("address", "name", "shown"),
    [
        (f"{API[:8]}u:p@{API[8:]}/events?tzid=Etc%2FUTC&from=x#f", "GET /v1/events", f"{API}/events"),
        (f"{LOCAL}/events/pages/t0ken", "GET /v1/events/pages/*", f"{LOCAL}/events/pages/*"),
        (f"{API}/calendars/cal_1/events", "GET /v1/calendars/*/events", f"{API}/calendars/*/events"),
    ],
    ids=["query and user", "a page", "a calendar"],
)
@pytest.mark.parametrize(
    "names", [("http.method", "http.url"), ("http.request.method", "url.full")], ids=["old", "new"]
)
def test_an_address_is_exported_without_its_ids(
    provider: TracerProvider,
    kept: InMemorySpanExporter,
    names: tuple[str, str],
    address: str,
    name: str,
    shown: str,
) -> None:
    """The span is named after the call, one of a few names."""
    method, url = names
    attributes = {method: "GET", url: address}
    provider.get_tracer("test").start_span("GET", kind=SpanKind.CLIENT, attributes=attributes).end()

    [span] = kept.get_finished_spans()
    assert span.name == name
    assert dict(span.attributes or {}) == {method: "GET", url: shown}


def test_only_an_exceptions_kind_is_exported(provider: TracerProvider, kept: InMemorySpanExporter) -> None:
    """Its text and traceback may contain anything; the exception event itself stays."""
    span = provider.get_tracer("test").start_span("task")
    with pytest.raises(ValueError, match="planted"), use_span(span, end_on_exit=True):
        raise ValueError("planted text")

    [sent] = kept.get_finished_spans()
    assert [dict(event.attributes or {}) for event in sent.events] == [{"exception.type": "ValueError"}]
    assert (sent.status.status_code, sent.status.description) == (StatusCode.ERROR, None)
    assert "planted" not in sent.to_json()


def test_a_value_is_masked_as_in_the_log(provider: TracerProvider, kept: InMemorySpanExporter) -> None:
    """Anywhere."""
    attributes: dict[str, Any] = {"a": f"x {SECRET}", "b": "Bearer xyz", "n": 7, "l": [f"{SECRET}!"]}
    provider.get_tracer("test").start_span(f"span {SECRET}", attributes=attributes).end()

    [span] = kept.get_finished_spans()
    assert SECRET not in span.to_json()
    assert "xyz" not in span.to_json()
    assert (span.attributes or {})["n"] == 7


def test_a_trace_continues_in_our_messages_but_not_to_cronofy(provider: TracerProvider) -> None:
    """It is in message headers, but not in a request's headers."""
    message: dict[str, str] = {}
    request = httpx.Headers()
    with provider.get_tracer("test").start_as_current_span("task"):
        _WithinOurs().inject(message)
        _WithinOurs().inject(request)

    assert "traceparent" in message
    assert not request
