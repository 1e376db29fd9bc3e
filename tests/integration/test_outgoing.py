"""Sending outcomes to the task that wants them: in order, one process at a time, for a limited time."""

from __future__ import annotations

import json
import time

import pytest

from tests.integration.ledgers import an_event, claim, outcome
from worker.ledger.leases import Change
from worker.ledger.ledger import Ledger
from worker.ledger.outcomes import OutcomeStream
from worker.run import delivery
from worker.run.delivery import deliver_outcomes


@pytest.fixture
def outcomes(ledger: Ledger) -> OutcomeStream:
    """A stream of four outcomes."""
    ledger.track("acc", an_event())
    ledger.commit(claim(ledger), Change(outcomes=[outcome() for _ in range(4)]))
    return ledger.outcomes


def test_all_are_delivered_in_order_and_once(outcomes: OutcomeStream) -> None:
    """The next call sends only what is new."""
    sent: list[str] = []

    assert deliver_outcomes(outcomes, sent.append) == 4
    assert deliver_outcomes(outcomes, sent.append) == 0

    assert [json.loads(outcome) for outcome in reversed(sent)] == outcomes.newest()
    assert not outcomes.has_undelivered()


def test_while_one_delivers_no_other_does(outcomes: OutcomeStream) -> None:
    """The other has nothing to do."""
    others: list[int] = []

    def publish(_: str) -> None:
        others.append(deliver_outcomes(outcomes, lambda _: None))

    assert deliver_outcomes(outcomes, publish) == 4
    assert others == [0] * 4


def test_a_slow_broker_ends_a_turn_before_the_next_one_begins(
    outcomes: OutcomeStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest waits for the next wake-up, and nothing is sent twice."""
    monkeypatch.setattr(delivery, "DELIVERY_SECONDS", 0.5)
    sent: list[str] = []

    def publish(outcome: str) -> None:
        time.sleep(0.3)
        sent.append(outcome)

    first = deliver_outcomes(outcomes, publish)
    assert 1 <= first <= 2
    assert outcomes.has_undelivered()
    while deliver_outcomes(outcomes, publish):
        pass

    assert len(sent) == len(set(sent)) == 4
