"""Relink emails: one per profile, to whom and about what, and when none may be sent (contract §2 and §6)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.builders import (
    ADDRESS,
    CALENDAR,
    DAY,
    EXPIRED,
    FAR,
    HOUR,
    NOW,
    RULES,
    SECOND,
    SECRET,
    SUB,
    calendar,
    concluded,
    labelled,
    lapsed,
    plan,
    profile,
    relink_url,
    running,
    tracked,
    userinfo,
)
from worker.diagnosis.model import Cause, Profile, Profiles
from worker.ledger.outcomes import Outcome, OutcomeType
from worker.ledger.records import Episode, Memo, TrackedEvent, to_ms
from worker.reconcile.relinks import reconnected


def test_one_email_for_all_events() -> None:
    """The first email lists all affected events, judged or not, with a single outcome."""
    others = [tracked("c", start=FAR), tracked("d", profile_id="pro_b", start=FAR)]

    result = plan([tracked("a", start=FAR), tracked("b", start=FAR)], others=others)

    ((mail_id, email),) = result.emails
    assert result.listed == [("a", "b", "c")]
    assert (email.to, email.name, email.reminder) == (ADDRESS, "Dana", 0)
    assert (email.provider_name, email.profile_name) == ("zoom", "dana")
    assert email.relink_url == relink_url("pro_a")
    detail = {"profile_id": "pro_a", "mail_id": mail_id, "event_ids": ["a", "b", "c"]}
    assert result.outcomes == (
        Outcome(OutcomeType.RELINK_REQUESTED, SUB, NOW, None, None, Cause.CREDENTIALS_EXPIRED, detail),
    )
    keys = ((CALENDAR, "a"), (CALENDAR, "b"), (CALENDAR, "c"))
    assert result.episodes == {"pro_a": Episode(to_ms(NOW), 1, (mail_id,), keys)}
    assert all(verdict.outcomes == () for verdict in result.verdicts)


def test_only_upcoming_events_are_listed() -> None:
    """An event that has begun no longer matters to the user; one without a known start may be upcoming."""
    others = [tracked("b", start=NOW), tracked("c", start=NOW + SECOND), tracked("d", body={"event_id": "d"})]

    assert plan([tracked("a", start=FAR)], others=others).listed == [("a", "c", "d")]


OWN_EXPIRED = userinfo(calendars=(calendar(lapsed("pro_google")),))


@pytest.mark.parametrize(
    ("profiles", "profile_id"),
    labelled(
        ("connected", userinfo(profile("pro_a")), "pro_a"),
        ("another one disconnected", userinfo(lapsed("pro_b"), profile("pro_a")), "pro_a"),
        ("removed", userinfo(), "pro_a"),
        ("one of two, which is not known", userinfo(lapsed("pro_a"), lapsed("pro_b")), "default"),
        ("the only one, which default may not mean", EXPIRED, "default"),
    ),
)
def test_no_email(profiles: Profiles, profile_id: str) -> None:
    """Nobody is asked to connect a profile that no judged event is waiting for."""
    result = plan([tracked("a", profile_id=profile_id, start=FAR)], profiles)

    assert (result.emails, result.outcomes, result.episodes) == ((), (), {})


def test_two_profiles_at_once() -> None:
    """Each disconnected profile has its own email, outcome and episode."""
    events = [tracked("a", start=FAR), tracked("b", profile_id="pro_b", start=FAR)]

    result = plan(events, userinfo(lapsed("pro_a"), lapsed("pro_b", "go_to"), profile("pro_c")))

    assert result.listed == [("a",), ("b",)]
    assert [email.provider_name for _, email in result.emails] == ["zoom", "go_to"]
    assert [outcome.detail["profile_id"] for outcome in result.outcomes] == ["pro_a", "pro_b"]
    assert len({mail_id for mail_id, _ in result.emails}) == 2
    assert set(result.episodes) == {"pro_a", "pro_b"}


def test_one_profile_of_many_calendars() -> None:
    """A calendar's own profile, probably waited for, is asked for once, whatever its calendars."""
    owner = lapsed("pro_google", "google")
    calendars = (calendar(owner), replace(calendar(owner), calendar_id="cal_2"))

    result = plan([tracked("a", profile_id="integrated", start=FAR)], userinfo(calendars=calendars))

    assert (len(result.emails), len(result.outcomes), list(result.episodes)) == (1, 1, ["pro_google"])


def test_later_events_cause_no_second_first_email() -> None:
    """An event found after the first email waits for the next reminder."""
    result = plan([tracked("a", start=FAR), tracked("b", start=FAR)], episodes=running(), now=NOW + HOUR)

    assert (result.emails, result.outcomes, result.escalations) == ((), (), {})
    assert result.episodes == running()


def with_url(url: str | None) -> Profiles:
    """A disconnected profile with this relink URL."""
    return userinfo(Profile("pro_a", "zoom", "dana", False, url))


@pytest.mark.parametrize(
    ("profiles", "address", "says"),
    labelled(
        ("no address", EXPIRED, None, "no email address"),
        ("empty address", EXPIRED, "", "no email address"),
        ("two addresses", EXPIRED, "dana@example.org, sam@example.org", "on file is invalid"),
        ("a header in it", EXPIRED, "dana@example.org\nBcc: sam@example.org", "on file is invalid"),
        ("no URL", with_url(None), ADDRESS, "gave no relink URL"),
        ("empty URL", with_url(""), ADDRESS, "gave no relink URL"),
        ("foreign host", with_url(f"https://evil.example/{SECRET}"), ADDRESS, "evil.example, which is not"),
        ("no https", with_url(f"http://app.cronofy.com/{SECRET}"), ADDRESS, "without https"),
        ("no web address", with_url(f"javascript:{SECRET}"), ADDRESS, "may not be emailed"),
    ),
)
def test_what_may_not_be_emailed(profiles: Profiles, address: str | None, says: str) -> None:
    """If no email can be sent, a person is told once per event, in words that contain no URL."""
    events = [tracked("a", start=FAR), tracked("b", start=FAR)]

    first = plan(events, profiles, address=address)
    second = plan(
        [verdict.after for verdict in first.verdicts],
        profiles,
        address=address,
        now=NOW + DAY,
        episodes=dict(first.episodes),
    )

    (outcome,) = first.outcomes
    assert (outcome.type, outcome.event_id) == (OutcomeType.ESCALATED, None)
    assert outcome.detail["event_ids"] == ["a", "b"]
    assert says in outcome.detail["reason"]
    assert [v.escalation.reason for v in first.verdicts if v.escalation] == [outcome.detail["reason"]] * 2
    assert (second.outcomes, [verdict.escalation for verdict in second.verdicts]) == ((), [None, None])
    for result in (first, second):
        assert (result.emails, result.escalations) == ((), {})
        assert SECRET not in f"{result.outcomes} {[v.escalation for v in result.verdicts]}"


def test_emailed_once_possible() -> None:
    """Once the obstacle is gone, the first email goes out normally."""
    stuck = plan([tracked("a", start=FAR)], address=None)

    result = plan([stuck.verdicts[0].after], now=NOW + HOUR, episodes=stuck.episodes)

    assert [email.reminder for _, email in result.emails] == [0]
    assert result.escalations == {}


def test_the_sandbox_may_be_http() -> None:
    """A relink URL on the configured API's own host is emailed, even by http if the API uses http."""
    rules = replace(RULES, trusted_origin="http://127.0.0.1:9999")

    result = plan([tracked("a", start=FAR)], with_url("http://127.0.0.1:1/relink"), rules=rules)

    assert len(result.emails) == 1


def test_dry_run_sends_nothing() -> None:
    """A dry run neither begins an episode nor reminds nor escalates, but notices a reconnected profile."""
    events = [tracked("a", start=FAR)]

    for result in (
        plan(events, dry_run=True),
        plan(events, dry_run=True, address=None),
        plan(events, dry_run=True, episodes=running(), now=NOW + DAY),
    ):
        assert (result.emails, result.outcomes, result.escalations) == ((), (), {})
    assert plan(events, dry_run=True, episodes=running()).episodes == running()
    back = plan([], userinfo(profile("pro_a")), dry_run=True, episodes=running())
    assert [outcome.type for outcome in back.outcomes] == [OutcomeType.RELINKED]


def test_no_secret_leaves_the_email() -> None:
    """The relink URL is only in the email: not in outcomes, episodes or records."""
    result = plan([tracked("a", start=FAR)])

    ((_, email),) = result.emails
    assert SECRET in email.relink_url
    assert SECRET not in repr((replace(result.plan, emails=()), result.verdicts))
    assert all(SECRET not in outcome.to_json() for outcome in result.outcomes)


def test_the_account_is_not_touched() -> None:
    """Planning does not modify its arguments."""
    given = running()

    plan([tracked("a", start=FAR)], episodes=given, now=NOW + DAY)
    plan([], userinfo(), episodes=given)

    assert given == running()


@pytest.mark.parametrize(
    ("event", "expected"),
    labelled(
        ("named", tracked(profile_id="pro_a"), "pro_a"),
        ("default", tracked(profile_id="default"), None),
        ("integrated", tracked(profile_id="integrated"), None),
        ("not on record", tracked(profile_id=None), None),
        (
            "integrated, and suspected",
            concluded(tracked(profile_id="integrated"), profiles=OWN_EXPIRED).after,
            "pro_google",
        ),
        ("default, no suspicion", concluded(tracked(profile_id="default"), profiles=userinfo()).after, None),
    ),
)
def test_what_an_event_waits_for(event: TrackedEvent, expected: str | None) -> None:
    """An event waits for the profile it named, or the one its last look suspected."""
    assert event.waits_for == expected


@pytest.mark.parametrize(
    ("profiles", "expected"),
    labelled(
        ("connected", userinfo(profile("pro_a")), {"pro_a"}),
        ("a calendar's, connected", userinfo(calendars=(calendar(profile("pro_a")),)), {"pro_a"}),
        ("still disconnected", userinfo(lapsed("pro_a"), profile("pro_b")), set()),
        ("removed", userinfo(), set()),
    ),
)
def test_reconnected(profiles: Profiles, expected: set[str]) -> None:
    """A profile is back if UserInfo lists it as connected and its user was asked to connect it."""
    assert reconnected(Memo(running()), profiles) == expected
