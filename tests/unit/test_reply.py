"""The two sentences of an answer: what a customer may be sent, for each cause in each variant."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from config.settings import Settings
from tests.unit.builders import (
    CALENDAR_LAPSED,
    CONNECTED,
    DAY,
    EXPIRED,
    HOME,
    HOUR,
    NOW,
    SECOND,
    URL,
    at,
    calendar,
    event_body,
    failing,
    lapsed,
    profile,
    seen,
    tracked,
    userinfo,
)
from tests.unit.cases import asked, case, live, looked_at
from worker.diagnosis.cause_table import TABLE
from worker.diagnosis.model import Cause, Missing, TokenOwed, Unauthorized
from worker.explain.case import Case, Delivery
from worker.explain.reply import BUILDERS, reply
from worker.ledger.records import Obstacle, Write, to_ms

OLD = tracked(age=3 * HOUR)
PARIS = tracked(body=event_body(start=NOW + 2 * DAY) | {"tzid": "Europe/Paris"}, age=3 * HOUR)
PAST = tracked(start=NOW - HOUR)
EXPIRY = looked_at(OLD, profiles=EXPIRED)
INTEGRATED = tracked(profile_id="integrated", age=3 * HOUR, provider_name=None)
REPLACED = looked_at(OLD, profiles=userinfo(profile("pro_b")))
TWO = looked_at(OLD, profiles=userinfo(profile("pro_b"), profile("pro_c")))
NONE = looked_at(OLD, profiles=userinfo(profile("pro_m", provider="ms_teams")))
TRIED = replace(OLD, writes={"pro_b": Write(to_ms(NOW), refused="no")})
LATE = looked_at(tracked(age=30 * HOUR), profiles=CONNECTED)
PARKED = replace(
    OLD, parked="Parked: 5 looks failed.", next_look=None, history=((to_ms(NOW), "parked", "KeyError"),)
)
MS_TEAMS = replace(INTEGRATED, provider_name="ms_teams")
OWN_LAPSED = userinfo(calendars=(calendar(lapsed("pro_a", "google")),))
SWITCHED_OFF = userinfo(calendars=(calendar(integrated=False),))
PAUSE = NOW - HOUR

EXPIRED_ZOOM = "This account's Zoom connection has expired, so no link can be created for this meeting."
REMOVED = "The Zoom connection this meeting was set up with was removed from the account"
SEEMS_REMOVED = "The Zoom connection this meeting was set up with seems to have been removed from the account"
THEN = "the meeting link is then created automatically."
CHOOSE = f"Please open the meeting and choose which conferencing it should use; {THEN}"
ADMINISTRATOR = (
    "Please ask an administrator to check that online meetings are licensed and switched on for this "
    f"calendar; {THEN}"
)
RECONNECT = "Please connect Zoom to the account again, and we will switch the meeting over."
SOONEST = "we will check again within a minute."
STARTED = (
    "This meeting started on Tue 1 Dec 2026, 11:00 (UTC) before its Zoom link was created, and links are "
    "only created for future meetings."
)
PAUSED = (
    "Our checks have been paused since Tue 1 Dec 2026, 11:00 (UTC), and this meeting is picked up "
    "automatically when they resume."
)
NO_ACCESS = (
    "We have no access to this account's calendar, so we cannot check this meeting or its link.",
    "Please connect the account, and we will pick up its meetings automatically.",
)
NO_LONGER_THERE = (
    "This meeting was cancelled or is no longer in the calendar, so no link is created for it.",
    "If it is still going to happen, please restore it or create it again.",
)
OVERDUE = (
    "The Zoom link for this meeting has been in preparation since Mon 30 Nov 2026, 06:00 (UTC), and we have "
    "found no reason for the delay."
)
READY = "please have another way to meet ready in case there is no link by"

ROWS: list[tuple[str, Case, str, str]] = [
    (
        "never looked at",
        case(tracked(next_look=to_ms(NOW + 30 * SECOND))),
        "This meeting is waiting for its first check.",
        "Nothing needs to be done; we will check it within a minute.",
    ),
    (
        "never read, though tried",
        case(tracked(age=3 * HOUR, failures=3)),
        "This meeting has not been checked yet, because its calendar could not be reached.",
        f"Nothing needs to be done, as we keep trying; {SOONEST}",
    ),
    (
        "generating, young",
        case(looked_at(tracked(), profiles=CONNECTED)),
        "The Zoom link for this meeting is still being created, which may take up to 2 minutes.",
        f"Nothing needs to be done, as the link appears automatically; {SOONEST}",
    ),
    (
        "generating, the service is not known, paused",
        case(looked_at(tracked(profile_id="default"), profiles=CONNECTED), paused_since=PAUSE),
        "The link for this meeting is still being created, which may take up to 2 minutes.",
        PAUSED,
    ),
    (
        "generating, old, in another zone",
        case(looked_at(replace(PARIS, interval=1800.0), profiles=CONNECTED)),
        "The Zoom link for this meeting has been in preparation since Tue 1 Dec 2026, 10:00 (Europe/Paris), "
        "which is longer than usual, but we can see nothing wrong.",
        "Nothing needs to be done, as our team is alerted if the link does not arrive in time; we will check "
        "again by Tue 1 Dec 2026, 14:00 (Europe/Paris).",
    ),
    (
        "expired, email sent",
        case(EXPIRY, episode=asked(), delivery=Delivery.SENT),
        EXPIRED_ZOOM,
        f"We emailed a link to reconnect Zoom on Mon 30 Nov 2026, 12:00 (UTC); please follow it, and {THEN}",
    ),
    (
        "expired, email sent, two reminders",
        case(EXPIRY, episode=asked(4, missed=1), delivery=Delivery.SENT),
        EXPIRED_ZOOM,
        "We emailed a link to reconnect Zoom on Mon 30 Nov 2026, 12:00 (UTC) and 2 reminders since; please "
        f"follow it, and {THEN}",
    ),
    (
        "expired, email on its way",
        case(EXPIRY, episode=asked(), delivery=Delivery.QUEUED),
        EXPIRED_ZOOM,
        f"An email with a link to reconnect Zoom is on its way, so please follow it; {SOONEST}",
    ),
    (
        "expired, email refused",
        case(EXPIRY, episode=asked(), delivery=Delivery.REFUSED),
        EXPIRED_ZOOM,
        "Our email with a link to reconnect Zoom could not be delivered, so please give us an address that "
        "works.",
    ),
    (
        "expired, no address",
        case(EXPIRY, episode=asked(0, obstacle=Obstacle.NO_ADDRESS)),
        EXPIRED_ZOOM,
        "We have no email address to send the link to reconnect Zoom to, so please give us one.",
    ),
    (
        "expired, an invalid address",
        case(EXPIRY, episode=asked(0, obstacle=Obstacle.BAD_ADDRESS)),
        EXPIRED_ZOOM,
        "The email address for the link to reconnect Zoom is not valid, so please give us another one.",
    ),
    (
        "expired, a link that may not be emailed",
        case(EXPIRY, episode=asked(0, obstacle=Obstacle.LINK_REFUSED)),
        EXPIRED_ZOOM,
        "The link to reconnect Zoom could not be emailed, and our team has been told.",
    ),
    (
        "expired, no link",
        case(EXPIRY, episode=asked(0, obstacle=Obstacle.NO_LINK)),
        EXPIRED_ZOOM,
        "There is no link to reconnect Zoom with, so an administrator of your organisation may have to do "
        "it, and our team has been told.",
    ),
    (
        "expired, found by this very read",
        live(OLD, EXPIRED),
        EXPIRED_ZOOM,
        "Our next check will email a link to reconnect Zoom; it is due within a minute.",
    ),
    (
        "expired, reconnected since",
        case(EXPIRY),
        "Zoom was disconnected from this account, but has been reconnected since.",
        f"Nothing needs to be done, as the link is created automatically; {SOONEST}",
    ),
    (
        "expired, dry run",
        case(EXPIRY, settings=Settings(dry_run=True)),
        EXPIRED_ZOOM,
        f"Please reconnect Zoom; {THEN}",
    ),
    (
        "expired, the calendar's own",
        case(looked_at(INTEGRATED, profiles=OWN_LAPSED), episode=asked(), delivery=Delivery.SENT),
        "This account's Google calendar connection has probably expired, so no link can be created for this "
        "meeting.",
        "We emailed a link to reconnect the Google calendar on Mon 30 Nov 2026, 12:00 (UTC); please follow "
        f"it, and {THEN}",
    ),
    (
        "expired, the calendar's own, of an event with a profile of its own",
        live(OLD, CALENDAR_LAPSED),
        "This account's Google calendar connection has probably expired, so no link can be created for this "
        "meeting.",
        "Our next check will email a link to reconnect the Google calendar; it is due within a minute.",
    ),
    (
        "removed, about to be replaced",
        case(REPLACED),
        f"{REMOVED}.",
        f"We are switching the meeting to the account's other connection; {SOONEST}",
    ),
    (
        "removed, replaced",
        case(replace(REPLACED, writes={"pro_b": Write(to_ms(NOW), accepted=True)})),
        f"{REMOVED}.",
        "We switched the meeting to the account's other connection on Tue 1 Dec 2026, 12:00 (UTC), and its "
        "link is created automatically.",
    ),
    ("removed, dry run", case(REPLACED, settings=Settings(dry_run=True)), f"{REMOVED}.", CHOOSE),
    (
        "removed, and not to be written",
        case(looked_at(OLD, seen(series=True), profiles=userinfo(profile("pro_b")))),
        f"{REMOVED}, and this meeting is one that we cannot safely change ourselves.",
        CHOOSE,
    ),
    (
        "removed, two candidates",
        case(TWO),
        f"{REMOVED}, and the account has 2 others, so we cannot tell which one to use.",
        CHOOSE,
    ),
    (
        "removed, no candidate",
        case(NONE),
        f"{REMOVED}, and there is no other Zoom connection to replace it.",
        RECONNECT,
    ),
    (
        "removed, the only candidate has another name",
        case(looked_at(OLD, profiles=userinfo(profile("pro_b", name="lee")))),
        f"{REMOVED}, and the account's other Zoom connection may be another person's.",
        CHOOSE,
    ),
    (
        "removed, the only candidate was tried",
        case(looked_at(TRIED, profiles=userinfo(profile("pro_b")))),
        f"{REMOVED}, and switching to the account's other Zoom connection did not work.",
        CHOOSE,
    ),
    (
        "removed, a person chooses by policy",
        case(NONE, settings=Settings(replacement="never")),
        f"{REMOVED}, and we do not replace it automatically.",
        CHOOSE,
    ),
    (
        "removed, no profile listed at all",
        case(looked_at(OLD, profiles=userinfo(listed=False))),
        f"{SEEMS_REMOVED}, and there is no other Zoom connection to replace it.",
        RECONNECT,
    ),
    (
        "in the past",
        case(looked_at(PAST, seen(at(NOW - HOUR)))),
        STARTED,
        "If it is still going to happen, please move it to a future time.",
    ),
    (
        "no link from the calendar's own service",
        case(looked_at(MS_TEAMS, notice=failing("missing_meeting_url"))),
        "Microsoft Teams was asked for a link for this meeting and returned none on Tue 1 Dec 2026, 11:55 "
        "(UTC).",
        ADMINISTRATOR,
    ),
    (
        "the calendar has no such service",
        case(looked_at(INTEGRATED, profiles=SWITCHED_OFF)),
        "The calendar's own conferencing service does not seem to be available in this calendar, so this "
        "meeting got no link.",
        ADMINISTRATOR,
    ),
    (
        "an outage",
        case(looked_at(OLD, profiles=CONNECTED, notice=failing())),
        "Zoom has been unable to create links since Tue 1 Dec 2026, 11:55 (UTC), so this meeting has none "
        "yet.",
        f"Nothing needs to be done, as it is tried again until it works; {SOONEST}",
    ),
    (
        "an outage that lasts",
        case(looked_at(tracked(age=30 * HOUR), profiles=CONNECTED, notice=failing())),
        "Zoom has been unable to create links since Tue 1 Dec 2026, 11:55 (UTC), so this meeting has none "
        "yet.",
        "It is tried again until it works, and our team is alerted; please have another way to meet ready in "
        "case there is no link by Fri 11 Dec 2026, 12:00 (UTC).",
    ),
    ("account lost", case(OLD, lost=True), *NO_ACCESS),
    (
        "access token owed",
        case(looked_at(OLD, TokenOwed(NOW))),
        "Our access to this account's calendar has to be renewed, so we cannot check this meeting now.",
        "Nothing needs to be done on your side, as the meeting is picked up automatically once it is.",
    ),
    ("account found refused", case(looked_at(OLD, Unauthorized("The grant is gone."))), *NO_ACCESS),
    ("deleted", case(looked_at(OLD, seen(deleted=True))), *NO_LONGER_THERE),
    ("not to be found", case(looked_at(OLD, Missing(), profiles=HOME)), *NO_LONGER_THERE),
    (
        "not to be found, nor its calendar",
        case(looked_at(OLD, Missing(), profiles=CONNECTED)),
        "This account's calendar connection seems to have been removed, so this meeting cannot be checked.",
        "Please connect the calendar to the account again; the meeting is then picked up automatically.",
    ),
    (
        "unexplained",
        case(LATE),
        OVERDUE,
        f"Our team was alerted on Tue 1 Dec 2026, 12:00 (UTC); {READY} Fri 11 Dec 2026, 12:00 (UTC).",
    ),
    (
        "unexplained, found by this very read",
        live(tracked(age=30 * HOUR), CONNECTED),
        OVERDUE,
        f"Our next check alerts our team; {READY} Fri 11 Dec 2026, 12:00 (UTC).",
    ),
    (
        "parked",
        case(PARKED),
        "An error on our side keeps us from checking this meeting, and our team was alerted on Tue 1 Dec "
        "2026, 12:00 (UTC).",
        "Until it is fixed, please check the calendar entry for the Zoom link.",
    ),
    (
        "assigned",
        case(looked_at(OLD, seen(join_url=URL, provider_name="zoom"))),
        "This meeting has its Zoom link.",
        "You can find it in the calendar entry, and nothing more needs to be done.",
    ),
]

#: Words that only people working on this program know.
JARGON = re.compile(
    r"\b(looks?|ledger|profiles?|profile_id|sub|remedy|token|userinfo|cronofy|parked|pending|escalat\w*|lease|"
    r"reconcil\w*|generating|queue\w*|outbox|relink\w*|event)\b"
)


@pytest.mark.parametrize(
    ("asked_about", "why", "next_step"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_an_answer_can_be_sent_on_as_it_is(asked_about: Case, why: str, next_step: str) -> None:
    """Two sentences, without insider words."""
    said = reply(asked_about)

    assert said == (why, next_step)
    for sentence in said:
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert ". " not in sentence
        assert not JARGON.search(sentence.lower())


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_has_one_reply(cause: Cause) -> None:
    """A fixed one in the table, or a function that builds it."""
    assert (TABLE[cause].reply is None) == (cause in BUILDERS)
