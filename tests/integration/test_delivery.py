"""Sending outcomes to the task that wants them: in order, one process at a time, for a limited time."""

from __future__ import annotations

import json
import time

import pytest

from tests.integration.ledgers import an_event, claim, outcome
from worker.ledger.leases import Change
from worker.ledger.ledger import Ledger
from worker.ledger.outcomes import OutcomeStream
from worker.run.delivery import DELIVERY_SECONDS, deliver_outcomes


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
    sent: list[str] = []

    def publish(outcome: str) -> None:
        sent.append(outcome)
        if len(sent) == 1:
            monkeypatch.setattr(time, "monotonic", lambda real=time.monotonic: real() + DELIVERY_SECONDS)

    assert deliver_outcomes(outcomes, publish) == 1
    assert outcomes.has_undelivered()
    monkeypatch.undo()
    assert deliver_outcomes(outcomes, publish) == 3

    assert len(set(sent)) == 4
