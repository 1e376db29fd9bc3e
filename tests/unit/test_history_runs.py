"""An event's history keeps runs: however often a look finds the same, when that began stays known."""

from __future__ import annotations

from datetime import datetime

from tests.unit.builders import HOUR, MINUTE, NOW, concluded, lapsed, tracked, userinfo
from tests.unit.cases import asked, looked_at
from tests.unit.cases import case as case_of
from worker.diagnosis.model import Cause, Unauthorized
from worker.explain.case import Delivery
from worker.explain.chronicle import history
from worker.explain.explanation import sections
from worker.explain.reply import reply
from worker.ledger.packing import pack_event
from worker.ledger.records import HISTORY_LENGTH, TrackedEvent


def looked(event: TrackedEvent, times: int, since: datetime = NOW, what: str = "unexplained") -> TrackedEvent:
    for number in range(times):
        event = event.noted(since + number * MINUTE, what, "escalate")
    return event


def test_a_long_run_is_two_lines_with_its_first_and_last_time_and_count() -> None:
    """However many looks it had; the record does not grow with them."""
    event = looked(tracked(), 500)

    [entry] = [each for each in history(case_of(event)) if each.seen == "overdue, no reason found"]
    assert (entry.at, entry.last, entry.times) == (NOW, NOW + 499 * MINUTE, 500)
    assert "(500 times, last at" in entry.text
    assert len(pack_event(event)) <= len(pack_event(looked(tracked(), 3))) + 20


def test_when_the_team_was_alerted_never_moves() -> None:
    """Neither with many looks, nor when looks fail in between."""
    event = tracked(last={**concluded(tracked()).diagnosis.as_json, "cause": "unexplained"})
    for number in range(60):
        event = event.noted(NOW + number * MINUTE, "unexplained", "escalate")
        event = event.failed(f"No answer {number}.", NOW + number * MINUTE + MINUTE / 2, NOW + HOUR)

    assert len(event.history) <= HISTORY_LENGTH
    assert case_of(event).since(Cause.UNEXPLAINED) == NOW
    later = event.noted(NOW + 2 * HOUR, "generating", "wait").noted(NOW + 3 * HOUR, "unexplained", "escalate")
    assert case_of(later).since(Cause.UNEXPLAINED) == NOW + 3 * HOUR


def test_what_a_former_release_wrote_counts_as_well() -> None:
    """It wrote one line for each look."""
    lines = tuple((int((NOW + n * MINUTE).timestamp() * 1000), "unexplained", "escalate") for n in range(5))
    event = looked(tracked(history=lines), 3, NOW + HOUR)

    [entry] = [each for each in history(case_of(event)) if each.seen == "overdue, no reason found"]
    assert (entry.at, entry.last, entry.times) == (NOW, NOW + HOUR + 2 * MINUTE, 8)


def test_evidence_is_dated_by_the_look_that_found_it() -> None:
    """Not by a later one that failed."""
    event = looked(tracked(), 2).failed("No answer.", NOW + HOUR, NOW + 2 * HOUR)

    [title] = [title for title, _ in sections(case_of(event)) if title.startswith("Evidence")]
    assert title.endswith(f"as of the last look at {NOW + MINUTE:%Y-%m-%d %H:%M:%S} UTC")


def test_an_event_whose_looks_fail_does_not_wait_for_its_first() -> None:
    """Whether Cronofy could not be asked, or the event itself makes them fail."""
    for event in (tracked(last=None, attempts=2), tracked(last=None, failures=2)):
        why, _ = reply(case_of(event))
        assert "waiting for its first check" not in why
        assert "could not be" in why


def test_an_account_that_was_never_connected_is_not_the_customers_fault() -> None:
    """They are not asked to do anything, and the operator is told what to send."""
    found = concluded(tracked(), Unauthorized("The account was never connected.")).after
    case = case_of(found, connected=False)

    why, following = reply(case)
    assert "have not been given access" in why
    assert "Please" not in following
    lost = reply(case_of(tracked(), lost=True))
    assert lost[1].startswith("Please connect the account")


def test_nobody_is_told_of_an_email_that_no_server_sends() -> None:
    """Without a mail server emails are kept as files, and reach nobody."""
    for delivery, words in ((Delivery.SENT, "We emailed a link"), (Delivery.KEPT, "Please reconnect Zoom;")):
        event = looked_at(tracked(), profiles=userinfo(lapsed("pro_a")))
        case = case_of(event, episode=asked(), delivery=delivery)
        assert reply(case)[1].startswith(words)
