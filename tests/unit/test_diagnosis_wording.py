"""The words of a diagnosis, whole: they are sent on to people as they are."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from tests.unit.builders import (
    CONNECTED,
    DAY,
    EXPIRED,
    HOUR,
    MINUTE,
    NOW,
    POLICY,
    SECOND,
    URL,
    Sighting,
    at,
    calendar,
    day,
    failing,
    lapsed,
    profile,
    request,
    seen,
    userinfo,
)
from worker.diagnosis.causes import diagnose
from worker.diagnosis.model import Missing, Observation, Profiles, Request, Unauthorized
from worker.diagnosis.replacement import choose_replacement

ABSENT = "Cronofy shows no conferencing on the event, although it was asked for."
LICENCE = "The conferencing licence or setting has to be mended at the provider."
NOTIFIED = "Cronofy notified at 2026-12-01 11:55 UTC"
WAITING = "Conferencing has been pending for 1 minute."


@pytest.mark.parametrize(
    ("asked", "sighting", "profiles", "evidence"),
    [
        pytest.param(
            request(),
            Unauthorized("The grant is gone."),
            None,
            (
                "The grant is gone.",
                "Nothing can be read or mended for this account until it is connected again.",
            ),
            id="account refused",
        ),
        pytest.param(
            request(),
            Missing(),
            None,
            ("Cronofy does not list the event, not even among deleted ones; a second, wider read agrees.",),
            id="missing",
        ),
        pytest.param(
            request(), seen(deleted=True), None, ("Cronofy shows the event as deleted.",), id="deleted"
        ),
        pytest.param(
            request(), seen(join_url=URL), None, ("The event has its conferencing link.",), id="assigned"
        ),
        pytest.param(
            request(),
            seen(at(NOW)),
            None,
            (
                "The event started at 2026-12-01 12:00 UTC, which is not after now.",
                "Cronofy makes no conferencing for an event whose start has passed.",
            ),
            id="past",
        ),
        pytest.param(
            request(),
            seen(day(date(2026, 12, 1).isoformat(), "UTC")),
            None,
            (
                "The event started at 2026-12-01, which is not after now.",
                "Cronofy makes no conferencing for an event whose start has passed.",
            ),
            id="past, a whole day",
        ),
        pytest.param(
            request(),
            seen(pending=False),
            EXPIRED,
            (
                ABSENT,
                "The zoom profile pro_a is disconnected: its credentials have expired.",
                "Cronofy makes the conferencing once the user has connected the profile again.",
            ),
            id="disconnected",
        ),
        pytest.param(
            request(),
            seen(),
            userinfo(lapsed(provider=None)),
            (
                "The conferencing profile pro_a is disconnected: its credentials have expired.",
                "Cronofy makes the conferencing once the user has connected the profile again.",
            ),
            id="disconnected, of no known provider",
        ),
        pytest.param(
            request("integrated"),
            seen(pending=False),
            userinfo(calendars=(calendar(lapsed("pro_google", "google")),)),
            (
                ABSENT,
                "The google profile pro_google is disconnected: its credentials have expired. "
                "It is probably the one that this event waits for.",
                "Cronofy makes the conferencing once the user has connected the profile again.",
            ),
            id="calendar disconnected",
        ),
        pytest.param(
            request(notice=failing("profile_missing")),
            seen(pending=False),
            userinfo(listed=False),
            (
                ABSENT,
                "The event asked for the conferencing profile pro_a, which UserInfo no longer lists.",
                "UserInfo lists no conferencing profiles at all for this account.",
                "Cronofy notified that the profile is missing.",
                "The account has no other connected zoom profile.",
            ),
            id="removed, and nothing is listed",
        ),
        pytest.param(
            request(),
            seen(),
            userinfo(profile("pro_b")),
            (
                "The event asked for the conferencing profile pro_a, which UserInfo no longer lists.",
                "The account's only other connected zoom profile is pro_b.",
            ),
            id="removed, with a replacement",
        ),
        pytest.param(
            request(notice=failing()),
            seen(pending=False),
            CONNECTED,
            (
                ABSENT,
                f"{NOTIFIED} that the conferencing service fails, and keeps trying.",
            ),
            id="outage",
        ),
        pytest.param(
            request(notice=failing("missing_meeting_url")),
            seen(pending=False),
            CONNECTED,
            (
                ABSENT,
                f"{NOTIFIED} that the calendar's own service returned no meeting URL.",
                LICENCE,
            ),
            id="no meeting URL, notified",
        ),
        pytest.param(
            request("integrated", age=3 * MINUTE),
            seen(pending=False),
            userinfo(calendars=(calendar(integrated=False),)),
            (
                ABSENT,
                "The event asked for the calendar's own conferencing, which UserInfo says is not there.",
                LICENCE,
            ),
            id="no meeting URL, by UserInfo",
        ),
        pytest.param(
            request(),
            seen(pending=False),
            CONNECTED,
            (ABSENT, WAITING, "Its conferencing profile pro_a is connected."),
            id="generating",
        ),
        pytest.param(request(), seen(), None, (WAITING,), id="generating, UserInfo not asked"),
        pytest.param(
            request("explicit"),
            seen(),
            CONNECTED,
            (WAITING, "The event asked for explicit conferencing, for which Cronofy uses no profile."),
            id="generating, explicit",
        ),
        pytest.param(
            request("none"),
            seen(),
            EXPIRED,
            (WAITING, "The event asked for none conferencing, for which Cronofy uses no profile."),
            id="generating, none",
        ),
        pytest.param(
            request("default"),
            seen(),
            CONNECTED,
            (WAITING, "The event asked for default, so Cronofy does not say which profile it uses."),
            id="generating, default",
        ),
        pytest.param(
            request(None),
            seen(),
            userinfo(lapsed("pro_a"), profile("pro_b"), lapsed("pro_c")),
            (
                WAITING,
                "The event has no profile on record, so Cronofy does not say which profile it uses.",
                "A possible cause: disconnected profiles (pro_a, pro_c).",
            ),
            id="generating, no profile on record",
        ),
        pytest.param(
            request(notice=failing("profile_missing")),
            seen(),
            CONNECTED,
            (
                WAITING,
                "Its conferencing profile pro_a is connected.",
                'Cronofy notified a failure of kind "profile_missing", which UserInfo does not confirm.',
            ),
            id="generating, a notification unconfirmed",
        ),
        pytest.param(
            request(notice=failing("profile_missing")),
            seen(),
            None,
            (WAITING,),
            id="generating, a notification that nothing was asked about",
        ),
        pytest.param(
            request(age=2 * DAY),
            seen(),
            CONNECTED,
            (
                "Conferencing has been pending for 2 days.",
                "Its conferencing profile pro_a is connected.",
                "That is longer than 1 day, and nothing visible explains it.",
            ),
            id="unexplained, old",
        ),
        pytest.param(
            request(age=DAY),
            seen(at(NOW + 30 * MINUTE)),
            CONNECTED,
            (
                "Conferencing has been pending for 1 day.",
                "Its conferencing profile pro_a is connected.",
                "It starts in 30 minutes.",
            ),
            id="unexplained, near and nearly old",
        ),
    ],
)
def test_the_evidence(
    asked: Request, sighting: Sighting, profiles: Profiles | None, evidence: tuple[str, ...]
) -> None:
    """Each cause has its sentences, whole and in order, and no others."""
    assert diagnose(asked, Observation(sighting, profiles), NOW, POLICY).evidence == evidence


@pytest.mark.parametrize(
    ("age", "words"),
    [
        pytest.param(-MINUTE, "0 seconds", id="a clock ahead of ours"),
        pytest.param(timedelta(0), "0 seconds", id="none"),
        pytest.param(SECOND, "1 second", id="one second"),
        pytest.param(59 * SECOND, "59 seconds", id="seconds"),
        pytest.param(MINUTE, "1 minute", id="one minute"),
        pytest.param(HOUR - SECOND, "59 minutes", id="minutes"),
        pytest.param(HOUR, "1 hour", id="one hour"),
        pytest.param(2 * HOUR, "2 hours", id="hours"),
        pytest.param(DAY - SECOND, "23 hours", id="not quite a day"),
        pytest.param(DAY, "1 day", id="one day"),
        pytest.param(11 * DAY, "11 days", id="days"),
    ],
)
def test_lengths(age: timedelta, words: str) -> None:
    """How long it waits is told in its largest unit."""
    found = diagnose(request(age=age), Observation(seen(), None), NOW, POLICY)

    assert f"Conferencing has been pending for {words}." in found.evidence


@pytest.mark.parametrize(
    ("provider", "policy", "reason"),
    [
        pytest.param("zoom", "never", "The policy is to let a person choose the replacement.", id="never"),
        pytest.param(
            None,
            "same_provider",
            "The provider of the removed profile is not on record, so none can stand in for it.",
            id="provider unknown",
        ),
        pytest.param("zoom", "same_provider", "The account has no other connected zoom profile.", id="none"),
        pytest.param(
            "zoom", "any_connected", "The account has no other connected profile.", id="none of any"
        ),
    ],
)
def test_why_nothing_replaces_a_profile(provider: str | None, policy: str, reason: str) -> None:
    """A person is told what stands in the way."""
    assert choose_replacement("pro_a", provider, [], (), policy).reason == reason
