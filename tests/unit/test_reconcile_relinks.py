"""Relink emails and reminders: one per profile, to whom and about what (contract §2, §4 and §6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.unit.builders import (
    CALENDAR,
    DAY,
    EXPIRED,
    HOUR,
    NOW,
    POLICY,
    RULES,
    SECOND,
    SECRET,
    SUB,
    calendar,
    concluded,
    judged,
    labelled,
    lapsed,
    profile,
    relink_url,
    tracked,
    userinfo,
)
from worker.diagnosis.model import Cause, Profile, Profiles
from worker.ledger.outcomes import Outcome, OutcomeType
from worker.ledger.records import Account, Episode, Mailed, Memo, TrackedEvent, to_ms
from worker.mail.letters import RelinkEmail
from worker.reconcile.relinks import RelinkPlan, RelinkRules, affected, plan_relinks, reconnected
from worker.reconcile.verdict import Verdict, conclude

ADDRESS = "dana@example.org"
FAR = NOW + 30 * DAY
NOT_LATELY = Mailed()


@dataclass(frozen=True)
class Planned:
    """A look's relink plan, and the verdicts that follow from it."""

    plan: RelinkPlan
    verdicts: tuple[Verdict, ...]

    @property
    def episodes(self) -> dict[str, Episode]:
        return dict(self.plan.episodes)

    @property
    def emails(self) -> tuple[tuple[str, RelinkEmail], ...]:
        return tuple((mail_id, email) for mail_id, email, _ in self.plan.emails)

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        return self.plan.outcomes

    @property
    def listed(self) -> list[tuple[str, ...]]:
        return [tuple(meeting.event_id for meeting in email.meetings) for _, email in self.emails]

    @property
    def escalations(self) -> dict[str, str]:
        return {
            str(outcome.event_id): outcome.detail["reason"]
            for verdict in self.verdicts
            for outcome in verdict.outcomes
            if outcome.type is OutcomeType.ESCALATED
        }


def plan(
    events: Sequence[TrackedEvent],
    profiles: Profiles = EXPIRED,
    *,
    episodes: dict[str, Episode] | None = None,
    others: Sequence[TrackedEvent] = (),
    address: str | None = ADDRESS,
    now: datetime = NOW,
    rules: RelinkRules = RULES,
    dry_run: bool = False,
    undelivered: Sequence[str] = (),
    mailed: Mailed = NOT_LATELY,
    early: bool = False,
) -> Planned:
    """The plan of a look at `now` that judged `events` and knows of `others`."""
    account = Account(SUB, None, lost=False, name="Dana", memo=Memo(episodes or {}), mailed=mailed)
    found = [judged(event, profiles=profiles, now=now) for event in events]
    concerned = [
        affected(each.diagnosed, found=True)
        for each in found
        if each.diagnosis.cause is Cause.CREDENTIALS_EXPIRED
    ]
    concerned += [affected(event) for event in others]
    made = plan_relinks(
        account,
        concerned,
        profiles,
        address,
        now,
        rules,
        back=reconnected(account.memo, profiles),
        dry_run=dry_run,
        undelivered=undelivered,
        early=early,
    )
    verdicts = [conclude(SUB, each, now, POLICY, None, made.notes.get(each.key)) for each in found]
    return Planned(made, tuple(verdicts))


def running(mails: int = 1, *events: str) -> dict[str, Episode]:
    """An episode of pro_a that began now and has sent this many emails."""
    keys = tuple((CALENDAR, event_id) for event_id in events or ("a",))
    return {"pro_a": Episode(to_ms(NOW), mails, tuple(f"mail_{n}" for n in range(mails)), keys)}


def test_one_email_for_all_events() -> None:
    """The first email lists all affected events, judged or not, with a single outcome."""
    others = [tracked("c", start=FAR), tracked("d", profile_id="pro_b", start=FAR)]

    result = plan([tracked("a", start=FAR), tracked("b", start=FAR)], others=others)

    ((mail_id, email),) = result.emails
    assert result.listed == [("a", "b", "c")]
    assert (email.reader.address, email.reader.name, email.reminder) == (ADDRESS, "Dana", 0)
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


@pytest.mark.parametrize(
    ("after", "sent", "mails"),
    labelled(
        ("at once", HOUR, 1, 1),
        ("when a reminder is due as well", 2 * DAY, 1, 2),
        ("after the last reminder", 20 * DAY, 4, 4),
    ),
)
def test_what_another_address_refused_is_sent_once_more(after: timedelta, sent: int, mails: int) -> None:
    """As a first email, published again; reminders go on as they were timed, and none follows at once."""
    episodes, newest = running(sent), f"mail_{sent - 1}"
    events = [tracked("a", start=FAR), tracked("b", start=FAR)]

    result = plan(events, episodes=episodes, undelivered=["another", newest], now=NOW + after)

    ((mail_id, email),) = result.emails
    assert (email.reader.address, email.reminder, result.listed) == (ADDRESS, 0, [("a", "b")])
    assert [outcome.type for outcome in result.outcomes] == [OutcomeType.RELINK_REQUESTED]
    begun, episode = episodes["pro_a"], result.episodes["pro_a"]
    assert (episode.started_at, episode.mails) == (begun.started_at, mails)
    assert episode.mail_ids == (*begun.mail_ids, mail_id)
    later = plan(events, episodes=result.episodes, undelivered=[newest], now=NOW + after + SECOND)
    assert later.emails == ()


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
        ("no URL", with_url(None), ADDRESS, "an administrator may have to"),
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
    said = [done for v in first.verdicts for _, what, done in v.after.history if what == "escalated"]
    assert said == [outcome.detail["reason"]] * 2
    assert [bool(v.change.news) for v in first.verdicts] == [True, True]
    assert (second.outcomes, [bool(v.change.news) for v in second.verdicts]) == ((), [False, False])
    for result in (first, second):
        assert (result.emails, result.escalations) == ((), {})
        assert SECRET not in f"{result.outcomes} {[v.after for v in result.verdicts]}"


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


# Reminders, and how an episode ends.


@pytest.mark.parametrize(
    ("mails", "after", "reminder"),
    [
        pytest.param(1, DAY - SECOND, None, id="before the first"),
        pytest.param(1, DAY, 1, id="the first"),
        pytest.param(2, DAY, None, id="the first was sent"),
        pytest.param(2, 3 * DAY - SECOND, None, id="before the second"),
        pytest.param(2, 3 * DAY, 2, id="the second"),
        pytest.param(3, 7 * DAY - SECOND, None, id="before the third"),
        pytest.param(3, 7 * DAY, 3, id="the third"),
        pytest.param(4, 7 * DAY, None, id="the third was sent"),
        pytest.param(4, 20 * DAY, None, id="no fourth"),
    ],
)
def test_reminders(mails: int, after: timedelta, reminder: int | None) -> None:
    """Reminders count from the first email, each is sent once, and none follows the last."""
    result = plan([tracked("a", start=FAR)], episodes=running(mails), now=NOW + after)

    assert [email.reminder for _, email in result.emails] == ([] if reminder is None else [reminder])
    assert result.episodes["pro_a"].mails == (mails if reminder is None else mails + 1)
    assert result.episodes["pro_a"].started_at == to_ms(NOW)
    assert result.outcomes == ()


def test_a_reminder_lists_what_is_upcoming() -> None:
    """A reminder adds new events and drops those that have begun; the episode remembers all."""
    events = [tracked("b", start=FAR), tracked("c", start=FAR)]

    result = plan(events, episodes=running(1, "a", "b"), now=NOW + DAY)

    assert result.listed == [("b", "c")]
    ((mail_id, _),) = result.emails
    assert result.episodes["pro_a"].mail_ids == ("mail_0", mail_id)
    assert result.episodes["pro_a"].events == ((CALENDAR, "a"), (CALENDAR, "b"), (CALENDAR, "c"))


def test_no_reminder_without_an_upcoming_event() -> None:
    """Without an affected event, nobody is reminded, however long the profile stays disconnected."""
    past = tracked("a", start=NOW + HOUR)

    assert plan([past], episodes=running(), now=NOW + DAY).emails == ()
    assert plan([], others=[past], episodes=running(), now=NOW + DAY).emails == ()


def test_the_whole_episode() -> None:
    """Looked at every hour for a month, a user gets four emails in all, a day, three and seven days apart."""
    episodes: dict[str, Episode] = {}
    event = tracked("a", start=NOW + 60 * DAY)
    sent = []
    for hour in range(24 * 30):
        result = plan([event], episodes=episodes, now=NOW + hour * HOUR)
        episodes, event = result.episodes, result.verdicts[0].after
        sent += [(hour / 24, email.reminder) for _, email in result.emails]

    assert sent == [(0, 0), (1, 1), (3, 2), (7, 3)]


def test_events_after_the_last_reminder() -> None:
    """An event that appears after the last reminder is reported to a person once; the others are not."""
    event = tracked("late", start=FAR)
    first = plan([tracked("a", start=FAR), event], episodes=running(4), now=NOW + 8 * DAY)
    late = first.verdicts[1].after
    second = plan([late], episodes=first.episodes, now=NOW + 9 * DAY)

    assert list(first.escalations) == ["late"]
    assert "reminded, before this event came" in first.escalations["late"]
    assert (second.escalations, first.emails, second.emails) == ({}, (), ())


def test_relinked() -> None:
    """Once the user has connected the profile, one outcome says so, the episode ends and unsent emails go."""
    back = userinfo(profile("pro_a"))

    result = plan([tracked("a", start=FAR)], back, episodes=running(2, "a", "b"), now=NOW + 3 * DAY)

    detail = {"profile_id": "pro_a", "event_ids": ["a", "b"]}
    assert result.outcomes == (
        Outcome(OutcomeType.RELINKED, SUB, NOW + 3 * DAY, None, None, Cause.CREDENTIALS_EXPIRED, detail),
    )
    assert result.plan.cancel == ("mail_0", "mail_1")
    assert (result.episodes, result.emails) == ({}, ())
    assert plan([], back, episodes=result.episodes).outcomes == ()


def test_disconnected_again() -> None:
    """A profile that is disconnected again begins a new episode with a first email."""
    over = plan([], userinfo(profile("pro_a")), episodes=running(4), now=NOW + 8 * DAY)
    # Its events may have settled in the meantime.
    assert [outcome.type for outcome in over.outcomes] == [OutcomeType.RELINKED]

    again = plan([tracked("a", start=FAR)], episodes=over.episodes, now=NOW + 9 * DAY)

    assert [email.reminder for _, email in again.emails] == [0]
    assert again.episodes["pro_a"].started_at == to_ms(NOW + 9 * DAY)


def flap(
    times: Sequence[datetime], rules: RelinkRules = RULES, events: Sequence[TrackedEvent] | None = None
) -> list[tuple[datetime, int]]:
    """When emails are sent, and as which reminder, if the profile lapses at these times and comes back."""
    episodes: dict[str, Episode] = {}
    mailed, sent = NOT_LATELY, []
    for now in times:
        for profiles in (EXPIRED, userinfo(profile("pro_a"))):
            result = plan(
                events or [tracked("a", start=FAR)],
                profiles,
                episodes=episodes,
                now=now,
                rules=rules,
                mailed=mailed,
            )
            episodes, mailed = result.episodes, result.plan.mailed
            sent += [(now, email.reminder) for _, email in result.emails]
    return sent


def test_a_profile_that_flaps() -> None:
    """Within RELINK_AGAIN of its last email it goes on in the same episode: reminders, and no first email."""
    seconds = [NOW + n * SECOND for n in range(4)]
    hours = [NOW + n * HOUR for n in range(24 * 6)]

    assert flap(seconds) == [(NOW, 0)]
    assert flap(hours) == [(NOW + n * DAY, 0) for n in range(6)]
    assert flap([NOW, NOW + DAY - SECOND, NOW + DAY]) == [(NOW, 0), (NOW + DAY, 0)]
    assert flap(hours, replace(RULES, again=9 * DAY)) == [(NOW, 0), (NOW + DAY, 1), (NOW + 3 * DAY, 2)]
    assert flap(seconds, replace(RULES, again=timedelta(0))) == [(NOW, 0)]


def test_a_profile_that_flaps_without_an_address() -> None:
    """A person is told once, too."""
    first = plan([tracked("a", start=FAR)], address=None)
    over = plan([], userinfo(profile("pro_a")), episodes=first.episodes, mailed=first.plan.mailed)
    again = plan([tracked("a", start=FAR)], address=None, now=NOW + HOUR, mailed=over.plan.mailed)

    assert [outcome.type for outcome in first.outcomes] == [OutcomeType.ESCALATED]
    assert (again.outcomes, again.plan.notes.keys() - first.plan.notes.keys()) == ((), set())


def test_three_emails_a_day() -> None:
    """A user whose profiles lapse one after the other gets the fourth email when the first is a day old."""
    lapsing = [f"pro_{letter}" for letter in "abcd"]
    events = [tracked(pid, profile_id=pid, start=FAR) for pid in lapsing]
    soon = tracked("soon", profile_id="pro_d", start=NOW + 5 * HOUR)
    gone = userinfo(*map(lapsed, lapsing))

    first = plan([*events, soon], gone)
    later: dict[str, Any] = {"episodes": first.episodes, "mailed": first.plan.mailed}
    second = plan(events, gone, now=NOW + DAY - SECOND, **later)
    third = plan(events[3:], gone, now=NOW + DAY, **later)

    assert first.listed == [("pro_a",), ("pro_b",), ("pro_c",)]
    assert list(first.escalations) == ["soon"]
    assert "as many emails as we send in a day" in first.escalations["soon"]
    assert first.plan.notes[events[3].key].look_by == NOW + DAY
    assert second.emails == ()
    assert (third.listed, third.episodes["pro_d"].started_at) == ([("pro_d",)], to_ms(NOW + DAY))
    back = plan([], userinfo(*map(profile, lapsing)), now=NOW + HOUR, **later)
    assert [outcome.detail["profile_id"] for outcome in back.outcomes] == lapsing[:3]


@pytest.mark.parametrize(
    ("reminders", "apart"),
    [((DAY, 3 * DAY), DAY), ((), DAY), ((HOUR, DAY), HOUR), ((2 * DAY, 2 * DAY + HOUR), HOUR)],
)
def test_reminders_closer_than_a_day_are_sent(reminders: tuple[timedelta, ...], apart: timedelta) -> None:
    """Whoever asks for them gets them; otherwise a user gets one email a day about a profile."""
    rules = replace(RULES, reminders=reminders)
    assert rules.apart == apart


def test_removed_ends_silently() -> None:
    """A profile that is no longer listed was not relinked: its episode ends without an outcome."""
    result = plan([tracked("a", start=FAR)], userinfo(), episodes=running(2), now=NOW + 3 * DAY)

    assert (result.outcomes, result.emails, result.episodes) == ((), (), {})
    assert result.plan.cancel == ("mail_0", "mail_1")


def test_one_ends_and_the_other_goes_on() -> None:
    """Ending one profile's episode does not affect another's."""
    episodes = running() | {"pro_b": Episode(to_ms(NOW), 1, ("mail_b",), ((CALENDAR, "b"),))}

    result = plan([tracked("a", start=FAR)], userinfo(lapsed("pro_a"), profile("pro_b")), episodes=episodes)

    assert result.episodes == running()
    assert result.plan.cancel == ("mail_b",)
    assert [outcome.detail["profile_id"] for outcome in result.outcomes] == ["pro_b"]


@pytest.mark.parametrize(
    ("mails", "now", "start", "expected"),
    [
        pytest.param(1, NOW + 20 * HOUR, FAR, NOW + DAY, id="the first reminder comes first"),
        pytest.param(1, NOW + 17 * HOUR, FAR, NOW + 23 * HOUR, id="the look comes first"),
        pytest.param(1, NOW + 20 * HOUR, NOW + 24 * HOUR, NOW + 21 * HOUR, id="the start draws it nearer"),
        pytest.param(2, NOW + 70 * HOUR, FAR, NOW + 3 * DAY, id="the second reminder"),
        pytest.param(4, NOW + 8 * DAY, FAR, NOW + 8 * DAY + 6 * HOUR, id="no reminder left"),
    ],
)
def test_a_look_is_no_later_than_a_reminder(
    mails: int, now: datetime, start: datetime, expected: datetime
) -> None:
    """The next look is no later than the next reminder, since looks send it."""
    result = plan([tracked("a", start=start, interval=21600.0)], episodes=running(mails), now=now)

    assert result.verdicts[0].after.next_look == to_ms(expected)


def test_a_user_is_asked_before_any_event_waits() -> None:
    """One email without meetings, and one outcome; the profile is asked about when reminders would be due."""
    result = plan([], early=True)

    ((mail_id, email),) = result.emails
    assert (email.meetings, email.reminder) == ((), 0)
    assert [(o.type, o.detail["event_ids"]) for o in result.outcomes] == [(OutcomeType.RELINK_REQUESTED, [])]
    assert result.episodes == {"pro_a": Episode(to_ms(NOW), 1, (mail_id,), ())}
    assert result.plan.ask_again == NOW + DAY


@pytest.mark.parametrize(
    ("profiles", "address"),
    labelled(
        ("not wanted", EXPIRED, ADDRESS),
        ("connected", userinfo(profile("pro_a")), ADDRESS),
        ("a calendar's", OWN_EXPIRED, ADDRESS),
        ("no address", EXPIRED, None),
        ("no link", userinfo(Profile("pro_a", "zoom", None, connected=False)), ADDRESS),
    ),
)
def test_nobody_is_asked_early(
    profiles: Profiles, address: str | None, request: pytest.FixtureRequest
) -> None:
    """Nor is what cannot be mailed escalated before an event waits."""
    early = "not wanted" not in request.node.name

    result = plan([], profiles, address=address, early=early)

    assert (result.emails, result.outcomes, result.episodes) == ((), (), {})
    assert result.plan.ask_again is None


@pytest.mark.parametrize(
    ("days", "again"), labelled(("at once", 0, DAY), ("a reminder is due", 2, 3 * DAY), ("all", 9, None))
)
def test_no_event_no_reminder(days: int, again: timedelta | None) -> None:
    """However often Cronofy says so; UserInfo is asked a few times more, in case the profile is back."""
    result = plan([], episodes=running(), now=NOW + days * DAY, early=True)

    assert (result.emails, result.outcomes, result.episodes) == ((), (), running())
    assert result.plan.ask_again == (NOW + again if again else None)


def test_an_event_that_comes_to_wait_joins_the_next_reminder() -> None:
    """It is the episode that began without one."""
    began = plan([], early=True)

    before = plan([tracked("a", start=FAR)], episodes=began.episodes)
    after = plan([tracked("a", start=FAR)], episodes=began.episodes, now=NOW + DAY)

    assert before.emails == ()
    assert ([email.reminder for _, email in after.emails], after.listed) == ([1], [("a",)])


def test_early_emails_keep_to_the_limits() -> None:
    """The fourth profile's email goes when the day is over; one that lapses again soon brings none."""
    sent = tuple((to_ms(NOW - n * HOUR), f"pro_{n}") for n in (3, 2, 1))

    result = plan([], mailed=Mailed(sent), early=True)
    later = plan([], mailed=result.plan.mailed, episodes=result.episodes, now=NOW + 21 * HOUR, early=True)
    lapsed_again = plan([], mailed=Mailed(((to_ms(NOW - HOUR), "pro_a"),), running()), early=True)

    assert (result.emails, result.plan.ask_again) == ((), NOW + 21 * HOUR)
    assert len(later.emails) == 1
    assert (lapsed_again.emails, lapsed_again.episodes) == ((), running())
