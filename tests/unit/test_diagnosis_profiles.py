"""The table of causes (contract §2): what UserInfo and notifications say about a pending event."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.builders import (
    CERTAIN,
    CONNECTED,
    DAY,
    EXPIRED,
    HOUR,
    LIKELY,
    MINUTE,
    NO_URL_INFERRED,
    NO_URL_NOTIFIED,
    NOW,
    OUTAGE,
    POLICY,
    TICK,
    UNEXPLAINED,
    Want,
    calendar,
    expired,
    failing,
    generating,
    labelled,
    lapsed,
    profile,
    removed,
    request,
    seen,
    userinfo,
    verify,
)
from worker.diagnosis.causes import diagnose
from worker.diagnosis.model import Cause, Interaction, Notice, Observation, Profiles, Remedy, Request

ONE_OTHER = userinfo(profile("pro_b"))
TWO_OTHERS = userinfo(profile("pro_b"), profile("pro_c"))
#: Two profiles with one name, one of them disconnected.
FIRST_LAPSED = userinfo(lapsed("pro_a"), profile("pro_b"))
SECOND_LAPSED = userinfo(profile("pro_a"), lapsed("pro_b"))
NO_LIST = userinfo(listed=False)
NAMELESS = Want(Cause.CREDENTIALS_EXPIRED, CERTAIN, Remedy.RELINK_EMAIL, {"profile_id": "pro_a"})
MISSING = failing("profile_missing")
NO_URL = failing("missing_meeting_url")
ASSIGNED = Notice(Interaction.ASSIGNED, None, NOW)


@pytest.mark.parametrize(
    ("asked", "profiles", "want"),
    labelled(
        ("disconnected, old", request(age=30 * DAY), EXPIRED, expired()),
        ("disconnected, provider unknown", request(), userinfo(lapsed(provider=None)), NAMELESS),
        ("one name, ours disconnected", request(), FIRST_LAPSED, expired()),
        ("one name, the other disconnected", request(), SECOND_LAPSED, generating()),
        ("removed, old", request(age=30 * DAY), ONE_OTHER, removed("pro_b", to="pro_b")),
        ("removed, none fits", request(), userinfo(lapsed("pro_b")), removed()),
        ("removed, two fit", request(), TWO_OTHERS, removed("pro_b", "pro_c")),
        ("removed, provider unknown", request(provider_name=None), ONE_OTHER, removed("pro_b")),
        ("removed, tried before", request(wrote=frozenset({"pro_b"})), ONE_OTHER, removed("pro_b")),
        ("no list of profiles", request(), NO_LIST, removed(certainty=LIKELY)),
        ("no list, and notified", request(notice=MISSING), NO_LIST, removed()),
        ("only a calendar's of that id", request(), userinfo(calendars=(calendar(profile()),)), removed()),
    ),
)
def test_the_named_profile(asked: Request, profiles: Profiles, want: Want) -> None:
    """An event that names its profile is explained by what UserInfo says about exactly that id."""
    verify(asked, seen(), profiles, want)


@pytest.mark.parametrize(
    ("asked", "profiles", "want"),
    labelled(
        ("outage, old", request(notice=failing(), age=30 * DAY), CONNECTED, OUTAGE),
        ("outage, default", request("default", notice=failing()), CONNECTED, OUTAGE),
        ("outage, UserInfo not asked", request(notice=failing()), None, OUTAGE),
        ("outage, yet disconnected", request(notice=failing()), EXPIRED, expired()),
        ("outage, yet removed", request(notice=failing()), ONE_OTHER, removed("pro_b", to="pro_b")),
        ("no URL, integrated", request("integrated", notice=NO_URL), CONNECTED, NO_URL_NOTIFIED),
        ("no URL, default", request("default", notice=NO_URL), EXPIRED, NO_URL_NOTIFIED),
        ("no URL, yet disconnected", request(notice=NO_URL), EXPIRED, expired()),
        ("missing, yet connected", request(notice=MISSING), CONNECTED, generating()),
        ("missing, yet connected, old", request(notice=MISSING, age=DAY + TICK), CONNECTED, UNEXPLAINED),
        ("missing, yet only disconnected", request(notice=MISSING), EXPIRED, expired()),
        ("unknown subtype", request(notice=failing("sunspots")), CONNECTED, generating()),
        ("assigned, yet pending", request(notice=ASSIGNED), CONNECTED, generating()),
    ),
)
def test_notifications(asked: Request, profiles: Profiles | None, want: Want) -> None:
    """A notification explains what UserInfo does not; if they disagree, UserInfo wins."""
    verify(asked, seen(), profiles, want)


OWN_LAPSED = userinfo(calendars=(calendar(lapsed("pro_google", "google")),))
AVAILABLE, UNAVAILABLE, UNSAID = (
    userinfo(lapsed(), calendars=(calendar(integrated=integrated),)) for integrated in (True, False, None)
)


@pytest.mark.parametrize(
    ("asked", "profiles", "want"),
    labelled(
        ("default, its only profile lapsed", request("default"), EXPIRED, generating(LIKELY)),
        ("default, one of two lapsed", request("default", 10 * MINUTE), FIRST_LAPSED, generating(LIKELY)),
        ("default, no list", request("default"), NO_LIST, generating(LIKELY)),
        ("default, missing", request("default", notice=MISSING), userinfo(), generating(LIKELY)),
        ("not on record", request(None), EXPIRED, generating(LIKELY)),
        ("integrated, lapsed", request("integrated"), OWN_LAPSED, expired(LIKELY, "pro_google", "google")),
        ("integrated, available", request("integrated", 10 * MINUTE), AVAILABLE, generating(LIKELY)),
        ("unavailable, young", request("integrated", 2 * MINUTE - TICK), UNAVAILABLE, generating(LIKELY)),
        ("unavailable, at GRACE", request("integrated", 2 * MINUTE), UNAVAILABLE, NO_URL_INFERRED),
        ("integrated, not said", request("integrated", 10 * MINUTE), UNSAID, generating(LIKELY)),
        (
            "calendar not listed",
            request("integrated", HOUR, calendar_id="x"),
            UNAVAILABLE,
            generating(LIKELY),
        ),
        ("explicit, old: nobody to ask", request("explicit", 2 * DAY), EXPIRED, UNEXPLAINED),
    ),
)
def test_what_cronofy_chooses(asked: Request, profiles: Profiles, want: Want) -> None:
    """An event that left the choice to Cronofy is explained as likely, never by guessing."""
    verify(asked, seen(), profiles, want)


@pytest.mark.parametrize("profiles", [CONNECTED, EXPIRED, ONE_OTHER])
@pytest.mark.parametrize("asked", [request(), request(age=2 * DAY), request(notice=failing())])
def test_conferencing_that_is_absent_is_diagnosed_as_pending(asked: Request, profiles: Profiles) -> None:
    """Only the evidence says whether Cronofy shows it as pending or not at all."""
    pending, absent = (
        diagnose(asked, Observation(seen(pending=shown), profiles), NOW, POLICY) for shown in (True, False)
    )

    first = "Conferencing was asked for, but Cronofy shows none on the event."
    assert absent == replace(pending, evidence=(first, *pending.evidence))


@pytest.mark.parametrize(
    ("policy", "want"),
    labelled(
        ("same provider", "same_provider", removed()),
        ("any connected", "any_connected", removed("pro_b", to="pro_b")),
        ("never", "never", removed()),
    ),
)
def test_replacement_policy(policy: str, want: Want) -> None:
    """The policy decides whether another provider's profile may replace a removed one."""
    observation = Observation(seen(), userinfo(profile("pro_b", provider="go_to")))

    found = diagnose(request(), observation, NOW, replace(POLICY, replacement=policy))

    assert (found.cause, found.remedy, found.detail) == (want.cause, want.remedy, want.detail)
