"""The full evidence of each diagnosis, since people forward it unchanged."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.unit.builders import (
    CALENDAR_LAPSED,
    CONNECTED,
    DAY,
    EXPIRED,
    HOME,
    HOUR,
    MINUTE,
    NOW,
    POLICY,
    SECOND,
    TICK,
    URL,
    Sighting,
    at,
    calendar,
    day,
    failing,
    labelled,
    lapsed,
    profile,
    request,
    seen,
    userinfo,
)
from worker.diagnosis.causes import diagnose
from worker.diagnosis.model import Missing, Observation, Profiles, Request, TokenOwed, Unauthorized

ABSENT = "Conferencing was asked for, but Cronofy shows none on the event."
LICENCE = "The licence or setting has to be fixed at the provider."
NOTIFIED = "Cronofy notified us at 2026-12-01 11:55 UTC"
WAITING = "Conferencing has been pending for 1 minute."
RECONNECT = "Cronofy creates the conferencing once the user has reconnected the profile."
NO_CALENDAR = "Cronofy probably cannot use the calendar until the user has reconnected the profile."
UNSEEN = "Two reads, the second one wider, did not find the event, even among deleted ones."
EXPIRY = "disconnected: its credentials have expired."
FUTURE = "Cronofy only creates conferencing for future events."
NO_TOKEN = "The account's access token lapsed, or Cronofy refused it, at 2026-12-01 12:00 UTC."
NOTHING_READ = "Nothing can be read until the application gives another one (conferencing.connect_account)."
UNLISTED = "The event asked for profile pro_a, which UserInfo no longer lists."
SWITCHED_OFF = userinfo(calendars=(calendar(integrated=False),))
#: The record, what the look saw, and why the event may not be written, if so.
Known = tuple[Request, Sighting, Profiles | None] | tuple[Request, Sighting, Profiles | None, str]
TWO_LAPSED = userinfo(lapsed("pro_a"), profile("pro_b"), lapsed("pro_c"))


@pytest.mark.parametrize(
    ("known", "evidence"),
    labelled(
        (
            "account refused",
            (request(), Unauthorized("The grant is gone."), None),
            ("The grant is gone.", "Nothing can be checked until the account is connected again."),
        ),
        ("a token owed", (request(), TokenOwed(NOW), None), (NO_TOKEN, NOTHING_READ)),
        (
            "a token owed, soon to start",
            (request(age=DAY, start=at(NOW + MINUTE)), TokenOwed(NOW - DAY), None),
            (NO_TOKEN.replace("12-01", "11-30"), NOTHING_READ, "The event starts at 2026-12-01 12:01 UTC."),
        ),
        (
            "a token owed for days",
            (request(age=2 * DAY, start=at(NOW + DAY)), TokenOwed(NOW - 2 * DAY), None),
            (
                NO_TOKEN.replace("12-01", "11-29"),
                NOTHING_READ,
                "It was asked for one, and has given none for over 1 day.",
            ),
        ),
        ("missing", (request(), Missing(), HOME), (UNSEEN,)),
        (
            "missing, UserInfo not read",
            (request(), Missing(), None),
            (UNSEEN, "UserInfo has to say whether its calendar is connected."),
        ),
        (
            "missing, calendar connected again",
            (request(lacked_calendar=True), Missing(), HOME),
            (
                UNSEEN,
                "Its calendar was connected again at 2026-12-01 11:59 UTC; reads may not show it yet.",
            ),
        ),
        (
            "missing, a series",
            (request(series=True), Missing(), HOME),
            (UNSEEN, "It is a series, whose occurrences may be shown under ids of their own."),
        ),
        (
            "missing, calendar disconnected",
            (request(), Missing(), CALENDAR_LAPSED),
            (UNSEEN, f"The google profile pro_google of the event's calendar is {EXPIRY}", NO_CALENDAR),
        ),
        (
            "missing, calendar disconnected, past",
            (request(start=at(NOW)), Missing(), CALENDAR_LAPSED),
            (UNSEEN, "By its record, its start, 2026-12-01 12:00 UTC, has passed."),
        ),
        (
            "missing, calendar not listed",
            (request(), Missing(), CONNECTED),
            (
                UNSEEN,
                "UserInfo does not list its calendar: the calendar's profile was probably revoked.",
                "The user has to connect the calendar again, and UserInfo gives no link for that.",
            ),
        ),
        ("deleted", (request(), seen(deleted=True), None), ("Cronofy shows the event as deleted.",)),
        ("cancelled", (request(), seen(cancelled=True), None), ("Cronofy shows the event as cancelled.",)),
        ("assigned", (request(), seen(join_url=URL), None), ("The event has its conferencing link.",)),
        (
            "past, in the event's zone",
            (request(), seen(at(NOW, "Pacific/Auckland")), None),
            ("The start of the event, 2026-12-02 01:00 NZDT, has passed.", FUTURE),
        ),
        (
            "past, a whole day",
            (request(), seen(day("2026-12-01", "UTC")), None),
            ("The start of the event, 2026-12-01, has passed.", FUTURE),
        ),
        (
            "disconnected",
            (request(), seen(pending=False), EXPIRED),
            (ABSENT, f"The zoom profile pro_a is {EXPIRY}", RECONNECT),
        ),
        (
            "disconnected, of no known provider",
            (request(), seen(), userinfo(lapsed(provider=None))),
            (f"The conferencing profile pro_a is {EXPIRY}", RECONNECT),
        ),
        (
            "calendar disconnected",
            (request(), seen(pending=False), CALENDAR_LAPSED),
            (ABSENT, f"The google profile pro_google of the event's calendar is {EXPIRY}", NO_CALENDAR),
        ),
        (
            "calendar disconnected, of no known provider",
            (request(), seen(), userinfo(profile(), calendars=(calendar(lapsed("pro_c", None)),))),
            (f"The calendar profile pro_c of the event's calendar is {EXPIRY}", NO_CALENDAR),
        ),
        (
            "removed, and nothing is listed",
            (request(notice=failing("profile_missing")), seen(pending=False), userinfo(listed=False)),
            (
                ABSENT,
                UNLISTED,
                "UserInfo lists no conferencing profiles for this account.",
                "Cronofy notified us that the profile is missing.",
                "The account has no other connected zoom profile.",
                "With RECONCILER_WEBHOOK_URL set, the user would be asked to connect zoom.",
            ),
        ),
        (
            "removed, with a replacement",
            (request(), seen(), userinfo(profile("pro_b"))),
            (UNLISTED, "The account's only other connected zoom profile is pro_b."),
        ),
        (
            "removed, with a replacement that may not be set",
            (request(), seen(), userinfo(profile("pro_b")), "The event is one of a series."),
            (
                UNLISTED,
                "The account's only other connected zoom profile is pro_b.",
                "The event is one of a series.",
            ),
        ),
        (
            "removed, with no replacement, though none may be set",
            (request(), seen(), userinfo(), "The event is one of a series."),
            (UNLISTED, "The account has no other connected zoom profile."),
        ),
        (
            "outage",
            (request(notice=failing()), seen(pending=False), CONNECTED),
            (ABSENT, f"{NOTIFIED} that the conferencing service is failing; it keeps trying."),
        ),
        (
            "outage, a day",
            (request(notice=failing(), age=DAY + TICK), seen(), CONNECTED),
            (
                f"{NOTIFIED} that the conferencing service is failing; it keeps trying.",
                "It has been pending for over 1 day.",
            ),
        ),
        (
            "outage, close to the start",
            (request(notice=failing(), age=3 * MINUTE), seen(at(NOW + 20 * MINUTE)), CONNECTED),
            (
                f"{NOTIFIED} that the conferencing service is failing; it keeps trying.",
                "It starts in 20 minutes.",
            ),
        ),
        (
            "no meeting URL, notified",
            (request(notice=failing("missing_meeting_url")), seen(pending=False), CONNECTED),
            (ABSENT, f"{NOTIFIED} that the calendar's own service returned no meeting URL.", LICENCE),
        ),
        (
            "no meeting URL, by UserInfo",
            (request("integrated", age=3 * MINUTE), seen(pending=False), SWITCHED_OFF),
            (
                ABSENT,
                "The event asked for the calendar's own conferencing, which UserInfo says is unavailable.",
                LICENCE,
            ),
        ),
        (
            "generating",
            (request(), seen(pending=False), CONNECTED),
            (ABSENT, WAITING, "Its profile pro_a is connected."),
        ),
        (
            "generating, explicit",
            (request("explicit"), seen(), CONNECTED),
            (WAITING, 'The event asked for "explicit", which uses no profile.'),
        ),
        (
            "generating, none",
            (request("none"), seen(), EXPIRED),
            (WAITING, 'The event asked for "none", which uses no profile.'),
        ),
        (
            "generating, default",
            (request("default"), seen(), CONNECTED),
            (WAITING, 'The event asked for "default", so we cannot tell which profile it uses.'),
        ),
        (
            "generating, no profile on record",
            (request(None), seen(), TWO_LAPSED),
            (
                WAITING,
                "The event has no profile on record, so we cannot tell which profile it uses.",
                "Disconnected, and possibly the cause: pro_a, pro_c.",
            ),
        ),
        (
            "generating, a notification unconfirmed",
            (request(notice=failing("profile_missing")), seen(), CONNECTED),
            (
                WAITING,
                "Its profile pro_a is connected.",
                'Cronofy notified us of "profile_missing", which UserInfo does not confirm.',
            ),
        ),
        (
            "generating, a notification and no UserInfo",
            (request(notice=failing("profile_missing")), seen(), None),
            (WAITING,),
        ),
        (
            "unexplained, old",
            (request(age=2 * DAY), seen(), HOME),
            (
                "Conferencing has been pending for 2 days.",
                "Its profile pro_a is connected.",
                "It has been pending for over 1 day with no visible reason.",
            ),
        ),
        (
            "unexplained, its calendar not listed",
            (request(age=2 * DAY), seen(), CONNECTED),
            (
                "Conferencing has been pending for 2 days.",
                "Its profile pro_a is connected.",
                "UserInfo does not list the event's calendar.",
                "It has been pending for over 1 day with no visible reason.",
            ),
        ),
        (
            "unexplained, near and nearly old",
            (request(age=DAY), seen(at(NOW + 30 * MINUTE)), None),
            ("Conferencing has been pending for 1 day.", "It starts in 30 minutes."),
        ),
    ),
)
def test_the_evidence(known: Known, evidence: tuple[str, ...]) -> None:
    """Each cause has exactly these sentences, in order."""
    asked, *observed = known

    assert diagnose(asked, Observation(*observed), NOW, POLICY).evidence == evidence


def test_the_evidence_says_that_the_user_is_asked_to_connect_a_service() -> None:
    """Which one."""
    found = diagnose(request(), Observation(seen(), userinfo()), NOW, replace(POLICY, connect=True))

    assert found.evidence[-1] == "The user can connect zoom, and is asked to by email."


@pytest.mark.parametrize(
    ("age", "words"),
    labelled(
        ("a clock ahead of ours", -MINUTE, "0 seconds"),
        ("one second", SECOND, "1 second"),
        ("seconds", 59 * SECOND, "59 seconds"),
        ("one minute", MINUTE, "1 minute"),
        ("minutes", HOUR - SECOND, "59 minutes"),
        ("one hour", HOUR, "1 hour"),
        ("hours", DAY - SECOND, "23 hours"),
        ("one day", DAY, "1 day"),
        ("days", 11 * DAY, "11 days"),
    ),
)
def test_lengths(age: timedelta, words: str) -> None:
    """The waiting time is given in the largest unit."""
    found = diagnose(request(age=age), Observation(seen(), None), NOW, POLICY)

    assert f"Conferencing has been pending for {words}." in found.evidence
