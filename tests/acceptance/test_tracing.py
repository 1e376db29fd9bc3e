"""Traces of a real worker, with a collector that works and one that does not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.acceptance.harness import CLIENT_SECRET, Fleet, running_fleet, zoom
from tests.waiting import wait_until

trace_service = pytest.importorskip(
    "opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="the extra otel is not installed"
)

#: The span names of tasks that look.
TASK = "run/conferencing.look_at_"


@dataclass(slots=True)
class Collected:
    """A minimal collector: OTLP over HTTP, kept and decoded."""

    url: str = ""
    requests: list[bytes] = field(default_factory=list)
    #: The status of each answer.
    status: int = 200

    def traces(self) -> dict[bytes, list[str]]:
        """The span names of each trace; all must have our service name."""
        found: dict[bytes, list[str]] = {}
        for raw in self.requests:
            for sent in trace_service.ExportTraceServiceRequest.FromString(raw).resource_spans:
                names = {a.key: a.value.string_value for a in sent.resource.attributes}
                assert names["service.name"] == "conferencing-reconciler"
                for span in (span for scope in sent.scope_spans for span in scope.spans):
                    found.setdefault(span.trace_id, []).append(span.name)
        return found


@pytest.fixture(scope="module")
def collected() -> Iterator[Collected]:
    collected = Collected()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if collected.status == 200:
                collected.requests.append(body)
            self.send_response(collected.status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collected.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield collected
        server.shutdown()


@pytest.fixture(scope="module")
def traced(collected: Collected, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet whose environment names the collector; spans are flushed when the fleet ends."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collected.url)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
        with running_fleet(tmp_path_factory.mktemp("traced")) as fleet:
            yield fleet


def test_a_look_is_one_trace_without_secrets(collected: Collected, traced: Fleet) -> None:
    """The task and its calls are one trace, whose id is in the log; a worker that ends sends what is left."""
    traced.control.set_settings(page_size=1)
    person = traced.person(zoom("pro_zoom", connected=False))
    traced.control.expire_access_token(person.sub)
    for event_id in ("first", "second"):
        person.write_and_track(event_id, "pro_zoom")
    person.outcome("relink_requested", None)
    wait_until(person.mails, 15, what="the relink email")
    assert collected.requests == []

    assert traced.up.end() == 0

    calls = {"GET /v1/events", "GET /v1/events/pages/*", "GET /v1/userinfo", "POST /oauth/token"}
    whole = [names for names in collected.traces().values() if calls <= set(names)]
    assert any(name.startswith(TASK) for names in whole for name in names)
    [line] = traced.logged("account.relink_requested")
    assert bytes.fromhex(line["trace_id"]) in collected.traces()
    sent = b"".join(collected.requests)
    account = traced.control.account(person.sub)
    for secret in (
        *(person.refresh_token, person.access_token, account["access_token"], CLIENT_SECRET),
        *(traced.env["RECONCILER_VAULT_KEYS"], person.email, "tzid"),
        account["conferencing_profiles"][0]["relink_token"],
        *(r["path"].rpartition("/")[2] for r in traced.requests(person.sub, path="/v1/events/pages/")),
    ):
        assert secret.encode() not in sent


def test_an_unreachable_collector_does_no_harm(collected: Collected, traced: Fleet) -> None:
    """Work continues, each process logs it once, and the fleet ends in good time."""
    traced.env["OTEL_BSP_SCHEDULE_DELAY"] = "300"
    collected.status = 400
    traced.restart()
    person = traced.person(zoom("pro_zoom"))

    person.write_and_track("booked", "pro_zoom")
    person.outcome("assigned", "booked")
    lines = wait_until(lambda: traced.logged("tracing.failed"), 30, 0.1, what="the log line")
    assert lines[0]["level"] == "warning"

    began = time.monotonic()
    assert traced.up.end() == 0
    assert time.monotonic() - began < 15
    assert "Traceback" not in traced.log.read_text()
    assert len(traced.logged("tracing.failed")) <= 4
