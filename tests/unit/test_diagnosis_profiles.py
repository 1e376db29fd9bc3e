"""The table of causes (contract §2): what UserInfo and notifications say of a pending event."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.builders import (
    CERTAIN,
    CONNECTED,
    DAY,
    EXPIRED,
    LIKELY,
    MINUTE,
    NOW,
    POLICY,
    TICK,
    Want,
    calendar,
    expired,
    failing,
    generating,
    irreplaceable,
    lapsed,
    no_url_inferred,
    no_url_told,
    outage,
    profile,
    replaceable,
    request,
    seen,
    unexplained,
    userinfo,
    verify,
)
from worker.diagnosis.causes import diagnose
from worker.diagnosis.model import (
    Cause,
    Interaction,
    Notice,
    Observation,
    Profiles,
    Remedy,
    Request,
)


def two_of_one_name(connected_first: bool) -> Profiles:
    """Two profiles of one name, one of them disconnected."""
    return userinfo(profile("pro_a", connected_first), profile("pro_b", not connected_first))


@pytest.mark.parametrize(
    ("asked", "profiles", "want"),
    [
        pytest.param(
            request(), EXPIRED, expired(says="zoom profile pro_a is disconnected"), id="disconnected"
        ),
        pytest.param(request(age=30 * DAY), EXPIRED, expired(), id="disconnected, old"),
        pytest.param(
            request(),
            userinfo(lapsed("pro_a", provider=None)),
            Want(
                Cause.CREDENTIALS_EXPIRED,
                CERTAIN,
                Remedy.RELINK_EMAIL,
                {"profile_id": "pro_a"},
                "The conferencing profile pro_a is disconnected",
            ),
            id="disconnected, of no known provider",
        ),
        pytest.param(request(), two_of_one_name(False), expired(), id="one name, ours disconnected"),
        pytest.param(request(), two_of_one_name(True), generating(), id="one name, the other disconnected"),
        pytest.param(
            request(),
            userinfo(profile("pro_b")),
            replaceable("pro_b", "pro_a, which UserInfo no longer lists"),
            id="removed, one fits",
        ),
        pytest.param(
            request(age=30 * DAY), userinfo(profile("pro_b")), replaceable("pro_b"), id="removed, old"
        ),
        pytest.param(
            request(), userinfo(), irreplaceable(says="no other connected zoom"), id="removed, none fits"
        ),
        pytest.param(
            request(),
            userinfo(profile("pro_b"), profile("pro_c")),
            irreplaceable("pro_b", "pro_c", says="2 connected zoom profiles"),
            id="removed, two fit",
        ),
        pytest.param(
            request(), userinfo(lapsed("pro_b")), irreplaceable(), id="removed, the other is disconnected"
        ),
        pytest.param(
            request(),
            userinfo(profile("pro_b", provider="go_to")),
            irreplaceable(),
            id="removed, the other is of another provider",
        ),
        pytest.param(
            request(provider_name=None),
            userinfo(profile("pro_b")),
            irreplaceable("pro_b", says="provider of the removed profile is not on record"),
            id="removed, of no known provider",
        ),
        pytest.param(
            request(wrote=frozenset({"pro_b"})),
            userinfo(profile("pro_b")),
            irreplaceable("pro_b", says="already tried on this event"),
            id="removed, the one that fits was written before",
        ),
        pytest.param(
            request(wrote=frozenset({"pro_c"})),
            userinfo(profile("pro_b")),
            replaceable("pro_b"),
            id="removed, another was written before",
        ),
        pytest.param(
            request(),
            userinfo(listed=False),
            irreplaceable(says="no conferencing profiles at all", certainty=LIKELY),
            id="no list of profiles",
        ),
        pytest.param(
            request(notice=failing("profile_missing")),
            userinfo(listed=False),
            irreplaceable(says="notified that the profile is missing"),
            id="no list of profiles, and told missing",
        ),
        pytest.param(
            request(),
            userinfo(calendars=(calendar(profile("pro_a")),)),
            irreplaceable(),
            id="only a calendar's profile of that id",
        ),
    ],
)
def test_the_named_profile(asked: Request, profiles: Profiles, want: Want) -> None:
    """An event that named its profile is explained by what UserInfo says of just that id."""
    verify(asked, seen(), profiles, want)


@pytest.mark.parametrize(
    ("asked", "profiles", "want"),
    [
        pytest.param(request(notice=failing()), CONNECTED, outage(), id="outage"),
        pytest.param(request(notice=failing(), age=30 * DAY), CONNECTED, outage(), id="outage, old"),
        pytest.param(request("default", notice=failing()), CONNECTED, outage(), id="outage, default"),
        pytest.param(request(None, notice=failing()), CONNECTED, outage(), id="outage, not on record"),
        pytest.param(request(notice=failing()), None, outage(), id="outage, UserInfo not asked"),
        pytest.param(request(notice=failing()), EXPIRED, expired(), id="outage told, yet disconnected"),
        pytest.param(
            request(notice=failing()),
            userinfo(profile("pro_b")),
            replaceable("pro_b"),
            id="outage told, yet removed",
        ),
        pytest.param(
            request("integrated", notice=failing("missing_meeting_url")),
            CONNECTED,
            no_url_told(),
            id="no meeting URL, integrated",
        ),
        pytest.param(
            request("default", notice=failing("missing_meeting_url")),
            EXPIRED,
            no_url_told(),
            id="no meeting URL, default",
        ),
        pytest.param(
            request(notice=failing("missing_meeting_url")),
            CONNECTED,
            no_url_told(),
            id="no meeting URL, named and connected",
        ),
        pytest.param(
            request(notice=failing("missing_meeting_url")),
            EXPIRED,
            expired(),
            id="no meeting URL told, yet disconnected",
        ),
        pytest.param(
            request(notice=failing("profile_missing")),
            userinfo(profile("pro_b")),
            replaceable("pro_b", "notified that the profile is missing"),
            id="missing told, and removed",
        ),
        pytest.param(
            request(notice=failing("profile_missing")),
            CONNECTED,
            generating(says='"profile_missing", which UserInfo does not confirm'),
            id="missing told, yet connected",
        ),
        pytest.param(
            request(notice=failing("profile_missing")),
            EXPIRED,
            expired(),
            id="missing told, yet only disconnected",
        ),
        pytest.param(
            request(notice=failing("profile_missing"), age=DAY + TICK),
            CONNECTED,
            unexplained("does not confirm"),
            id="missing told, yet connected, old",
        ),
        pytest.param(
            request(notice=failing("sunspots")), CONNECTED, generating(says='"sunspots"'), id="unknown word"
        ),
        pytest.param(
            request(notice=failing("sunspots")), EXPIRED, expired(), id="unknown word, and disconnected"
        ),
        pytest.param(
            request(notice=Notice(Interaction.ASSIGNED, None, NOW)),
            CONNECTED,
            generating(),
            id="assigned told, yet pending",
        ),
    ],
)
def test_notifications(asked: Request, profiles: Profiles | None, want: Want) -> None:
    """A notification explains what UserInfo does not; where they disagree, UserInfo counts."""
    verify(asked, seen(), profiles, want)


OWN_LAPSED = calendar(lapsed("pro_google", "google"))
POSSIBLE = "A possible cause: disconnected profiles (pro_a"


@pytest.mark.parametrize(
    ("asked", "profiles", "want"),
    [
        pytest.param(
            request("default"), EXPIRED, generating(LIKELY, POSSIBLE), id="default, its only profile lapsed"
        ),
        pytest.param(
            request(None), EXPIRED, generating(LIKELY, POSSIBLE), id="not on record, the only profile lapsed"
        ),
        pytest.param(
            request("default", 2 * MINUTE - TICK),
            two_of_one_name(False),
            generating(LIKELY, POSSIBLE),
            id="default, one of two lapsed, young",
        ),
        pytest.param(
            request("default", 2 * MINUTE),
            two_of_one_name(False),
            generating(LIKELY, POSSIBLE),
            id="default, one of two lapsed, at GRACE",
        ),
        pytest.param(
            request("default", 10 * MINUTE),
            userinfo(lapsed("pro_a"), lapsed("pro_b")),
            generating(LIKELY, "profiles (pro_a, pro_b)"),
            id="default, two lapsed: which is not known",
        ),
        pytest.param(
            request("default"),
            CONNECTED,
            generating(LIKELY, "asked for default"),
            id="default, all connected",
        ),
        pytest.param(
            request(None), CONNECTED, generating(LIKELY, "no profile on record"), id="not on record"
        ),
        pytest.param(request("default"), userinfo(listed=False), generating(LIKELY), id="default, no list"),
        pytest.param(request(None), userinfo(listed=False), generating(LIKELY), id="not on record, no list"),
        pytest.param(
            request("default", notice=failing("profile_missing")),
            userinfo(),
            generating(LIKELY),
            id="default, missing told: which is not known",
        ),
        pytest.param(
            request("integrated"),
            userinfo(calendars=(OWN_LAPSED,)),
            expired(LIKELY, "pro_google", "google"),
            id="integrated, calendar disconnected",
        ),
        pytest.param(
            request("integrated"),
            userinfo(lapsed("pro_a"), calendars=(calendar(integrated=True),)),
            generating(LIKELY),
            id="integrated, only a conferencing profile lapsed",
        ),
        pytest.param(
            request("integrated", 2 * MINUTE - TICK),
            userinfo(calendars=(calendar(integrated=False),)),
            generating(LIKELY),
            id="integrated, not available, young",
        ),
        pytest.param(
            request("integrated", 2 * MINUTE),
            userinfo(calendars=(calendar(integrated=False),)),
            no_url_inferred(),
            id="integrated, not available, at GRACE",
        ),
        pytest.param(
            request("integrated", 10 * MINUTE),
            userinfo(calendars=(calendar(integrated=None),)),
            generating(LIKELY),
            id="integrated, availability not said",
        ),
        pytest.param(
            request("integrated", 10 * MINUTE, calendar_id="cal_else"),
            userinfo(calendars=(calendar(integrated=False),)),
            generating(LIKELY),
            id="integrated, calendar not listed",
        ),
        pytest.param(request("explicit", 10 * MINUTE), EXPIRED, generating(LIKELY), id="explicit"),
        pytest.param(
            request("explicit", 2 * DAY), EXPIRED, unexplained(), id="explicit, old: nobody to be asked"
        ),
    ],
)
def test_what_cronofy_chooses(asked: Request, profiles: Profiles, want: Want) -> None:
    """An event that left the choice to Cronofy is explained as likely, and never by guessing among two."""
    verify(asked, seen(), profiles, want)


@pytest.mark.parametrize(
    ("policy", "want"),
    [
        pytest.param("same_provider", irreplaceable(), id="same provider"),
        pytest.param("any_connected", replaceable("pro_b"), id="any connected"),
        pytest.param("never", irreplaceable(says="let a person choose"), id="never"),
    ],
)
def test_replacement_policy(policy: str, want: Want) -> None:
    """The policy alone decides whether another provider's profile may take a removed one's place."""
    observation = Observation(seen(), userinfo(profile("pro_b", provider="go_to")))

    found = diagnose(request(), observation, NOW, replace(POLICY, replacement=policy))

    assert (found.cause, found.remedy) == (want.cause, want.remedy)
    assert dict(found.detail) == want.detail
