"""What holds for every diagnosis, whatever was seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from tests.contract.documents import code, table
from tests.unit.builders import (
    CALENDAR,
    DAY,
    HOUR,
    MINUTE,
    NOW,
    POLICY,
    SECRET,
    TICK,
    at,
    day,
    relink_url,
    seen,
)
from tests.unit.builders import request as asking
from worker.diagnosis.causes import INDIRECT, by_sight, diagnose
from worker.diagnosis.model import (
    Calendar,
    Cause,
    Interaction,
    Missing,
    Notice,
    Observation,
    Policy,
    Profile,
    Profiles,
    Remedy,
    Request,
    Seen,
    State,
    TokenOwed,
    Unauthorized,
)

#: The last column of the contract's table of causes.
ALLOWED = {
    Cause(code(row[0])[0]): {word for word in code(row[2]) if word in list(Remedy)}
    for row in table("docs/contract.md", "cause")
}
ACTING = {Remedy.REASSIGN_PROFILE, Remedy.RELINK_EMAIL, Remedy.ESCALATE}
PENDING_CAUSES = set(Cause) - {Cause.EVENT_IN_PAST, Cause.EVENT_GONE}


ids = st.sampled_from(["pro_a", "pro_b", "pro_c", "pro_d"])
providers = st.sampled_from([None, "zoom", "go_to", "a word to come"])
# Around now, and around the policy's limits.
spans = st.one_of(
    st.sampled_from([timedelta(0), TICK, 2 * MINUTE, HOUR, DAY, 400 * DAY]),
    st.timedeltas(-3 * DAY, 3 * DAY),
    st.timedeltas(-9000 * DAY, 9000 * DAY),
)
starts = st.one_of(
    st.none(),
    st.builds(
        lambda span, tzid: at(NOW + span, tzid), spans, st.sampled_from([None, "Pacific/Auckland", "?"])
    ),
    st.sampled_from([day("2026-12-01", "UTC"), day("2026-12-02", "Pacific/Auckland")]),
)
names = st.sampled_from([None, "dana", "lee"])
profiles = st.builds(
    lambda profile_id, provider, name, connected: Profile(
        profile_id, provider, name, connected, relink_url(profile_id)
    ),
    ids,
    providers,
    names,
    st.booleans(),
)
userinfos = st.builds(
    Profiles,
    st.lists(profiles, max_size=4, unique_by=lambda found: found.profile_id).map(tuple),
    st.lists(
        st.builds(
            Calendar, st.sampled_from([CALENDAR, "cal_2"]), profiles, st.sampled_from([None, True, False])
        ),
        max_size=2,
    ).map(tuple),
    st.booleans(),
)
notices = st.builds(
    Notice,
    st.sampled_from(Interaction),
    st.sampled_from([None, "profile_missing", "missing_meeting_url", "a word to come"]),
    spans.map(lambda span: NOW - span),
)
requests = st.builds(
    Request,
    profile_id=st.one_of(st.none(), ids, st.sampled_from(sorted(INDIRECT))),
    provider_name=providers,
    calendar_id=st.just(CALENDAR),
    asked_at=spans.map(lambda span: NOW - span),
    start=starts,
    wrote=st.frozensets(ids),
    notice=st.one_of(st.none(), notices),
    series=st.booleans(),
    lacked_calendar=st.booleans(),
    profile_name=names,
    account_email=names,
)
reads = st.builds(
    Seen,
    start=starts,
    end=st.none(),
    deleted=st.sampled_from([False, False, False, True]),
    cancelled=st.sampled_from([False, False, False, True]),
    join_url=st.sampled_from([None, None, None, "", "https://zoom.example/j/1"]),
    provider_name=providers,
    pending=st.booleans(),
    series=st.booleans(),
)
unread = st.one_of(
    st.just(Missing()),
    st.just(Unauthorized("The grant is gone.")),
    spans.map(lambda span: TokenOwed(NOW - span)),
)
sightings = st.one_of(reads, reads, reads, unread)
#: Events whose profile was removed, and what is listed instead: of few words, so that often one fits.
orphans = st.builds(
    lambda name, email, wrote: asking("pro_gone", profile_name=name, account_email=email, wrote=wrote),
    names,
    names,
    st.frozensets(ids, max_size=1),
)
left = st.lists(
    st.builds(Profile, ids, st.sampled_from(["zoom", "go_to"]), names, st.booleans()),
    min_size=1,
    max_size=3,
    unique_by=lambda found: found.profile_id,
).map(lambda found: Profiles(tuple(found)))
reasons = st.sampled_from([None, "The event is one of a series."])
observations = st.builds(Observation, sightings, st.one_of(st.none(), userinfos, userinfos), reasons)
policies = st.sampled_from(
    [replace(POLICY, replacement=word) for word in ("same_provider", "any_connected", "never")]
)


@given(requests, observations, policies)
def test_every_input_has_an_answer(request: Request, observation: Observation, policy: Policy) -> None:
    """No cause if assigned, else a cause with its state and one of its remedies; sentences, and no secret."""
    found = diagnose(request, observation, NOW, policy)

    assert (found.cause is None) == (found.state is State.ASSIGNED)
    assert (found.cause in PENDING_CAUSES) == (found.state is State.PENDING)
    assert (found.join_url is not None) == (found.state is State.ASSIGNED)
    assert found.remedy in (ALLOWED[found.cause] if found.cause else {Remedy.NONE})
    assert found.state is State.PENDING or found.remedy not in ACTING
    assert found.evidence
    assert all(len(sentence) > 10 and sentence.endswith(".") for sentence in found.evidence)
    assert SECRET not in f"{found!r} {found.evidence} {dict(found.detail)}"


@given(requests, observations, policies)
def test_what_an_event_shows_itself_decides_whatever_was_asked_for(
    request: Request, observation: Observation, policy: Policy
) -> None:
    """Looks ask that first, and only then put together what was asked for; the answer is the same."""
    seen = observation.sighting
    decided = by_sight(seen)

    shows = isinstance(seen, Seen) and bool(seen.deleted or seen.cancelled or seen.join_url)
    assert (decided is not None) == shows
    assert decided in (None, diagnose(request, observation, NOW, policy))


@given(orphans, left, reasons, policies)
def test_reassigns_to_one_that_works(
    request: Request, profiles: Profiles, reason: str | None, policy: Policy
) -> None:
    """Only a connected, listed profile is ever set, never the removed one, none twice, and none on an event
    that may not be written: then a person reads why.
    """
    found = diagnose(request, Observation(seen(), profiles, reason), NOW, policy)

    assert found.cause is Cause.PROFILE_REMOVED
    if reason:
        assert found.remedy is Remedy.ESCALATE
        assert (found.evidence[-1] == reason) == ("to_profile_id" in found.detail)
    if found.remedy is Remedy.REASSIGN_PROFILE:
        to = profiles.conferencing_profile(found.detail["to_profile_id"])
        assert to is not None
        assert to.connected
        assert to.profile_id not in request.wrote | {request.profile_id}
        assert profiles.conferencing_profile(request.profile_id or "") is None
        assert policy.replacement != "never"
        assert policy.replacement == "any_connected" or to.provider_name == request.provider_name
        assert to.name is not None
        assert to.name == (request.profile_name or request.account_email)


@given(requests, observations, policies)
def test_relinks_only_what_is_disconnected(
    request: Request, observation: Observation, policy: Policy
) -> None:
    """Without UserInfo no profile counts as expired or removed; only one that it lists is to be relinked."""
    found = diagnose(request, observation, NOW, policy)

    if observation.profiles is None:
        assert found.cause not in {Cause.CREDENTIALS_EXPIRED, Cause.PROFILE_REMOVED}
    elif found.remedy is Remedy.RELINK_EMAIL:
        known = observation.profiles.listed_anywhere
        assert any(p.profile_id == found.detail["profile_id"] and not p.connected for p in known)


@given(requests, st.one_of(st.none(), userinfos), policies)
def test_nothing_is_gone_unless_its_calendar_is_connected(
    request: Request, profiles: Profiles | None, policy: Policy
) -> None:
    """A read that does not show an event proves nothing by itself, nor right after it was connected again,
    nor of a series, whose occurrences may have ids of their own.
    """
    found = diagnose(request, Observation(Missing(), profiles), NOW, policy)

    late = request.lacked_calendar and NOW - request.asked_at < policy.grace
    is_read = bool(profiles and profiles.reaches(CALENDAR))
    assert (found.cause is Cause.EVENT_GONE) == (is_read and not late and not request.series)
