"""Connect emails: a service of which no profile is left is asked for, and what comes is theirs (§2, §6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from tests.unit.builders import (
    CALENDAR,
    DAY,
    HOUR,
    NOW,
    POLICY,
    RULES,
    SECOND,
    SUB,
    lapsed,
    profile,
    seen,
    tracked,
    userinfo,
)
from worker.diagnosis.causes import diagnose
from worker.diagnosis.model import Chosen, Observation, Profiles, Remedy
from worker.ledger.outcomes import Outcome
from worker.ledger.packing import PACKED_PARTS, unpack_account
from worker.ledger.records import Account, Episode, Obstacle, TrackedEvent, to_ms
from worker.mail.letters import RelinkEmail
from worker.reconcile.episodes import connect_key
from worker.reconcile.relinks import (
    RelinkPlan,
    RelinkRules,
    affected,
    chosen_by_user,
    lately,
    plan_reconnect,
    plan_relinks,
    reconnected,
)

ASKS = replace(POLICY, connect=True)
FAR = NOW + 30 * DAY
ZOOM = "connect:zoom"
NOTHING = userinfo(listed=True)
#: Somebody else's, as its name shows.
OTHERS = profile("pro_other", name="robin")


def event(event_id: str = "a", start: datetime = FAR, profile_id: str = "pro_gone") -> TrackedEvent:
    return tracked(event_id, start=start, profile_id=profile_id)


def person(sub: str = SUB, email: str | None = "dana@example.org") -> Account:
    return Account(sub, None, lost=False, name="Dana", email=email)


@dataclass
class Looks:
    """An account as one look after the other leaves it; the profile that its events ask for is gone."""

    account: Account = field(default_factory=person)
    rules: RelinkRules = RULES

    def look(self, now: datetime, events: Sequence[TrackedEvent], profiles: Profiles = NOTHING) -> RelinkPlan:
        """A look that judges all events."""
        choices = chosen_by_user(self.account, events, profiles, now)
        self.account = replace(self.account, choices=choices)
        found = []
        for each in events:
            asked = replace(each.request, profile_name="dana", account_email=self.account.email)
            choice = self.account.choice_about(each)
            if choice:
                asked = replace(asked, chosen=Chosen(choice.to_profile_id, choice.by))
            diagnosis = diagnose(asked, Observation(seen(each.start), profiles), now, ASKS)
            after = replace(each, last=diagnosis.as_json)
            if diagnosis.remedy in (Remedy.CONNECT_EMAIL, Remedy.RELINK_EMAIL):
                found.append((after, affected(after, found=True)))
        wanted = {key for after, _ in found if (key := connect_key(after.last))}
        made = plan_relinks(
            self.account,
            [each for _, each in found],
            profiles,
            self.account.email,
            now,
            self.rules,
            back=reconnected(self.account.memo, profiles),
            dry_run=False,
            wanted=wanted,
        )
        memo = replace(self.account.memo, episodes=made.episodes)
        self.account = replace(self.account, memo=memo, connects=made.connects, mailed=made.mailed)
        return made

    def follow(self, now: datetime, linked: str | None = None) -> None:
        """The user presses the button of our page, and comes back with a profile."""
        followed = replace(self.account.connects[ZOOM], followed_at=to_ms(now), linked=linked)
        self.account = replace(self.account, connects={ZOOM: followed})


def types(outcomes: Sequence[Outcome]) -> list[str]:
    return [outcome.type.value for outcome in outcomes]


def emails(plan: RelinkPlan) -> list[RelinkEmail]:
    return [email for _, email, _ in plan.emails]


def test_one_email_for_all_events_of_a_service() -> None:
    """Whichever profiles of it are gone; the outcome names the service."""
    plan = Looks().look(NOW, [event("a"), event("b", profile_id="pro_gone_too")])

    [email] = emails(plan)
    assert (email.kind, email.provider_name) == ("connect", "zoom")
    assert [meeting.event_id for meeting in email.meetings] == ["a", "b"]
    [outcome] = plan.outcomes
    detail = {"mail_id": plan.emails[0][0], "provider_name": "zoom", "event_ids": ["a", "b"]}
    assert (outcome.type, outcome.cause, outcome.detail) == ("connect_requested", "profile_removed", detail)


def test_reminders_come_as_for_a_relink_email() -> None:
    """Timed from the first email, none twice, and none after the last."""
    looks, sent = Looks(), []
    for hours in range(0, 12 * 24, 6):
        sent += [(hours // 24, email.reminder) for email in emails(looks.look(NOW + hours * HOUR, [event()]))]

    assert sent == [(0, 0), (1, 1), (3, 2), (7, 3)]


def test_no_more_than_three_emails_a_day_whatever_they_are_about() -> None:
    """Emails about profiles and about services count together."""
    lapsing = userinfo(*(lapsed(f"pro_{n}") for n in range(3)))
    events = [event(f"e{n}", profile_id=f"pro_{n}") for n in range(3)] + [event("gone")]

    looks = Looks()
    first = looks.look(NOW, events, lapsing)
    next_day = looks.look(NOW + DAY, events, lapsing)

    assert [email.kind for email in emails(first)] == ["relink"] * 3
    assert "connect" in [email.kind for email in emails(next_day)]
    assert len(emails(next_day)) <= 3


@pytest.mark.parametrize("linked", ["pro_new", ""], ids=["Cronofy says which", "it does not"])
def test_what_was_connected_by_our_link_is_theirs(linked: str) -> None:
    """Even under another name; the mails that are still to go are cancelled, and a choice is kept."""
    looks = Looks()
    first = looks.look(NOW, [event("a"), event("b")])
    looks.follow(NOW + HOUR, linked)

    plan = looks.look(NOW + 2 * HOUR, [event("a"), event("b")], userinfo(profile("pro_new", name="d.smith")))

    assert types(plan.outcomes) == ["connected"]
    assert plan.cancel == (first.emails[0][0],)
    assert (plan.emails, plan.connects) == ((), {})
    [choice] = looks.account.choices
    assert (choice.profile_id, choice.to_profile_id, choice.by) == ("pro_gone", "pro_new", "the user")


@pytest.mark.parametrize("followed", [None, NOW - HOUR], ids=["not by our link", "never back from it"])
def test_what_came_some_other_way_must_show_whose_it_is(followed: datetime | None) -> None:
    """A person chooses, who is told once; the user gets nothing more."""
    looks = Looks()
    looks.look(NOW - 2 * DAY, [event()])
    if followed:
        looks.follow(followed)

    later = [looks.look(NOW + n * DAY, [event()], userinfo(OTHERS)) for n in range(9)]

    assert [emails(plan) for plan in later] == [[]] * 9
    assert looks.account.choices == ()
    assert looks.account.connects[ZOOM].obstacle is Obstacle.UNSURE
    [note] = later[0].notes.values()
    assert note.late
    assert "a person has to choose" in note.late


def test_nobody_is_told_while_the_user_is_on_their_way_back() -> None:
    """A look sees the profile before the browser brings its id."""
    looks = Looks()
    looks.look(NOW, [event()])
    looks.follow(NOW + HOUR)

    plan = looks.look(NOW + HOUR + SECOND, [event()], userinfo(OTHERS))

    [note] = plan.notes.values()
    assert (note.late, note.look_by) == (None, NOW + HOUR + timedelta(minutes=10))


@pytest.mark.parametrize("linked", ["pro_other", "pro_unknown", ""])
def test_of_two_that_came_only_the_one_they_came_back_with_is_theirs(linked: str) -> None:
    """Another person connected theirs at the same time."""
    looks = Looks()
    looks.look(NOW, [event()])
    looks.follow(NOW, linked)
    both = userinfo(profile("pro_a1", name="lee"), OTHERS)

    looks.look(NOW + HOUR, [event()], both)

    chosen = [choice.to_profile_id for choice in looks.account.choices]
    assert chosen == (["pro_other"] if linked == "pro_other" else [])


def test_what_came_some_other_way_under_the_same_name_is_set() -> None:
    """As ever: its name is what the removed one's was."""
    looks = Looks()
    looks.look(NOW, [event()])

    plan = looks.look(NOW + HOUR, [event()], userinfo(profile("pro_new", name="dana")))

    assert types(plan.outcomes) == ["connected"]
    assert looks.account.choices == ()


def test_a_profile_of_another_that_was_there_before_is_never_taken_for_theirs() -> None:
    """The user followed the link and gave up."""
    looks = Looks()
    looks.look(NOW, [event()], userinfo(OTHERS))
    looks.follow(NOW + HOUR, OTHERS.profile_id)

    plan = looks.look(NOW + 2 * HOUR, [event()], userinfo(OTHERS))

    assert looks.account.choices == ()
    assert (plan.outcomes, ZOOM in plan.connects) == ((), True)


def test_when_nothing_needs_it_any_more_nobody_is_told() -> None:
    """The mail that is still to go is cancelled."""
    looks = Looks()
    first = looks.look(NOW, [event()])

    plan = looks.look(NOW + HOUR, [])

    assert (plan.outcomes, plan.cancel, plan.connects) == ((), (first.emails[0][0],), {})
    assert emails(looks.look(NOW + 2 * HOUR, [event()])) == []


@pytest.mark.parametrize(
    ("address", "reason"),
    [(None, "no email address"), ("not an address", "address on file is invalid")],
)
def test_without_an_address_it_is_escalated_once(address: str | None, reason: str) -> None:
    """Once for the service."""
    looks = Looks(person(email=address))

    first, second = (looks.look(NOW + n * DAY, [event("a"), event("b")]) for n in range(2))

    [outcome] = first.outcomes
    assert (outcome.type, outcome.detail["provider_name"]) == ("escalated", "zoom")
    assert reason in outcome.detail["reason"]
    assert second.outcomes == ()


def test_episodes_are_read_back_as_they_were() -> None:
    """With what is special about them."""
    episode = Episode(
        to_ms(NOW), 1, ("m1",), ((CALENDAR, "a"),), before=("pro_x",), followed_at=to_ms(FAR), linked="pro_y"
    )

    stored = {b"connects": PACKED_PARTS["connects"]({ZOOM: episode})}

    assert unpack_account(SUB, stored).connects == {ZOOM: episode}


# A lost account.

PAGE = replace(RULES, reconnect_url="https://app.example/reconnect?account={sub}")


def test_the_user_of_a_lost_account_is_led_to_the_applications_page() -> None:
    """At once and with the reminders' cadence, each with what is still to come then."""
    events = [affected(event("soon", NOW + 2 * DAY)), affected(event("far"))]

    plan = plan_reconnect(person("acc/1 ü"), events, NOW, PAGE)

    listed = {
        (due - NOW) // DAY: [meeting.event_id for meeting in email.meetings]
        for _, email, due in plan.emails
        if due
    }
    assert listed == {0: ["soon", "far"], 1: ["soon", "far"], 3: ["far"], 7: ["far"]}
    assert [email.reminder for _, email, _ in plan.emails] == [0, 1, 2, 3]
    assert {email.relink_url for _, email, _ in plan.emails} == {
        "https://app.example/reconnect?account=acc%2F1%20%C3%BC"
    }


@pytest.mark.parametrize(
    ("account", "events", "rules"),
    [
        (person(), [event()], RULES),
        (person(email=None), [event()], PAGE),
        (person(email="nowhere"), [event()], PAGE),
        (person(), [event("past", NOW - HOUR)], PAGE),
        (person(), [], PAGE),
    ],
    ids=["no page", "no address", "a bad one", "past", "no event"],
)
def test_nobody_is_mailed(account: Account, events: list[TrackedEvent], rules: RelinkRules) -> None:
    """Without what an email needs."""
    assert plan_reconnect(account, [affected(each) for each in events], NOW, rules).emails == ()


@pytest.mark.parametrize("apart", [HOUR, DAY, 40 * DAY])
def test_an_account_that_is_lost_again_and_again(apart: timedelta) -> None:
    """One email a day at most; what was not sent before it was connected does not count."""
    account, sent = person(), []
    for n in range(10):
        now = NOW + n * apart
        plan = plan_reconnect(account, [affected(event("e", NOW + 1000 * DAY))], now, PAGE)
        # Connected again just before it is lost the next time.
        mailed = lately(plan.mailed if plan.emails else account.mailed, now + apart - SECOND, PAGE)
        account = replace(account, mailed=mailed)
        sent += [due for _, _, due in plan.emails if due and due < now + apart]

    assert all(later - earlier >= DAY for earlier, later in pairwise(sent))
    assert len(sent) == {HOUR: 1, DAY: 10, 40 * DAY: 40}[apart]
