"""The metrics: their values after some activity, and that exactly the documented ones are served."""

from __future__ import annotations

import re
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.contract.documents import code, table
from tests.integration.served import serving
from tests.integration.world import Begin, World
from worker.cronofy.http import ENDPOINTS, OTHER

TOKEN = "a-token-of-the-metrics"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def _served(world: World) -> dict[str, Any]:
    settings = world.services.settings
    return {
        "metrics_token": TOKEN,
        "redis_url": settings.redis_url,
        "key_prefix": settings.key_prefix,
        "vault_keys": ",".join(key.get_secret_value() for key in settings.vault_keys),
    }


def _scrape(url: str) -> dict[str, float]:
    """Each sample by name and labels, as Prometheus writes them."""
    answer = httpx.get(f"{url}/metrics", headers=BEARER, trust_env=False)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = [s for family in text_string_to_metric_families(answer.text) for s in family.samples]
    return {f"{s.name}{sorted(s.labels.items()) or ''}": s.value for s in samples}


def test_the_figures_are_those_of_the_ledger(begin: Begin) -> None:
    """A settled and a waiting event: calls, outcomes, looks, gauges; also a refused call."""
    world = begin()
    world.track("e2")
    world.control.set_settings(generation_seconds=0)
    world.track("e1")
    with serving(**_served(world)) as url:
        before = _scrape(url)
        world.look("e1")
        world.control.expire_access_token(world.sub)
        world.look("e2")
        found = _scrape(url)

    calls = {name: n for name, n in found.items() if name.startswith("reconciler_api_calls_total")}
    logged = [line.split(" ", 1)[1] for line in world.calls()]
    assert sum(calls.values()) == len([path for path in logged if path.startswith(("/v1/", "/oauth"))])
    assert found["reconciler_api_calls_total[('endpoint', 'read_events'), ('status', '401')]"] == 1
    assert found["reconciler_api_calls_total[('endpoint', 'token'), ('status', '200')]"] == 1
    assert [each["reconciler_look_duration_seconds_count"] for each in (before, found)] == [0, 2]
    assert found["reconciler_look_duration_seconds_bucket[('le', '+Inf')]"] == 2
    assert 0 < found["reconciler_look_duration_seconds_sum"] < 60
    assert before["reconciler_pending_events[('cause', 'unseen')]"] == 2
    assert found["reconciler_settle_duration_seconds_count"] == 1
    pending = sum(n for name, n in found.items() if name.startswith("reconciler_pending_events"))
    assert pending == 1
    assert found["reconciler_outcomes_total[('type', 'account_connected')]"] == 1
    assert found["reconciler_soonest_start_seconds"] > 0
    assert {name.split("'")[3] for name in calls} <= {*ENDPOINTS.values(), OTHER}


def test_the_table_of_metrics_is_what_is_served(begin: Begin) -> None:
    """Every family with its type and labels, and no other; some exist only while they have values."""
    world = begin()
    world.track("e1")
    world.look("e1")
    world.track("e2")
    ledger = world.services.ledger
    escalated = f"{len(world.sub)}:{world.sub}".encode() + world.stored("e1").event.key.field
    ledger.redis.zadd(ledger.keys.list("escalated"), {escalated: 4e12})
    world.services.ledger.note_trouble("cronofy_failing", "us", is_on=True)
    with serving(**_served(world)) as url:
        text = httpx.get(f"{url}/metrics", headers=BEARER, trust_env=False).text
    documented = {code(row[0])[0]: (row[1], set(code(row[2]))) for row in table("docs/serving.md", "metric")}
    served = {}
    for family in text_string_to_metric_families(text):
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        served[name] = (family.type, labels)
    #: A ledger without any sweep has no last sweep.
    served.setdefault("reconciler_last_sweep_seconds", ("gauge", set()))

    assert served == documented


def test_a_scrape_that_cannot_read_the_ledger_says_why_and_no_more() -> None:
    """Prometheus has gaps instead of wrong figures, and an alert names the cause; the process survives."""
    away = {"redis_url": "redis://127.0.0.1:1/0", "vault_keys": "A" * 43 + "=", "metrics_token": TOKEN}
    with serving(**away) as url:
        assert _scrape(url) == {"reconciler_trouble[('trouble', 'redis_away')]": 1}
        ready = httpx.get(f"{url}/readyz", trust_env=False)
        assert ready.status_code == 503
        assert re.match(r"the ledger: .*\nthe broker: ", ready.text)
        assert httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
