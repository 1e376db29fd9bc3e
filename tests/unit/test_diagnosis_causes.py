"""The table of causes (contract §2): what a read and an event's age say."""

from __future__ import annotations

import pytest

from tests.unit.builders import (
    CERTAIN,
    CONNECTED,
    DAY,
    EXPIRED,
    HOUR,
    LIKELY,
    MINUTE,
    NOW,
    PAST,
    POLICY,
    TICK,
    UNAUTHORIZED,
    UNEXPLAINED,
    URL,
    Sighting,
    Want,
    assigned,
    at,
    day,
    failing,
    generating,
    gone,
    labelled,
    request,
    seen,
    userinfo,
    verify,
)
from worker.diagnosis.causes import diagnose
from worker.diagnosis.model import Cause, Missing, Observation, Profiles, Request, Seen, Unauthorized
from worker.diagnosis.times import parse_event_time

REFUSED = Unauthorized("The grant is gone.")
PAST_BY_RECORD = request(start=at(NOW - DAY), notice=failing())


@pytest.mark.parametrize(
    ("asked", "sighting", "profiles", "want"),
    labelled(
        ("a link", request(), seen(join_url=URL, provider_name="zoom"), None, assigned("zoom")),
        ("a link, though pending", request(), seen(join_url=URL, pending=True), EXPIRED, assigned()),
        ("a link, profile removed", request(), seen(join_url=URL), userinfo(), assigned()),
        ("a link, past", request(), seen(at(NOW - DAY), join_url=URL), None, assigned()),
        ("an empty link", request(), seen(join_url=""), CONNECTED, generating()),
        ("deleted", request(), seen(deleted=True), None, gone(CERTAIN)),
        ("deleted with its link", request(), seen(deleted=True, join_url=URL), None, gone(CERTAIN)),
        ("deleted and past", request(), seen(at(NOW - DAY), deleted=True), EXPIRED, gone(CERTAIN)),
        ("missing", request(), Missing(), EXPIRED, gone(LIKELY)),
        ("missing, past by its record", PAST_BY_RECORD, Missing(), None, gone(LIKELY)),
        ("account refused", request(), REFUSED, None, UNAUTHORIZED),
        ("account refused, whatever else", PAST_BY_RECORD, REFUSED, EXPIRED, UNAUTHORIZED),
    ),
)
def test_what_the_read_settles(
    asked: Request, sighting: Sighting, profiles: Profiles | None, want: Want
) -> None:
    """A link, a deletion, a missing event or a refused account decides before anything else is asked."""
    verify(asked, sighting, profiles, want)


AUCKLAND, LOS_ANGELES = "Pacific/Auckland", "America/Los_Angeles"
NO_START = Seen(start=None, end=None)


@pytest.mark.parametrize(
    ("asked", "sighting", "want"),
    labelled(
        ("right now", request(), seen(at(NOW)), PAST),
        ("in a microsecond", request(), seen(at(NOW + TICK)), generating()),
        ("all day today, UTC", request(), seen(day("2026-12-01", "UTC")), PAST),
        ("all day today, Los Angeles", request(), seen(day("2026-12-01", LOS_ANGELES)), PAST),
        ("all day today, Auckland", request(), seen(day("2026-12-02", AUCKLAND)), PAST),
        ("all day tomorrow, Los Angeles", request(), seen(day("2026-12-02", LOS_ANGELES)), generating()),
        ("all day tomorrow, Auckland", request(), seen(day("2026-12-03", AUCKLAND)), generating()),
        ("moved to the past: the read counts", request(start=at(NOW + DAY)), seen(at(NOW - DAY)), PAST),
        ("moved on: the read counts", request(start=at(NOW - DAY)), seen(at(NOW + DAY)), generating()),
        ("no start read: the record's", request(start=at(NOW)), NO_START, PAST),
        ("no start at all", request(), NO_START, generating()),
    ),
)
def test_starts(asked: Request, sighting: Seen, want: Want) -> None:
    """An event closes once it starts, an all-day one at midnight in its own zone."""
    verify(asked, sighting, CONNECTED, want)


@pytest.mark.parametrize("profiles", [None, EXPIRED, userinfo(), userinfo(listed=False)])
def test_past_comes_before_the_profile(profiles: Profiles | None) -> None:
    """A past event is closed whatever its profile, without UserInfo."""
    verify(request(notice=failing()), seen(at(NOW - DAY)), profiles, PAST)


@pytest.mark.parametrize("tzid", [LOS_ANGELES, AUCKLAND, None])
@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_ends_of_time(text: str, tzid: str | None) -> None:
    """The first and last times, which some clients write for "no date", get an answer in any zone."""
    start = parse_event_time(text, tzid)

    found = diagnose(request(start=start), Observation(Seen(start, None), CONNECTED), NOW, POLICY)

    assert found.cause is (Cause.EVENT_IN_PAST if text < "2026" else Cause.GENERATING)


GRACE = 2 * MINUTE


@pytest.mark.parametrize(
    ("asked", "sighting", "profiles", "want"),
    labelled(
        ("a clock ahead of ours", request(age=-MINUTE), seen(), CONNECTED, generating()),
        ("just below GRACE", request(age=GRACE - TICK), seen(), CONNECTED, generating()),
        ("at GRACE", request(age=GRACE), seen(), CONNECTED, generating(LIKELY)),
        ("at ESCALATE_AFTER", request(age=DAY), seen(), CONNECTED, generating(LIKELY)),
        ("above ESCALATE_AFTER", request(age=DAY + TICK), seen(), CONNECTED, UNEXPLAINED),
        ("starts in an hour", request(age=GRACE), seen(at(NOW + HOUR)), CONNECTED, generating(LIKELY)),
        ("starts sooner", request(age=GRACE), seen(at(NOW + HOUR - TICK)), CONNECTED, UNEXPLAINED),
        ("sooner, but young", request(age=GRACE - TICK), seen(at(NOW + MINUTE)), CONNECTED, generating()),
        ("sooner, by its record", request(age=HOUR, start=at(NOW + TICK)), NO_START, CONNECTED, UNEXPLAINED),
        ("old, no start known", request(age=2 * DAY), NO_START, CONNECTED, UNEXPLAINED),
        ("default, old", request("default", 2 * DAY), seen(), CONNECTED, UNEXPLAINED),
        ("not on record, old", request(None, 2 * DAY), seen(), CONNECTED, UNEXPLAINED),
        ("UserInfo not asked", request(), seen(), None, generating()),
        ("UserInfo not asked, old", request(age=2 * DAY), seen(), None, UNEXPLAINED),
    ),
)
def test_ages(asked: Request, sighting: Seen, profiles: Profiles | None, want: Want) -> None:
    """With nothing visibly wrong, age and time to the start decide: normal, delayed or unexplained."""
    verify(asked, sighting, profiles, want)
