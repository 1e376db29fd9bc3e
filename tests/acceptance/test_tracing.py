"""Traces of a real worker, at a collector that takes them and at one that does not."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.acceptance.collector import Collected, collector
from tests.acceptance.harness import CLIENT_SECRET, Fleet, running_fleet, zoom
from tests.waiting import wait_until

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")

#: How the spans of tasks that look are named.
TASK = "run/conferencing.look_at_"


@pytest.fixture(scope="module")
def collected() -> Iterator[Collected]:
    """A collector."""
    with collector() as running:
        yield running


@pytest.fixture(scope="module")
def traced(collected: Collected, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet whose environment names the collector; spans are due when the fleet ends."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collected.url)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
        with running_fleet(tmp_path_factory.mktemp("traced")) as fleet:
            yield fleet


def test_a_look_is_one_trace_and_tells_no_secret(collected: Collected, traced: Fleet) -> None:
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
    assert collected.services() == {"conferencing-reconciler"}
    sent = b"".join(collected.requests)
    account = traced.control.account(person.sub)
    for secret in (
        *(person.refresh_token, person.access_token, account["access_token"], CLIENT_SECRET),
        *(traced.env["RECONCILER_VAULT_KEYS"], person.email, "tzid"),
        account["conferencing_profiles"][0]["relink_token"],
        *(r["path"].rpartition("/")[2] for r in traced.requests(person.sub, path="/v1/events/pages/")),
    ):
        assert secret.encode() not in sent


def test_a_collector_that_is_away_harms_nothing(collected: Collected, traced: Fleet) -> None:
    """Work goes on, each process says so once, and the fleet ends in good time."""
    traced.env["OTEL_BSP_SCHEDULE_DELAY"] = "300"
    collected.status = 400
    traced.restart()
    person = traced.person(zoom("pro_zoom"))

    person.write_and_track("booked", "pro_zoom")
    person.outcome("assigned", "booked")
    lines = wait_until(lambda: traced.logged("tracing.failed"), 30, 0.1, what="a word about it")
    assert lines[0]["level"] == "warning"

    began = time.monotonic()
    assert traced.up.end() == 0
    assert time.monotonic() - began < 15
    assert "Traceback" not in traced.log.read_text()
    assert len(traced.logged("tracing.failed")) <= 4
