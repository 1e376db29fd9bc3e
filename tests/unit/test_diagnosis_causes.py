"""The table of causes (contract §2): what is seen of an event and its age, and what is made of it."""

from __future__ import annotations

import pytest

from tests.unit.builders import (
    CALENDAR,
    CERTAIN,
    CONNECTED,
    DAY,
    EXPIRED,
    HOUR,
    LIKELY,
    MINUTE,
    NOW,
    POLICY,
    SECRET,
    TICK,
    URL,
    Sighting,
    Want,
    assigned,
    at,
    day,
    expired,
    failing,
    generating,
    gone,
    outage,
    past,
    profile,
    replaceable,
    request,
    seen,
    unauthorized,
    unexplained,
    userinfo,
    verify,
)
from worker.diagnosis.causes import diagnose
from worker.diagnosis.model import (
    Cause,
    Missing,
    Observation,
    Profiles,
    Request,
    Seen,
    Unauthorized,
)
from worker.diagnosis.times import parse_event_time


@pytest.mark.parametrize(
    ("asked", "sighting", "profiles", "want"),
    [
        pytest.param(request(), seen(join_url=URL, provider_name="zoom"), None, assigned(), id="a link"),
        pytest.param(request(), seen(join_url=URL), None, assigned(None), id="a link of no known provider"),
        pytest.param(
            request(),
            seen(join_url=URL, pending=True),
            EXPIRED,
            assigned(None),
            id="a link, yet said pending",
        ),
        pytest.param(
            request(notice=failing("profile_missing")),
            seen(join_url=URL),
            userinfo(),
            assigned(None),
            id="a link, profile removed since",
        ),
        pytest.param(request(), seen(at(NOW - DAY), join_url=URL), None, assigned(None), id="a link, past"),
        pytest.param(
            request(age=30 * DAY),
            seen(at(NOW + MINUTE), join_url=URL),
            None,
            assigned(None),
            id="a link, old",
        ),
        pytest.param(request(), seen(join_url=""), CONNECTED, generating(), id="an empty link is none"),
        pytest.param(request(), seen(deleted=True), None, gone(CERTAIN), id="deleted"),
        pytest.param(
            request(), seen(deleted=True, join_url=URL), None, gone(CERTAIN), id="deleted with its link"
        ),
        pytest.param(
            request(), seen(at(NOW - DAY), deleted=True), EXPIRED, gone(CERTAIN), id="deleted and past"
        ),
        pytest.param(request(), Missing(), None, gone(LIKELY), id="missing"),
        pytest.param(request(), Missing(), EXPIRED, gone(LIKELY), id="missing, profile disconnected"),
        pytest.param(
            request(start=at(NOW - DAY)), Missing(), None, gone(LIKELY), id="missing, past by its record"
        ),
        pytest.param(
            request(), Unauthorized("The grant is gone."), None, unauthorized(), id="account refused"
        ),
        pytest.param(
            request(start=at(NOW - DAY), notice=failing()),
            Unauthorized("The grant is gone."),
            EXPIRED,
            unauthorized(),
            id="account refused, whatever else",
        ),
    ],
)
def test_what_the_read_settles(
    asked: Request, sighting: Sighting, profiles: Profiles | None, want: Want
) -> None:
    """A link, a deletion, a miss or a refused account decides before anything else is asked."""
    verify(asked, sighting, profiles, want)


AUCKLAND, LOS_ANGELES = "Pacific/Auckland", "America/Los_Angeles"


@pytest.mark.parametrize(
    ("asked", "sighting", "want"),
    [
        pytest.param(request(), seen(at(NOW)), past("2026-12-01 12:00 UTC"), id="starts right now"),
        pytest.param(request(), seen(at(NOW - TICK)), past(), id="a microsecond ago"),
        pytest.param(request(), seen(at(NOW + TICK)), generating(), id="in a microsecond"),
        pytest.param(
            request(), seen(at(NOW, AUCKLAND)), past("2026-12-02 01:00 NZDT"), id="told in the event's zone"
        ),
        pytest.param(request(), seen(day("2026-12-01", "UTC")), past("2026-12-01,"), id="all day today, UTC"),
        pytest.param(
            request(),
            seen(day("2026-12-01", LOS_ANGELES)),
            past("2026-12-01,"),
            id="all day today, Los Angeles",
        ),
        pytest.param(
            request(), seen(day("2026-12-02", AUCKLAND)), past("2026-12-02,"), id="all day today, Auckland"
        ),
        pytest.param(
            request(), seen(day("2026-12-02", LOS_ANGELES)), generating(), id="all day tomorrow, Los Angeles"
        ),
        pytest.param(request(), seen(day("2026-12-02", "UTC")), generating(), id="all day tomorrow, UTC"),
        pytest.param(
            request(), seen(day("2026-12-03", AUCKLAND)), generating(), id="all day tomorrow, Auckland"
        ),
        pytest.param(
            request(start=at(NOW + DAY)), seen(at(NOW - DAY)), past(), id="moved to the past: the read counts"
        ),
        pytest.param(
            request(start=at(NOW - DAY)), seen(at(NOW + DAY)), generating(), id="moved on: the read counts"
        ),
        pytest.param(
            request(start=at(NOW)), Seen(start=None, end=None), past(), id="no start read: the record's"
        ),
        pytest.param(request(), Seen(start=None, end=None), generating(), id="no start at all"),
    ],
)
def test_starts(asked: Request, sighting: Seen, want: Want) -> None:
    """A start that is not after now closes the event, all-day ones by the midnight of their own zone."""
    verify(asked, sighting, CONNECTED, want)


def test_past_comes_before_the_profile() -> None:
    """A past event is closed whatever its profile, and without any UserInfo."""
    for profiles in (None, EXPIRED, userinfo(), userinfo(listed=False)):
        verify(request(notice=failing()), seen(at(NOW - DAY)), profiles, past())


@pytest.mark.parametrize("tzid", [LOS_ANGELES, AUCKLAND, None])
@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_ends_of_time(text: str, tzid: str | None) -> None:
    """The first and last moments, which some clients write for "no date", get an answer in any zone."""
    start = parse_event_time(text, tzid)

    found = diagnose(request(start=start), Observation(Seen(start, None), CONNECTED), NOW, POLICY)

    assert found.cause is (Cause.EVENT_IN_PAST if text < "2026" else Cause.GENERATING)


@pytest.mark.parametrize(
    ("asked", "sighting", "profiles", "want"),
    [
        pytest.param(request(age=-MINUTE), seen(), CONNECTED, generating(), id="a clock ahead of ours"),
        pytest.param(request(age=2 * MINUTE - TICK), seen(), CONNECTED, generating(), id="just below GRACE"),
        pytest.param(
            request(age=2 * MINUTE), seen(), CONNECTED, generating(LIKELY, "for 2 minutes"), id="at GRACE"
        ),
        pytest.param(
            request(age=DAY - TICK), seen(), CONNECTED, generating(LIKELY), id="below ESCALATE_AFTER"
        ),
        pytest.param(request(age=DAY), seen(), CONNECTED, generating(LIKELY), id="at ESCALATE_AFTER"),
        pytest.param(
            request(age=DAY + TICK),
            seen(),
            CONNECTED,
            unexplained("longer than 1 day"),
            id="above ESCALATE_AFTER",
        ),
        pytest.param(
            request(age=2 * MINUTE),
            seen(at(NOW + HOUR)),
            CONNECTED,
            generating(LIKELY),
            id="past GRACE, starts ESCALATE_BEFORE away",
        ),
        pytest.param(
            request(age=2 * MINUTE),
            seen(at(NOW + HOUR - TICK)),
            CONNECTED,
            unexplained("It starts in 59 minutes."),
            id="past GRACE, starts sooner",
        ),
        pytest.param(
            request(age=2 * MINUTE - TICK),
            seen(at(NOW + HOUR - TICK)),
            CONNECTED,
            generating(),
            id="starts sooner, but within GRACE",
        ),
        pytest.param(
            request(age=HOUR, start=at(NOW + MINUTE)),
            Seen(start=None, end=None),
            CONNECTED,
            unexplained("It starts in 1 minute."),
            id="starts sooner, by its record",
        ),
        pytest.param(
            request(age=2 * DAY),
            Seen(start=None, end=None),
            CONNECTED,
            unexplained(),
            id="old, no start known",
        ),
        pytest.param(request("default", 2 * DAY), seen(), CONNECTED, unexplained(), id="default, old"),
        pytest.param(request(None, 2 * DAY), seen(), CONNECTED, unexplained(), id="not on record, old"),
        pytest.param(request(), seen(pending=False), CONNECTED, generating(), id="expected but absent"),
        pytest.param(
            request(age=2 * DAY), seen(pending=False), CONNECTED, unexplained(), id="expected but absent, old"
        ),
        pytest.param(request(), seen(pending=False), EXPIRED, expired(), id="absent, disconnected"),
        pytest.param(
            request(),
            seen(pending=False),
            userinfo(profile("pro_b")),
            replaceable("pro_b"),
            id="absent, removed",
        ),
        pytest.param(
            request(notice=failing()), seen(pending=False), CONNECTED, outage(), id="absent, outage told"
        ),
        pytest.param(request(), seen(), None, generating(), id="UserInfo not asked"),
        pytest.param(request(age=2 * DAY), seen(), None, unexplained(), id="UserInfo not asked, old"),
    ],
)
def test_ages(asked: Request, sighting: Seen, profiles: Profiles | None, want: Want) -> None:
    """With nothing visibly wrong, age and nearness decide between normal, delayed and unexplained."""
    verify(asked, sighting, profiles, want)

    found = diagnose(asked, Observation(sighting, profiles), NOW, POLICY)
    absence = "Cronofy shows no conferencing on the event, although it was asked for."
    assert (absence in found.evidence) is not sighting.pending


def test_evidence_is_for_forwarding() -> None:
    """A support person reads whole sentences, which name the event's profile and nothing secret."""
    found = diagnose(request(), Observation(seen(pending=False), EXPIRED), NOW, POLICY)

    assert found.evidence == (
        "Cronofy shows no conferencing on the event, although it was asked for.",
        "The zoom profile pro_a is disconnected: its credentials have expired.",
        "Cronofy makes the conferencing once the user has connected the profile again.",
    )
    assert CALENDAR not in " ".join(found.evidence)
    assert SECRET not in repr(EXPIRED)
