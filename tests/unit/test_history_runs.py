"""An event's history keeps runs: however often a look finds the same, when that began stays known."""

from __future__ import annotations

from dataclasses import replace
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
from worker.ledger.records import HISTORY_LENGTH, MOMENTS, TOLD, Acknowledgement, TrackedEvent
from worker.run.incidents import reason_of


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


#: What was done with an event, by whom, and when: the words are those of the history.
DONE = (
    ("escalated", "another profile fits, but may be another person's"),
    ("letter_written", "relink"),
    ("acknowledged", "by Robin: with the vendor"),
    ("acknowledgement_over", "its cause changed"),
    ("chosen", "pro_b, by Sam"),
    ("parked", "ValueError"),
)


def busy(event: TrackedEvent, looks: int, since: datetime) -> TrackedEvent:
    """The event after looks of which no two found the same: each is a run of its own."""
    for number in range(looks):
        what = ("generating", "provider_outage", "look_failed")[number % 3]
        event = event.noted(since + number * MINUTE, what, f"answer {number}")
    return event


def test_when_people_were_told_and_what_they_did_is_never_forgotten() -> None:
    """However much was seen since: the first and the latest of each kind stay, in a bounded history."""
    event = busy(tracked(), 30, NOW - 10 * HOUR)
    for number, (what, done) in enumerate(DONE):
        event = event.noted(NOW + number * MINUTE, what, done)
    event = busy(event, 60, NOW + HOUR)
    for hours in range(3, 60):
        event = event.noted(NOW + hours * HOUR, "letter_written", f"relink, reminder {hours}")
    event = busy(event, 60, NOW + 70 * HOUR)

    told = {(entry.at, entry.text) for entry in history(case_of(event))}
    for number, (_, done) in enumerate(DONE):
        assert any(at == NOW + number * MINUTE and done in text for at, text in told)
    assert (NOW + 59 * HOUR, "letter written: relink, reminder 59") in told
    assert not any("reminder 30" in text for _, text in told)
    assert len(event.history) == HISTORY_LENGTH
    assert event.history == tuple(sorted(event.history, key=lambda line: line[0]))


def test_a_record_that_is_tracked_again_keeps_them_as_well() -> None:
    """Its history goes on."""
    former = busy(tracked().noted(NOW, "chosen", "pro_b, by Sam"), 19, NOW + HOUR)

    event = tracked().noted(NOW + 2 * HOUR, "received", "tracked").following(former)

    assert (int(NOW.timestamp() * 1000), "chosen", "pro_b, by Sam") in event.history


def test_every_alert_is_in_the_history_with_its_time() -> None:
    """Also one of which the evidence says all; the answer names it however often looks come."""
    event = concluded(tracked(age=25 * HOUR)).after
    assert event.cause is Cause.UNEXPLAINED
    later = looked(busy(event, 60, NOW + MINUTE), 2, NOW + 3 * HOUR)

    told = [(e.at, e.text) for e in history(case_of(later))]
    assert (NOW, f"escalated: {TOLD}") in told
    assert f"Our team was alerted on {case_of(later).at(NOW)};" in reply(case_of(later))[1]


def test_a_run_goes_on_over_what_people_do_meanwhile() -> None:
    """It is one line, however often somebody chose or acknowledged."""
    event = looked(tracked(), 3).noted(NOW + HOUR, "chosen", "pro_b, by Sam")
    event = looked(event, 4, NOW + 2 * HOUR)

    assert [(e.seen, e.times) for e in history(case_of(event))[1:]] == [
        ("overdue, no reason found", 7),
        ("a person chose", 1),
    ]
    assert len(event.history) == 3


def test_an_acknowledgement_is_dated_by_when_it_was_given() -> None:
    """Once it is over, too; and that is said with its reason."""
    given = Acknowledgement(
        int((NOW - HOUR).timestamp() * 1000), "Robin", "with the vendor", cause="generating"
    )
    event = looked(tracked(), 2, NOW - 2 * HOUR).noted(NOW - MINUTE, "unexplained", "escalate")

    after = event.answered_for(given, "its cause changed", NOW)

    assert [(e.at, e.text) for e in history(case_of(after)) if "acknowledged" in e.text] == [
        (NOW - HOUR, "acknowledged: by Robin: with the vendor"),
        (NOW, "acknowledged no longer: its cause changed"),
    ]


def test_an_event_without_such_moments_pays_nothing_for_them() -> None:
    """Its record is what it was."""
    event = looked(tracked(), 500)

    assert all(what not in MOMENTS for _, what, _ in event.history)
    assert len(event.history) == 2


def test_an_incident_gives_the_reason_of_this_cause_not_of_a_former_one() -> None:
    """That of the former stays in the history, but is not why a person is told now."""
    event = tracked().noted(NOW, "profile_removed", "escalate").noted(NOW, "escalated", "No profile fits.")
    found = concluded(tracked(age=25 * HOUR)).after
    event = replace(found, history=(*event.history, *found.history))

    assert event.cause is Cause.UNEXPLAINED
    assert "No profile fits." not in reason_of(event)
    assert TOLD not in reason_of(event)
