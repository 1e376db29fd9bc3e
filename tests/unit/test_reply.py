"""The two sentences of an answer: for each cause, in each of its variants, what a customer may be sent."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tests.unit.builders import (
    CONNECTED,
    DAY,
    EXPIRED,
    HOUR,
    MINUTE,
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
from tests.unit.cases import RULES, asked, case, looked_at, read_anew
from worker.diagnosis.model import Missing, Unauthorized
from worker.explain.case import Case, Post
from worker.explain.reply import reply
from worker.ledger.records import Write, to_ms

START = NOW + 10 * DAY
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
SOON = looked_at(tracked(age=3 * HOUR, start=NOW + 30 * MINUTE), profiles=CONNECTED)
PARKED = replace(
    OLD, parked="Parked: 5 looks failed.", next_look=None, history=((to_ms(NOW), "parked", "KeyError"),)
)
NO_ADDRESS = "The user has to connect the profile again, but no email address is known for them."
BAD_ADDRESS = "The user has to connect the profile again, but the email address known for them is none."
NO_LINK = "The user has to connect the profile again, but Cronofy gave no relink URL for it."

GONE_ZOOM = "The Zoom connection of this account has expired, so no link can be created for this meeting."
REMOVED = "The Zoom connection that this meeting was set up with was removed from the account"
CHOOSE = (
    "Please open the meeting and choose the one that it should use, and the link is then created by itself."
)
CHOOSE_ANY = (
    "Please open the meeting and choose the conferencing that it should use, and the link is then created by "
    "itself."
)
ADMINISTRATOR = (
    "Please have an administrator check that online meetings are licensed and switched on for this calendar, "
    "and the link is then created by itself."
)
SOONEST = "we check again within a minute."
PAUSED = (
    "Our checks have been paused since Tue 1 Dec 2026, 11:00 (UTC), and this meeting is taken up again by "
    "itself "
    "as soon as they go on."
)

ROWS: list[tuple[str, Case, str, str]] = [
    (
        "never looked at",
        case(tracked(next_look=to_ms(NOW + 30 * SECOND))),
        "This meeting has reached us and is waiting for its first check.",
        "Nothing needs to be done; we check it within a minute.",
    ),
    (
        "never looked at, paused",
        case(tracked(), paused_since=NOW - HOUR),
        "This meeting has reached us and is waiting for its first check.",
        PAUSED,
    ),
    (
        "never read, though tried",
        case(tracked(age=3 * HOUR, failures=3)),
        "This meeting could not be checked yet, because its calendar could not be reached.",
        f"Nothing needs to be done, since we keep trying; {SOONEST}",
    ),
    (
        "generating, young",
        case(looked_at(tracked(), profiles=CONNECTED)),
        "The Zoom link for this meeting is still being created, which may take up to 2 minutes.",
        f"Nothing needs to be done: the link appears by itself; {SOONEST}",
    ),
    (
        "generating, old",
        case(looked_at(replace(OLD, interval=1800.0), profiles=CONNECTED)),
        "The Zoom link for this meeting has been in preparation since Tue 1 Dec 2026, 09:00 (UTC), which is "
        "longer "
        "than usual, but nothing that we can see is wrong.",
        "Nothing needs to be done, since our team is alerted if the link does not come in time; we check "
        "again by "
        "Tue 1 Dec 2026, 13:00 (UTC).",
    ),
    (
        "generating, old, in another zone",
        case(looked_at(replace(PARIS, interval=1800.0), profiles=CONNECTED)),
        "The Zoom link for this meeting has been in preparation since Tue 1 Dec 2026, 10:00 (Europe/Paris), "
        "which is "
        "longer than usual, but nothing that we can see is wrong.",
        "Nothing needs to be done, since our team is alerted if the link does not come in time; we check "
        "again by "
        "Tue 1 Dec 2026, 14:00 (Europe/Paris).",
    ),
    (
        "generating, the service is not known",
        case(looked_at(tracked(profile_id="default"), profiles=CONNECTED)),
        "The link for this meeting is still being created, which may take up to 2 minutes.",
        f"Nothing needs to be done: the link appears by itself; {SOONEST}",
    ),
    (
        "generating, paused",
        case(looked_at(tracked(), profiles=CONNECTED), paused_since=NOW - HOUR),
        "The Zoom link for this meeting is still being created, which may take up to 2 minutes.",
        PAUSED,
    ),
    (
        "expired, email sent",
        case(EXPIRY, episode=asked(), post=Post.SENT),
        GONE_ZOOM,
        "An email with a link to connect Zoom again was sent on Mon 30 Nov 2026, 12:00 (UTC); please follow "
        "it, and "
        "the link is then created by itself.",
    ),
    (
        "expired, email sent, two reminders",
        case(EXPIRY, episode=asked(4, missed=1), post=Post.SENT),
        GONE_ZOOM,
        "An email with a link to connect Zoom again was sent on Mon 30 Nov 2026, 12:00 (UTC), followed by 2 "
        "reminders; "
        "please follow it, and the link is then created by itself.",
    ),
    (
        "expired, email on its way",
        case(EXPIRY, episode=asked(), post=Post.QUEUED),
        GONE_ZOOM,
        "An email with a link to connect Zoom again is on its way, and the link is then created by itself; "
        f"{SOONEST}",
    ),
    (
        "expired, email on its way, paused",
        case(EXPIRY, episode=asked(), post=Post.QUEUED, paused_since=NOW - HOUR),
        GONE_ZOOM,
        PAUSED,
    ),
    (
        "expired, email refused",
        case(EXPIRY, episode=asked(), post=Post.REFUSED),
        GONE_ZOOM,
        "Our email with a link to connect Zoom again could not be delivered, so please let us know an "
        "address that "
        "works.",
    ),
    (
        "expired, no address",
        case(EXPIRY, episode=asked(0, obstacle=NO_ADDRESS)),
        GONE_ZOOM,
        "We have no email address to send the link for connecting Zoom again to, so please let us know one.",
    ),
    (
        "expired, an address that is none",
        case(EXPIRY, episode=asked(0, obstacle=BAD_ADDRESS)),
        GONE_ZOOM,
        "The email address to which the link for connecting Zoom again should go is not valid, so please "
        "let us know "
        "another one.",
    ),
    (
        "expired, no link to send",
        case(EXPIRY, episode=asked(0, obstacle=NO_LINK)),
        GONE_ZOOM,
        "The link to connect Zoom again could not be sent by email, and our team has been told.",
    ),
    (
        "expired, found by this very read",
        read_anew(OLD, EXPIRED),
        GONE_ZOOM,
        "An email with a link to connect Zoom again is sent with our next check; that is due within a "
        "minute.",
    ),
    (
        "expired, connected again since",
        case(EXPIRY),
        "Zoom had been disconnected from this account, and was connected again since.",
        f"Nothing needs to be done: the link is created by itself; {SOONEST}",
    ),
    (
        "expired, dry run",
        case(EXPIRY, rules=replace(RULES, dry_run=True)),
        GONE_ZOOM,
        "Please connect Zoom again, after which the link is created by itself.",
    ),
    (
        "expired, the calendar's own",
        case(
            looked_at(INTEGRATED, profiles=userinfo(calendars=(calendar(lapsed("pro_a", "google")),))),
            episode=asked(),
            post=Post.SENT,
        ),
        "The Google connection of this account has probably expired, so no link can be created for this "
        "meeting.",
        "An email with a link to connect Google again was sent on Mon 30 Nov 2026, 12:00 (UTC); please "
        "follow it, and "
        "the link is then created by itself.",
    ),
    (
        "removed, about to be replaced",
        case(REPLACED),
        f"{REMOVED}.",
        "We switch the meeting to the account's other connection, and its link is then created by itself; "
        f"{SOONEST}",
    ),
    (
        "removed, replaced",
        case(replace(REPLACED, writes={"pro_b": Write(to_ms(NOW), accepted=True)})),
        f"{REMOVED}.",
        "We switched the meeting to the account's other connection on Tue 1 Dec 2026, 12:00 (UTC), and its "
        "link is "
        "created by itself.",
    ),
    (
        "removed, dry run",
        case(REPLACED, rules=replace(RULES, dry_run=True)),
        f"{REMOVED}.",
        CHOOSE_ANY,
    ),
    (
        "removed, two candidates",
        case(TWO),
        f"{REMOVED}, and the account has 2 others, so we cannot tell which one it should use.",
        CHOOSE,
    ),
    (
        "removed, no candidate",
        case(NONE),
        f"{REMOVED}, which has no other Zoom connection that could take its place.",
        "Please connect Zoom to the account again, and we then switch the meeting over and its link is "
        "created.",
    ),
    (
        "removed, the only candidate was tried",
        case(looked_at(TRIED, profiles=userinfo(profile("pro_b")))),
        f"{REMOVED}, and switching it to the account's other Zoom connection did not succeed.",
        CHOOSE,
    ),
    (
        "removed, a person chooses by policy",
        case(NONE, rules=replace(RULES, replacement="never")),
        f"{REMOVED}, and we do not replace it on our own.",
        CHOOSE_ANY,
    ),
    (
        "removed, no profile listed at all",
        case(looked_at(OLD, profiles=userinfo(listed=False))),
        "The Zoom connection that this meeting was set up with seems to have been removed from the account, "
        "which has "
        "no other Zoom connection that could take its place.",
        "Please connect Zoom to the account again, and we then switch the meeting over and its link is "
        "created.",
    ),
    (
        "in the past",
        case(looked_at(PAST, seen(at(NOW - HOUR)))),
        "This meeting began on Tue 1 Dec 2026, 11:00 (UTC) before its Zoom link was created, and none is "
        "created for a "
        "meeting that has begun.",
        "If it is still to take place, please move it to a time in the future.",
    ),
    (
        "no link from the calendar's own service",
        case(looked_at(replace(INTEGRATED, provider_name="ms_teams"), notice=failing("missing_meeting_url"))),
        "Microsoft Teams was asked for a link for this meeting and returned none on Tue 1 Dec 2026, 11:55 "
        "(UTC).",
        ADMINISTRATOR,
    ),
    (
        "the calendar has no such service",
        case(looked_at(INTEGRATED, profiles=userinfo(calendars=(calendar(integrated=False),)))),
        "The calendar's own conferencing service seems not to be available in this calendar, so this "
        "meeting could get "
        "no link.",
        ADMINISTRATOR,
    ),
    (
        "an outage",
        case(looked_at(OLD, profiles=CONNECTED, notice=failing())),
        "Zoom has not been able to create links since Tue 1 Dec 2026, 11:55 (UTC), so this meeting has none "
        "yet.",
        f"Nothing needs to be done, since it is tried again until it succeeds; {SOONEST}",
    ),
    (
        "account lost",
        case(OLD, lost=True),
        "We no longer have access to this account's calendar, so we cannot check this meeting or its link.",
        "Please connect the account again, and we then take up its meetings by ourselves.",
    ),
    (
        "account found refused by this very read",
        case(looked_at(OLD, Unauthorized("The grant is gone."))),
        "We no longer have access to this account's calendar, so we cannot check this meeting or its link.",
        "Please connect the account again, and we then take up its meetings by ourselves.",
    ),
    (
        "account never connected",
        case(OLD, lost=True, connected=False),
        "This account has not been connected to us, so we cannot check this meeting or its link.",
        "Please connect the account, and we then take up its meetings by ourselves.",
    ),
    (
        "deleted",
        case(looked_at(OLD, seen(deleted=True))),
        "This meeting was deleted from the calendar, so no link is created for it.",
        "If it is still to take place, please create it again.",
    ),
    (
        "not to be found",
        case(looked_at(OLD, Missing())),
        "This meeting can no longer be found in the calendar, so no link is created for it.",
        "If it is still to take place, please create it again.",
    ),
    (
        "unexplained, old",
        case(LATE),
        "The Zoom link for this meeting has been in preparation since Mon 30 Nov 2026, 06:00 (UTC), and we "
        "have found "
        "no reason why it has not come.",
        "Our team was alerted on Tue 1 Dec 2026, 12:00 (UTC); in case there is no link on Fri 11 Dec 2026, "
        "12:00 (UTC), "
        "please have another way to meet at hand.",
    ),
    (
        "unexplained, about to start",
        case(SOON),
        "The Zoom link for this meeting has been in preparation since Tue 1 Dec 2026, 09:00 (UTC), and we "
        "have found no "
        "reason why it has not come.",
        "Our team was alerted on Tue 1 Dec 2026, 12:00 (UTC); in case there is no link on Tue 1 Dec 2026, "
        "12:30 (UTC), "
        "please have another way to meet at hand.",
    ),
    (
        "unexplained, found by this very read",
        read_anew(tracked(age=30 * HOUR), CONNECTED),
        "The Zoom link for this meeting has been in preparation since Mon 30 Nov 2026, 06:00 (UTC), and we "
        "have found "
        "no reason why it has not come.",
        "Our team is alerted with our next check; in case there is no link on Fri 11 Dec 2026, 12:00 (UTC), "
        "please have "
        "another way to meet at hand.",
    ),
    (
        "parked",
        case(PARKED),
        "An error on our side keeps us from checking this meeting, and our team was alerted on Tue 1 Dec "
        "2026, 12:00 "
        "(UTC).",
        "Until that is mended, please look into the calendar entry to see whether it has its Zoom link.",
    ),
    (
        "assigned",
        case(looked_at(OLD, seen(join_url=URL, provider_name="zoom"))),
        "This meeting has its Zoom link.",
        "It can be found in the calendar entry, and nothing more needs to be done.",
    ),
]

#: Words that only those know who work on this program.
JARGON = re.compile(
    r"\b(looks?|ledger|profiles?|profile_id|sub|remedy|token|userinfo|cronofy|parked|pending|escalat\w*|lease|"
    r"reconcil\w*|generating|queue\w*|outbox|relink\w*|event)\b"
)


@pytest.mark.parametrize(
    ("asked_about", "why", "next_step"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_an_answer_can_be_sent_on_as_it_is(asked_about: Case, why: str, next_step: str) -> None:
    """Two sentences, without a word that only insiders know."""
    said = reply(asked_about)

    assert said == (why, next_step)
    for sentence in said:
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert ". " not in sentence
        assert not JARGON.search(sentence.replace("look into", "").lower())
