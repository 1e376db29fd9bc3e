"""What a diagnosis makes of one event's record, and what is told of it (contract §3 and §6)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.unit.builders import (
    CALENDAR,
    DAY,
    HOUR,
    MINUTE,
    NOW,
    POLICY,
    SECOND,
    SUB,
    at,
    calendar,
    judged,
    lapsed,
    profile,
    seen,
    stored,
    tracked,
    userinfo,
)
from worker.diagnosis.model import Cause, Missing, Profiles, Seen, Unauthorized
from worker.ledger.outcomes import Outcome, OutcomeType
from worker.ledger.records import HISTORY_LENGTH, Stored, TrackedEvent, Write, from_ms, to_ms
from worker.reconcile.verdict import (
    Verdict,
    escalate_once,
    intend,
    reassigned,
    unread,
    write_put_off,
    write_refused,
    write_unanswered,
)

URL = "https://zoom.example/j/1"
CONNECTED = userinfo(profile("pro_a"))
FAILING = ("conferencing_failing", None, to_ms(NOW - 5 * MINUTE))
NO_URL = ("conferencing_failing", "missing_meeting_url", to_ms(NOW - 5 * MINUTE))
SINCE = "2026-12-01T11:55:00+00:00"


def told(
    kind: OutcomeType, cause: Cause | None, detail: dict[str, Any], now: datetime = NOW
) -> tuple[Outcome, ...]:
    """Exactly one outcome of the event."""
    return (Outcome(kind, SUB, now, CALENDAR, "booking-1", cause, detail),)


def again(verdict: Verdict, now: datetime, profiles: Profiles | None = CONNECTED) -> Verdict:
    """The verdict of the next look, which sees the same."""
    return judged(verdict.after, verdict.seen, profiles, now)


@pytest.mark.parametrize(
    ("event", "sighting", "profiles", "outcomes"),
    [
        pytest.param(
            tracked(),
            seen(join_url=URL, provider_name="zoom"),
            None,
            told(OutcomeType.ASSIGNED, None, {"join_url": URL, "provider_name": "zoom"}),
            id="assigned",
        ),
        pytest.param(
            tracked(),
            seen(join_url=URL),
            None,
            told(OutcomeType.ASSIGNED, None, {"join_url": URL, "provider_name": None}),
            id="assigned, provider not said",
        ),
        pytest.param(
            tracked(), seen(at(NOW)), None, told(OutcomeType.CLOSED, Cause.EVENT_IN_PAST, {}), id="past"
        ),
        pytest.param(
            tracked(), Missing(), None, told(OutcomeType.CLOSED, Cause.EVENT_GONE, {}), id="missing"
        ),
        pytest.param(
            tracked(), seen(deleted=True), None, told(OutcomeType.CLOSED, Cause.EVENT_GONE, {}), id="deleted"
        ),
        pytest.param(
            tracked(notice=FAILING),
            seen(),
            CONNECTED,
            told(OutcomeType.DELAYED, Cause.PROVIDER_OUTAGE, {"since": SINCE}),
            id="outage",
        ),
        pytest.param(tracked(), seen(), CONNECTED, (), id="generating"),
        pytest.param(tracked(age=HOUR), seen(), CONNECTED, (), id="generating, delayed"),
        pytest.param(
            tracked(), seen(), userinfo(lapsed()), (), id="disconnected: told once per profile, not here"
        ),
        pytest.param(
            tracked(), seen(), userinfo(profile("pro_b")), (), id="removed: told when another is set"
        ),
        pytest.param(
            tracked(), Unauthorized("The grant is gone."), None, (), id="refused: told once per account"
        ),
    ],
)
def test_what_is_told(
    event: TrackedEvent, sighting: Any, profiles: Profiles | None, outcomes: tuple[Outcome, ...]
) -> None:
    """Each way to stand is told in the contract's words, and nothing is told where nothing changed."""
    verdict = judged(event, sighting, profiles)

    assert verdict.outcomes == outcomes
    assert verdict.change.outcomes == outcomes
    assert verdict.escalated is None


@pytest.mark.parametrize(
    ("event", "profiles", "cause", "says"),
    [
        pytest.param(tracked(age=2 * DAY), CONNECTED, Cause.UNEXPLAINED, "nothing visible", id="unexplained"),
        pytest.param(
            tracked(notice=NO_URL), CONNECTED, Cause.MISSING_MEETING_URL, "licence", id="no meeting URL, told"
        ),
        pytest.param(
            tracked(profile_id="integrated", age=HOUR),
            userinfo(calendars=(calendar(integrated=False),)),
            Cause.MISSING_MEETING_URL,
            "licence",
            id="no meeting URL, inferred",
        ),
        pytest.param(
            tracked(), userinfo(), Cause.PROFILE_REMOVED, "no other connected zoom", id="no replacement"
        ),
    ],
)
def test_escalated_once(event: TrackedEvent, profiles: Profiles, cause: Cause, says: str) -> None:
    """Where only a person can help, one is told at the first look that finds it, and at none after."""
    first = judged(event, seen(), profiles)

    assert first.escalated is not None
    assert says in first.escalated
    assert first.outcomes == told(OutcomeType.ESCALATED, cause, {"reason": first.escalated})

    for later in (MINUTE, HOUR, 3 * DAY):
        second = again(first, NOW + later, profiles)
        assert second.diagnosis.cause is cause
        assert (second.outcomes, second.escalated) == ((), None)
        assert second.after.next_look is not None


def test_delayed_once() -> None:
    """An outage is told once, however long it lasts and even if it comes again."""
    first = judged(tracked(notice=FAILING), seen(), CONNECTED)
    second = again(first, NOW + HOUR)
    over = judged(replace(second.after, notice=None), seen(), CONNECTED)
    third = judged(replace(over.after, notice=FAILING), seen(), CONNECTED)

    assert [len(v.outcomes) for v in (first, second, over, third)] == [1, 0, 0, 0]
    assert third.diagnosis.cause is Cause.PROVIDER_OUTAGE


def test_each_cause_is_told() -> None:
    """Having told of one cause keeps nobody from being told of another."""
    outage = judged(tracked(notice=FAILING, age=2 * DAY), seen(), CONNECTED)
    unexplained = judged(replace(outage.after, notice=None), seen(), CONNECTED)

    assert [outcome.type for outcome in outage.outcomes] == [OutcomeType.DELAYED]
    assert [outcome.type for outcome in unexplained.outcomes] == [OutcomeType.ESCALATED]
    assert unexplained.after.told == ("provider_outage:", "unexplained:")


def test_told_anew_when_the_waiting_begins_anew() -> None:
    """What was told before another profile was set is told again if it comes again."""
    first = judged(tracked(age=2 * DAY), seen(), CONNECTED)
    anew = judged(first.after.asked_again(NOW), seen(), CONNECTED, now=NOW + 2 * DAY)

    assert [outcome.type for outcome in anew.outcomes] == [OutcomeType.ESCALATED]


def test_escalations_about_different_things() -> None:
    """One event may be escalated about two things of one cause, but about each once."""
    verdict = judged(tracked(), seen(), userinfo(profile("pro_b")))

    for about in ("one", "other", "one", "other"):
        verdict = escalate_once(verdict, SUB, f"About {about}.", NOW, about)

    assert [outcome.detail["reason"] for outcome in verdict.outcomes] == ["About one.", "About other."]
    assert verdict.escalated == "About other."


@pytest.mark.parametrize(
    ("sighting", "settled", "looked_at_again"),
    [
        pytest.param(seen(join_url=URL), True, False, id="assigned"),
        pytest.param(seen(at(NOW)), True, False, id="past"),
        pytest.param(Missing(), True, False, id="gone"),
        pytest.param(Unauthorized("The grant is gone."), False, False, id="refused"),
        pytest.param(seen(), False, True, id="pending"),
    ],
)
def test_what_is_settled(sighting: Any, settled: bool, looked_at_again: bool) -> None:
    """Only what is assigned or closed is settled; a refused account's events wait, unlooked at."""
    verdict = judged(tracked(), sighting, CONNECTED)

    assert verdict.change.settle is settled
    assert (verdict.after.next_look is not None) is looked_at_again


@pytest.mark.parametrize(
    ("previous", "start", "interval", "away"),
    [
        pytest.param(None, NOW + 10 * DAY, 30 * SECOND, 30 * SECOND, id="first"),
        pytest.param(30.0, NOW + 10 * DAY, MINUTE, MINUTE, id="doubled"),
        pytest.param(21600.0, NOW + 10 * DAY, 6 * HOUR, 6 * HOUR, id="longest"),
        pytest.param(21600.0, NOW + 4 * HOUR, 6 * HOUR, HOUR, id="soon to start"),
    ],
)
def test_intervals(previous: float | None, start: datetime, interval: timedelta, away: timedelta) -> None:
    """Each look doubles the interval, and the start draws the next look nearer without resetting it."""
    verdict = judged(tracked(start=start, interval=previous), None, CONNECTED)

    assert verdict.after.interval == interval.total_seconds()
    assert verdict.after.next_look == to_ms(NOW + away)


def test_the_record_keeps_the_diagnosis() -> None:
    """After a look the record holds its diagnosis, and forgets the looks that failed before."""
    verdict = judged(tracked(failures=3), seen(), userinfo(lapsed()))

    assert verdict.after.failures == 0
    assert verdict.after.cause is Cause.CREDENTIALS_EXPIRED
    assert verdict.after.last == {
        "state": "pending",
        "cause": "credentials_expired",
        "certainty": "certain",
        "evidence": list(verdict.diagnosis.evidence),
        "remedy": "relink_email",
        "detail": {"profile_id": "pro_a", "provider_name": "zoom"},
        "join_url": None,
    }
    assert verdict.after.history == ((to_ms(NOW), "credentials_expired", "relink_email"),)
    assert verdict.before.event.history == ()


def test_history_is_bounded() -> None:
    """Only the last lines of an event's history are kept, the newest last."""
    verdict = judged(tracked(), seen(), CONNECTED)
    for minute in range(1, 30):
        verdict = again(verdict, NOW + minute * SECOND)

    moments = [moment for moment, _, _ in verdict.after.history]
    assert HISTORY_LENGTH == 20
    assert moments == [to_ms(NOW + second * SECOND) for second in range(10, 30)]


def removed() -> Verdict:
    """An event whose profile was removed, and whose replacement is about to be written."""
    return intend(judged(tracked(), seen(), userinfo(profile("pro_b"))), "pro_b", NOW)


def test_intent() -> None:
    """Before the write the record says that it will be, and nothing is told yet."""
    verdict = removed()

    assert verdict.after.writes == {"pro_b": Write(to_ms(NOW))}
    assert verdict.after.profile_id == "pro_a"
    assert verdict.outcomes == ()
    assert "pro_b" not in verdict.after.request.wrote


def test_reassigned() -> None:
    """An accepted write is told, and the event waits anew for the new profile."""
    verdict = reassigned(removed(), SUB, "pro_b", "zoom", NOW, POLICY)

    detail = {"from_profile_id": "pro_a", "to_profile_id": "pro_b"}
    assert verdict.outcomes == told(OutcomeType.REASSIGNED, Cause.PROFILE_REMOVED, detail)
    after = verdict.after
    assert (after.profile_id, after.provider_name) == ("pro_b", "zoom")
    assert (after.asked_at, after.interval, after.notice, after.told) == (to_ms(NOW), None, None, ())
    assert after.next_look == to_ms(NOW + POLICY.recheck_min)
    assert after.request.wrote == {"pro_b"}
    assert after.body["conferencing"] == {"profile_id": "pro_a"}


def test_refused_write() -> None:
    """A write that Cronofy refuses for good is escalated once and never sent again."""
    verdict = write_refused(removed(), SUB, "pro_b", "It does not like it.", NOW)

    reason = "Setting the profile pro_b failed: It does not like it."
    assert verdict.escalated == reason
    assert verdict.outcomes == told(OutcomeType.ESCALATED, Cause.PROFILE_REMOVED, {"reason": reason})
    assert verdict.after.request.wrote == {"pro_b"}
    assert again(verdict, NOW + MINUTE, userinfo(profile("pro_b"))).diagnosis.remedy.value == "escalate"


@pytest.mark.parametrize(
    ("failures", "away"),
    [pytest.param(0, MINUTE, id="first"), pytest.param(2, 4 * MINUTE, id="third")],
)
def test_unanswered_write(failures: int, away: timedelta) -> None:
    """A write without an answer is neither told nor counted as done: a later look sees."""
    event = tracked(failures=failures)
    intended = intend(judged(event, seen(), userinfo(profile("pro_b"))), "pro_b", NOW)

    verdict = write_unanswered(intended, "No answer came.", NOW, POLICY)

    assert verdict.outcomes == ()
    assert verdict.after.failures == failures + 1
    assert verdict.after.next_look == to_ms(NOW + away)
    assert verdict.after.history[-1] == (to_ms(NOW), "write_failed", "No answer came.")
    assert verdict.after.writes == {"pro_b": Write(to_ms(NOW))}
    assert verdict.after.request.wrote == frozenset()


def test_unanswered_write_seen_in_effect() -> None:
    """A write whose answer was never seen is told as soon as the link is there, before the link."""
    unanswered = write_unanswered(removed(), "No answer came.", NOW, POLICY)

    verdict = judged(unanswered.after, seen(join_url=URL), None, NOW + HOUR)

    assert [outcome.type for outcome in verdict.outcomes] == [OutcomeType.REASSIGNED, OutcomeType.ASSIGNED]
    assert verdict.outcomes[0].detail == {"from_profile_id": "pro_a", "to_profile_id": "pro_b"}
    assert verdict.outcomes[0].cause is Cause.PROFILE_REMOVED


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(Write(1, accepted=True), id="accepted, so told before"),
        pytest.param(Write(1, refused="No."), id="refused, so without effect"),
    ],
)
def test_nothing_owed(write: Write) -> None:
    """A write whose answer was seen is not told when the link is there."""
    verdict = judged(tracked(writes={"pro_b": write}), seen(join_url=URL))

    assert [outcome.type for outcome in verdict.outcomes] == [OutcomeType.ASSIGNED]


def test_nothing_owed_when_closed() -> None:
    """A write whose answer was never seen, and which is never seen in effect, is not told."""
    unanswered = write_unanswered(removed(), "No answer came.", NOW, POLICY)

    verdict = judged(unanswered.after, Missing(), None, NOW + HOUR)

    assert [outcome.type for outcome in verdict.outcomes] == [OutcomeType.CLOSED]


def test_put_off_write() -> None:
    """A write that was not sent leaves the event due at once, and untold."""
    verdict = write_put_off(removed(), {}, NOW)

    assert verdict.after.next_look == to_ms(NOW)
    assert (verdict.outcomes, verdict.after.failures) == ((), 0)
    assert verdict.after.request.wrote == frozenset()


def test_put_off_write_is_not_owed() -> None:
    """A write that was never sent is never told as done, even if the event gets its link otherwise."""
    put_off = write_put_off(removed(), {}, NOW)

    verdict = judged(put_off.after, seen(join_url=URL), None, NOW + HOUR)

    assert [outcome.type for outcome in verdict.outcomes] == [OutcomeType.ASSIGNED]


def test_the_verdict_names_its_event() -> None:
    """A verdict is found by its event's ids and changes the record that was claimed."""
    verdict = judged(tracked("booking-7"), Seen(start=at(NOW + DAY), end=None, summary="Moved"), CONNECTED)

    assert verdict.key == (CALENDAR, "booking-7")
    assert isinstance(verdict.change.before, Stored)
    assert verdict.change.before.event == tracked("booking-7")
    assert verdict.change.after.summary == "Moved"


@pytest.mark.parametrize(
    ("age", "start", "failures", "told"),
    [
        pytest.param(HOUR, NOW + DAY, 5, [], id="young, and its start is far"),
        pytest.param(2 * DAY, NOW + 9 * DAY, 0, [], id="old, but it failed only twice"),
        pytest.param(2 * DAY, NOW + 9 * DAY, 2, [OutcomeType.ESCALATED], id="old, the third time"),
        pytest.param(HOUR, NOW + HOUR / 2, 2, [OutcomeType.ESCALATED], id="its start is near"),
    ],
)
def test_looks_that_fail(age: timedelta, start: datetime, failures: int, told: list[OutcomeType]) -> None:
    """Where looks fail until an event is overdue, a person is told once; nothing else is concluded."""
    event = replace(tracked(start=start), asked_at=to_ms(NOW - age), failures=failures)
    given = stored(event)

    first = unread("acc_1", given, "Cronofy answered 503.", NOW, POLICY)
    second = unread("acc_1", stored(first.after), "Cronofy answered 503.", NOW + HOUR / 4, POLICY)

    assert [outcome.type for outcome in (*first.outcomes, *second.outcomes)] == told
    assert (first.after.last, first.after.failures) == (event.last, failures + 1)
    assert NOW < from_ms(first.after.next_look or 0) <= NOW + HOUR / 6
