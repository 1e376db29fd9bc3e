"""What a diagnosis makes of an event's record, and the outcomes it emits (contract §3 and §6)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.unit.builders import (
    CALENDAR,
    CALENDAR_LAPSED,
    CONNECTED,
    DAY,
    HOME,
    HOUR,
    MINUTE,
    NOW,
    POLICY,
    SECOND,
    SUB,
    URL,
    at,
    calendar,
    concluded,
    judged,
    labelled,
    lapsed,
    profile,
    seen,
    stored,
    tracked,
    userinfo,
)
from worker.diagnosis.model import Cause, Missing, Profiles, Remedy, Rung, Unauthorized
from worker.ledger.leases import Lease
from worker.ledger.outcomes import Outcome, OutcomeType
from worker.ledger.records import HISTORY_LENGTH, Account, TrackedEvent, Write, from_ms, to_ms
from worker.mail.letters import Reader
from worker.reconcile.failure import unread
from worker.reconcile.relinks import RelinkNote
from worker.reconcile.verdict import Verdict, WriteEnd, WriteResult, conclude

LONG_AGO = to_ms(NOW - 2 * DAY)
FAILING = ("conferencing_failing", None, to_ms(NOW - 5 * MINUTE))
NO_URL = ("conferencing_failing", "missing_meeting_url", to_ms(NOW - 5 * MINUTE))


def outcome(
    kind: OutcomeType, cause: Cause | None, detail: dict[str, Any], now: datetime = NOW
) -> tuple[Outcome, ...]:
    """The event's single outcome."""
    return (Outcome(kind, SUB, now, CALENDAR, "booking-1", cause, detail),)


def assigned(provider: str | None) -> tuple[Outcome, ...]:
    """It has its link."""
    return outcome(OutcomeType.ASSIGNED, None, {"join_url": URL, "provider_name": provider})


DELAYED = outcome(OutcomeType.DELAYED, Cause.PROVIDER_OUTAGE, {"since": "2026-12-01T11:55:00+00:00"})


def reason_of(verdict: Verdict) -> str:
    """The reason given to a person."""
    assert verdict.change.news
    [reason] = [each.detail["reason"] for each in verdict.outcomes if each.type is OutcomeType.ESCALATED]
    said = [done for _, what, done in verdict.after.history if what == "escalated"]
    assert reason in (*said, " ".join(verdict.diagnosis.evidence))
    return str(reason)


def again(verdict: Verdict, now: datetime, profiles: Profiles | None = CONNECTED) -> Verdict:
    """The verdict of the next look, which sees the same."""
    return concluded(verdict.after, None, profiles, now)


@pytest.mark.parametrize(
    ("event", "sighting", "profiles", "outcomes"),
    labelled(
        ("assigned", tracked(), seen(join_url=URL, provider_name="zoom"), None, assigned("zoom")),
        ("assigned, provider not said", tracked(), seen(join_url=URL), None, assigned(None)),
        ("past", tracked(), seen(at(NOW)), None, outcome(OutcomeType.CLOSED, Cause.EVENT_IN_PAST, {})),
        ("missing", tracked(), Missing(), HOME, outcome(OutcomeType.CLOSED, Cause.EVENT_GONE, {})),
        ("missing, calendar disconnected: told once per profile", tracked(), Missing(), CALENDAR_LAPSED, ()),
        ("deleted", tracked(), seen(deleted=True), None, outcome(OutcomeType.CLOSED, Cause.EVENT_GONE, {})),
        ("outage", tracked(notice=FAILING), seen(), CONNECTED, DELAYED),
        ("generating", tracked(), seen(), CONNECTED, ()),
        ("generating, delayed", tracked(age=HOUR), seen(), CONNECTED, ()),
        ("disconnected: told once per profile, not here", tracked(), seen(), userinfo(lapsed()), ()),
        ("removed: told when another is set", tracked(), seen(), userinfo(profile("pro_b")), ()),
        ("refused: told once per account", tracked(), Unauthorized("The grant is gone."), None, ()),
    ),
)
def test_outcomes_of_each_state(
    event: TrackedEvent, sighting: Any, profiles: Profiles | None, outcomes: tuple[Outcome, ...]
) -> None:
    """Each new state is reported in the contract's words, and no change is no outcome."""
    verdict = concluded(event, sighting, profiles)

    assert verdict.outcomes == outcomes
    assert verdict.change.outcomes == outcomes
    final = {OutcomeType.ASSIGNED, OutcomeType.CLOSED}
    assert verdict.change.settle is any(outcome.type in final for outcome in outcomes)
    assert bool(verdict.change.news) is (verdict.diagnosis.remedy is Remedy.CLOSE and not outcomes)


@pytest.mark.parametrize(
    ("event", "profiles", "cause", "says"),
    labelled(
        ("unexplained", tracked(age=2 * DAY), CONNECTED, Cause.UNEXPLAINED, "no visible"),
        ("no meeting URL, told", tracked(notice=NO_URL), CONNECTED, Cause.MISSING_MEETING_URL, "licence"),
        (
            "no meeting URL, inferred",
            tracked(profile_id="integrated", age=HOUR),
            userinfo(calendars=(calendar(integrated=False),)),
            Cause.MISSING_MEETING_URL,
            "licence",
        ),
        ("no replacement", tracked(), userinfo(), Cause.PROFILE_REMOVED, "no other connected zoom"),
    ),
)
def test_escalated_once(event: TrackedEvent, profiles: Profiles, cause: Cause, says: str) -> None:
    """If only a person can help, one is told at the first look that finds it, and never again."""
    first = concluded(event, seen(), profiles)

    assert says in reason_of(first)
    assert first.outcomes == outcome(OutcomeType.ESCALATED, cause, {"reason": reason_of(first)})

    for later in (MINUTE, HOUR, 3 * DAY):
        second = again(first, NOW + later, profiles)
        assert second.diagnosis.cause is cause
        assert (second.outcomes, bool(second.change.news)) == ((), False)
        assert second.after.next_look is not None


def test_delayed_once() -> None:
    """An outage is reported once, however long it lasts and even if it recurs."""
    first = concluded(tracked(notice=FAILING), seen(), CONNECTED)
    second = again(first, NOW + HOUR)
    over = concluded(replace(second.after, notice=None), seen(), CONNECTED)
    third = concluded(replace(over.after, notice=FAILING), seen(), CONNECTED)

    assert [len(v.outcomes) for v in (first, second, over, third)] == [1, 0, 0, 0]
    assert third.diagnosis.cause is Cause.PROVIDER_OUTAGE


def test_an_outage_that_lasts_is_escalated_once() -> None:
    """At first it only delays; a person is told once it has lasted too long or the meeting is near."""
    event = tracked(notice=FAILING, start=NOW + 2 * HOUR)
    looks = [first := concluded(event, None, CONNECTED)]
    looks += [last := again(first, NOW + HOUR + MINUTE), again(last, NOW + HOUR + 50 * MINUTE)]
    at_once = concluded(tracked(notice=FAILING, age=2 * DAY), seen(), CONNECTED)

    delayed, escalated = OutcomeType.DELAYED, OutcomeType.ESCALATED
    assert [[o.type for o in look.outcomes] for look in looks] == [[delayed], [escalated], []]
    assert [bool(look.change.news) for look in looks] == [False, True, False]
    assert "failing; it keeps trying. It starts in 59 minutes." in reason_of(looks[1])
    assert [o.type for o in at_once.outcomes] == [delayed, escalated]
    assert again(at_once, NOW + DAY).outcomes == ()


def test_each_cause_is_reported() -> None:
    """Having reported one cause does not suppress another."""
    outage = concluded(tracked(notice=FAILING), seen(), CONNECTED)
    outage = replace(outage, change=replace(outage.change, after=replace(outage.after, asked_at=LONG_AGO)))
    unexplained = concluded(replace(outage.after, notice=None), seen(), CONNECTED)

    assert [outcome.type for outcome in outage.outcomes] == [OutcomeType.DELAYED]
    assert [outcome.type for outcome in unexplained.outcomes] == [OutcomeType.ESCALATED]
    assert unexplained.after.notified == ("provider_outage:", "unexplained:")


def test_reported_again_when_waiting_begins_again() -> None:
    """What was reported before another profile was set is reported again if it recurs."""
    first = concluded(tracked(age=2 * DAY), seen(), CONNECTED)
    later = concluded(first.after.asked_again(NOW), seen(), CONNECTED, now=NOW + 2 * DAY)

    assert [outcome.type for outcome in later.outcomes] == [OutcomeType.ESCALATED]


def test_escalations_about_different_things() -> None:
    """An event may be escalated about two things of one cause, but only once about each."""
    about = RelinkNote(late="Reminded before.")
    verdict = concluded(tracked(), seen(), userinfo(lapsed()), relink=about)
    second = concluded(verdict.after, seen(), userinfo(lapsed()), relink=about)
    other = concluded(second.after, SERIES, userinfo(profile("pro_b")))

    assert [len(v.outcomes) for v in (verdict, second, other)] == [1, 0, 1]
    assert "one of a series" in reason_of(other)


def test_the_record_keeps_the_diagnosis() -> None:
    """After a look the record has its diagnosis and interval, and earlier failed looks are cleared."""
    verdict = concluded(tracked(failures=3, interval=30.0), seen(), userinfo(lapsed()))

    assert (verdict.after.failures, verdict.after.interval) == (0, 60.0)
    assert verdict.after.next_look == to_ms(NOW + MINUTE)
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
    assert verdict.change.before.event.history == ()


def test_history_is_bounded() -> None:
    """Only the last lines of an event's history are kept, the newest last, and since when its cause holds."""
    event = concluded(tracked(), seen(), CONNECTED).after
    for second in range(1, 30):
        event = event.noted(NOW + second * SECOND, "write_failed", f"No answer {second}.")

    moments = [moment for moment, _, _ in event.history]
    assert HISTORY_LENGTH == 20
    assert moments == [to_ms(NOW + second * SECOND) for second in (0, *range(11, 30))]


def written(end: WriteEnd, *, write: Write | None = None, reason: str = "", failures: int = 0) -> Verdict:
    """An event whose profile was removed, and whose Update Event to pro_b had this result."""
    event = tracked(failures=failures)
    intended = stored(replace(event, writes={"pro_b": Write(to_ms(NOW))}))
    result = WriteResult(end, "pro_b", intended, write or INTENT, reason, "zoom")
    return concluded(event, seen(), userinfo(profile("pro_b")), write=result)


INTENT = Write(to_ms(NOW))
LATER = Write(to_ms(NOW) + 1, accepted=True)
ROOM = "https://meet.example.com/abc"
ROOMY = replace(POLICY, fallback=tuple(Rung), fallback_url="https://meet.example.com/{key}")
#: What a read shows of an event that may not be written.
SERIES = seen(series=True)


def test_reassigned() -> None:
    """An accepted write is reported, and from now on the event waits for the new profile."""
    verdict = written(WriteEnd.ACCEPTED, write=replace(INTENT, accepted=True))

    detail = {"from_profile_id": "pro_a", "to_profile_id": "pro_b"}
    assert verdict.outcomes == outcome(OutcomeType.REASSIGNED, Cause.PROFILE_REMOVED, detail)
    after = verdict.after
    assert (after.profile_id, after.provider_name) == ("pro_b", "zoom")
    assert (after.asked_at, after.interval, after.notice, after.notified) == (to_ms(NOW), None, None, ())
    assert after.next_look == to_ms(NOW + POLICY.recheck_min)
    assert after.request.wrote == {"pro_b"}
    assert after.body["conferencing"] == {"profile_id": "pro_a"}


def test_refused_write() -> None:
    """A write that Cronofy refuses for good is escalated once and never sent again."""
    refused = Write(to_ms(NOW), refused="It does not like it.")
    verdict = written(WriteEnd.REFUSED, write=refused, reason="It does not like it.")

    reason = "Setting the profile pro_b failed: It does not like it."
    assert reason_of(verdict) == reason
    assert verdict.outcomes == outcome(OutcomeType.ESCALATED, Cause.PROFILE_REMOVED, {"reason": reason})
    assert verdict.after.request.wrote == {"pro_b"}
    later = again(verdict, NOW + MINUTE, userinfo(profile("pro_b")))
    assert (later.diagnosis.remedy.value, later.outcomes) == ("escalate", ())


def test_a_person_is_told_again_of_a_profile_that_fits_but_may_not_be_set() -> None:
    """Told before that none fits, they may have connected it, and would wait."""
    verdict = concluded(tracked(), SERIES, userinfo())
    later = concluded(verdict.after, SERIES, userinfo(profile("pro_b")))

    assert ["one of a series" in reason_of(each) for each in (verdict, later)] == [False, True]


def test_an_event_that_cannot_be_written_whole() -> None:
    """It is escalated once, with the sentence that says why, and its looks continue."""
    verdict = concluded(tracked(), SERIES, userinfo(profile("pro_b")))

    assert "one of a series" in reason_of(verdict)
    assert concluded(verdict.after, SERIES, userinfo(profile("pro_b"))).outcomes == ()
    assert (verdict.after.writes, verdict.after.next_look) == ({}, to_ms(NOW + POLICY.recheck_min))


@pytest.mark.parametrize(
    ("failures", "away"), [pytest.param(0, MINUTE, id="first"), pytest.param(2, 4 * MINUTE, id="third")]
)
def test_unanswered_write(failures: int, away: timedelta) -> None:
    """A write without an answer is neither reported nor counted as done: a later look finds out."""
    verdict = written(WriteEnd.UNANSWERED, write=INTENT, reason="No answer came.", failures=failures)

    assert verdict.outcomes == ()
    assert verdict.after.failures == failures + 1
    assert verdict.after.next_look == to_ms(NOW + away)
    assert verdict.after.history[-1] == (to_ms(NOW), "write_failed", "No answer came.")
    assert verdict.after.writes == {"pro_b": INTENT}
    assert verdict.after.request.wrote == frozenset()


@pytest.mark.parametrize(
    ("failures", "told"), [pytest.param(0, False, id="first"), pytest.param(2, True, id="third")]
)
def test_a_write_that_was_not_found(failures: int, told: bool) -> None:
    """It is known not to have arrived, and is sent again; a person is told at the third in a row."""
    verdict = written(WriteEnd.NOT_FOUND, reason="Cronofy cannot find it (404).", failures=failures)

    assert bool(verdict.change.news) is told
    assert (verdict.after.failures, verdict.after.writes) == (failures + 1, {})
    assert (to_ms(NOW), "write_failed", "Cronofy cannot find it (404).") in verdict.after.history
    later = again(verdict, NOW + MINUTE, userinfo(profile("pro_b")))
    assert (later.diagnosis.remedy.value, later.outcomes) == ("reassign_profile", ())


@pytest.mark.parametrize(
    ("write", "sighting", "expected"),
    labelled(
        ("no answer, seen in effect", INTENT, seen(join_url=URL), ["reassigned", "assigned"]),
        ("no answer, never seen in effect", INTENT, Missing(), ["closed"]),
        ("accepted: told before", Write(1, accepted=True), seen(join_url=URL), ["assigned"]),
        ("refused: no effect", Write(1, refused="No."), seen(join_url=URL), ["assigned"]),
    ),
)
def test_a_write_whose_answer_was_never_seen(write: Write, sighting: Any, expected: list[str]) -> None:
    """It is reported as soon as the link exists, before the link; other writes were reported earlier."""
    verdict = concluded(tracked(writes={"pro_b": write}), sighting, HOME, NOW + HOUR)

    assert [outcome.type.value for outcome in verdict.outcomes] == expected
    if expected[0] == "reassigned":
        assert verdict.outcomes[0].detail == {"from_profile_id": "pro_a", "to_profile_id": "pro_b"}
        assert verdict.outcomes[0].cause is Cause.PROFILE_REMOVED


@pytest.mark.parametrize(
    ("writes", "sighting", "expected"),
    labelled(
        ("one accepted since", {"pro_b": INTENT, "pro_c": LATER}, seen(join_url=URL), None),
        (
            "another profile",
            {"pro_b": INTENT, "rung:any_connected": INTENT},
            seen(join_url=URL),
            "any_connected",
        ),
        (
            "the calendar's own",
            {"integrated": INTENT, "rung:integrated": INTENT},
            seen(join_url=URL),
            "integrated",
        ),
        (
            "the room",
            {"pro_b": Write(1), "explicit": INTENT, "rung:explicit": INTENT},
            seen(join_url=ROOM),
            "explicit",
        ),
        ("the room did not arrive", {"explicit": INTENT, "rung:explicit": INTENT}, seen(join_url=URL), None),
    ),
)
def test_only_the_last_write_can_be_in_effect(
    writes: dict[str, Write], sighting: Any, expected: str | None
) -> None:
    """Of the last resort, the outcome names the rung, and the account's user is told."""
    found = judged(tracked(writes=writes), sighting)
    verdict = conclude(SUB, found, NOW, ROOMY, user=Reader("dana@example.org", "Dana"))

    types = [outcome.type.value for outcome in verdict.outcomes]
    assert types == (["assigned"] if expected is None else ["fallback", "assigned"])
    assert bool(verdict.letter) is (expected is not None)
    if expected is not None and verdict.letter:
        detail = dict(verdict.outcomes[0].detail)
        assert detail.pop("mail_id") == verdict.letter[0]
        to = "pro_b" if expected == "any_connected" else expected
        link = {"join_url": ROOM} if expected == "explicit" else {}
        assert detail == {"from_profile_id": "pro_a", "to_profile_id": to, "rung": expected, **link}
        assert (verdict.letter[1].reader.address, verdict.letter[1].join_url) == (
            "dana@example.org",
            link.get("join_url"),
        )


@pytest.mark.parametrize(
    "user",
    [
        pytest.param(None, id="no address"),
        pytest.param(Reader("not an address", "Dana"), id="none that takes email"),
    ],
)
def test_without_an_address_the_outcome_alone_tells_of_the_last_resort(user: Reader | None) -> None:
    """There is no email, so none is named."""
    verdict = conclude(
        SUB,
        judged(tracked(writes={"integrated": INTENT, "rung:integrated": INTENT}), seen(join_url=URL)),
        NOW,
        ROOMY,
        user=user,
    )

    assert (verdict.letter, "mail_id" in verdict.outcomes[0].detail) == (None, False)


def test_put_off_write() -> None:
    """A write that was not sent leaves the event due at once, and is not reported, now or later."""
    verdict = written(WriteEnd.PUT_OFF)

    assert verdict.after.next_look == to_ms(NOW)
    assert (verdict.outcomes, verdict.after.failures) == ((), 0)
    assert verdict.after.request.wrote == frozenset()
    later = concluded(verdict.after, seen(join_url=URL), None, NOW + HOUR)
    assert [outcome.type for outcome in later.outcomes] == [OutcomeType.ASSIGNED]


@pytest.mark.parametrize(
    ("age", "start", "failures", "expected"),
    labelled(
        ("young, and its start is far", HOUR, NOW + DAY, 5, []),
        ("old, but it failed only twice", 2 * DAY, NOW + 9 * DAY, 0, []),
        ("old, the third time", 2 * DAY, NOW + 9 * DAY, 2, [OutcomeType.ESCALATED]),
        ("its start is near", HOUR, NOW + HOUR / 2, 2, [OutcomeType.ESCALATED]),
    ),
)
def test_looks_that_fail(age: timedelta, start: datetime, failures: int, expected: list[OutcomeType]) -> None:
    """If looks fail until an event is overdue, a person is told once; nothing else is concluded."""
    event = replace(tracked(start=start), asked_at=to_ms(NOW - age), failures=failures)
    given = stored(event)

    reason = "Cronofy answered 503."
    lease = Lease(SUB, "token", NOW, Account(SUB, b"sealed", lost=False), ())
    first = unread(lease, given, reason, POLICY).change
    later = replace(lease, now=NOW + HOUR / 4)
    second = unread(later, first.stored, reason, POLICY).change

    assert [outcome.type for outcome in (*first.outcomes, *second.outcomes)] == expected
    assert (first.after.last, first.after.failures) == (event.last, failures + 1)
    assert NOW < from_ms(first.after.next_look or 0) <= NOW + HOUR / 6


def test_a_closed_event_that_is_asked_about_stays_closed_until_it_is_read() -> None:
    """What is only remembered says nothing; what is read then is told once."""
    closed = concluded(tracked(), Missing(), HOME).after
    asked = judged(closed.reopened(NOW + MINUTE), None, CONNECTED, NOW + MINUTE)

    remembered = conclude(SUB, replace(asked, seen=None), NOW + MINUTE, POLICY)
    gone_still = concluded(remembered.after, Missing(), HOME, NOW + 2 * MINUTE)
    restored = concluded(remembered.after, seen(at(NOW + DAY)), CONNECTED, NOW + 2 * MINUTE)

    assert (remembered.outcomes, remembered.change.settle) == ((), False)
    assert (gone_still.outcomes, gone_still.change.settle) == ((), True)
    assert [outcome.type for outcome in restored.outcomes] == [OutcomeType.REOPENED]
