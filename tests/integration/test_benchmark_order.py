"""The benchmark's model of the order agrees with the scripts that make it."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

from benchmarks.order import FAR, rank, turn
from tests.integration.ledgers import LONG, NOW, an_event
from worker.ledger.ledger import SOON, Ledger
from worker.ledger.records import to_ms

WAITS = {"state": "pending", "cause": "provider_outage", "detail": {}}


def test_the_model_has_the_order_of_the_scripts(ledger: Ledger) -> None:
    """For starts from minutes to months away, with news and without, due for minutes to days."""
    chance, now, expected = random.Random(3), NOW.timestamp(), {}
    for number in range(80):
        away = chance.choice([0.2, 0.6, 5, 30, 300, -2]) * chance.uniform(0.7, 1.1)
        since = timedelta(hours=chance.choice([0.01, 1, 10, 47]) * chance.uniform(0.5, 1))
        news = chance.random() < 0.5
        event = replace(an_event(hours=away), next_look=to_ms(NOW - since), last=None if news else WAITS)
        ledger.track(f"acc{number}", event)
        starts = event.starts_at
        assert starts is not None
        start = starts.timestamp() if away > 0 else FAR
        its_turn = turn(start, (NOW - since).timestamp())
        expected[f"acc{number}"] = rank(its_turn, news and away > 0, now, SOON.total_seconds())
    ledger.promote(1000)

    found = [lease.sub for lease in iter(lambda: ledger.claim(LONG), None)]

    assert found == sorted(expected, key=expected.__getitem__)
