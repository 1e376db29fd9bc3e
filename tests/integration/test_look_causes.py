"""Looks at events of most causes: what they find, publish and write, against the sandbox."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from sandbox.server import RunningSandbox
from tests.integration.world import Begin, World
from tests.personalities import under
from worker.explain.explanation import recorded_case
from worker.explain.reply import Reply, reply
from worker.run import looks


def reply_to(world: World, event_id: str) -> Reply:
    """What a customer is told."""
    case = recorded_case(world.services.ledger, world.services.settings, world.sub, world.key(event_id))
    assert case is not None
    return reply(case)


def test_an_assigned_event_is_settled(begin: Begin, running: RunningSandbox) -> None:
    """The link is there: published once, with it, without asking UserInfo."""
    running.control.set_settings(generation_seconds=0)
    world = begin()
    world.track()

    answer = world.look()

    assert (answer["state"], answer["cause"], answer["remedy"]) == ("assigned", None, "none")
    (outcome,) = world.outcomes()
    detail = {"join_url": answer["join_url"], "provider_name": "zoom"}
    assert (outcome["type"], outcome["event_id"], outcome["detail"]) == ("assigned", "e1", detail)
    assert answer["next_check_at"] is None
    assert world.calls() == ["GET /v1/events"]
    assert (world.standing(), world.look()["state"], len(world.calls())) == (set(), "assigned", 1)


def test_expired_credentials_ask_the_user_once(begin: Begin) -> None:
    """One email for the profile, however many events wait for it; then one `relinked`."""
    world = begin()
    for event_id in ("e1", "e2"):
        world.track(event_id)
    world.control.disconnect_profile(world.sub, world.profiles[0])

    answers = looks.reconcile_account(world.services, world.sub)
    again = world.look("e1")

    assert [(a["cause"], a["certainty"], a["remedy"]) for a in [*answers, again]] == [
        ("credentials_expired", "certain", "relink_email")
    ] * 3
    (outcome,) = world.outcomes()
    assert (outcome["type"], outcome["event_id"]) == ("relink_requested", None)
    assert outcome["detail"]["profile_id"] == world.profiles[0]
    assert sorted(outcome["detail"]["event_ids"]) == ["e1", "e2"]
    (mail,) = world.mails()
    assert (mail.mail_id, b"dana@example.org" in mail.message) == (outcome["detail"]["mail_id"], True)

    world.control.reconnect_profile(world.sub, world.profiles[0])
    assert world.look("e1")["cause"] == "generating"
    world.look("e2")
    assert world.types() == ["relink_requested", "relinked"]
    assert world.writes() == []


def test_a_profile_that_flaps_causes_one_email(begin: Begin) -> None:
    """However often it lapses within a day; each time that it is back is published."""
    world = begin()
    world.track()
    for _ in range(3):
        world.control.disconnect_profile(world.sub, world.profiles[0])
        assert world.look()["cause"] == "credentials_expired"
        world.control.reconnect_profile(world.sub, world.profiles[0])
        assert world.look()["cause"] == "generating"
    world.control.disconnect_profile(world.sub, world.profiles[0])
    world.look()

    assert world.types() == ["relink_requested", "relinked", "relinked", "relinked"]
    [asked, *_] = world.outcomes()
    episode = world.services.ledger.account(world.sub).memo.episodes[world.profiles[0]]
    assert (episode.mails, episode.mail_ids) == (1, (asked["detail"]["mail_id"],))


def test_a_user_gets_three_emails_a_day(begin: Begin) -> None:
    """The fourth profile's email waits for a day; if its event does not, a person knows."""
    world = begin(4)
    for number, profile in enumerate(world.profiles):
        world.track(f"e{number}", profile=profile, hours=20 if number == 3 else 48)
        world.control.disconnect_profile(world.sub, profile)
        assert world.look(f"e{number}")["remedy"] == "relink_email"
    world.look("e3")

    assert world.types() == ["relink_requested"] * 3 + ["escalated"]
    assert world.outcomes()[-1]["event_id"] == "e3"
    assert len(world.mails()) == 3
    assert "as soon as a day has passed" in " ".join(reply_to(world, "e3"))


def test_a_removed_profile_is_replaced(begin: Begin) -> None:
    """The only other Zoom profile replaces it, in one write of the whole event; then the link is awaited."""
    world = begin()
    body = world.track()
    world.control.remove_profile(world.sub, world.profiles[0])

    answer = world.look()

    assert (answer["cause"], answer["remedy"]) == ("profile_removed", "reassign_profile")
    (outcome,) = world.outcomes()
    detail = {"from_profile_id": "pro_0", "to_profile_id": "pro_1"}
    assert (outcome["type"], outcome["detail"]) == ("reassigned", detail)
    (write,) = world.writes()
    assert write["body"]["conferencing"] == {"profile_id": "pro_1"}
    assert write["body"]["description"] == body["description"]
    assert "attendees" not in write["body"]
    assert [i["email"] for i in world.control.invitations()] == ["guest@example.org"]
    assert (world.look()["cause"], len(world.writes()), world.types()) == ("generating", 1, ["reassigned"])


@pytest.mark.parametrize(
    ("cause", "certainty", "profiles"),
    [
        pytest.param("profile_removed", "certain", 1, id="removed, no other"),
        pytest.param("profile_removed", "certain", 3, id="removed, two others"),
        pytest.param("missing_meeting_url", "certain", 2, id="no licence"),
        pytest.param("unexplained", "likely", 2, id="overdue, nothing visibly wrong"),
    ],
)
def test_what_only_a_person_can_fix_is_escalated_once(
    begin: Begin, cause: str, certainty: str, profiles: int
) -> None:
    """One outcome and one email, however often it is looked at; nothing is written."""
    world = begin(profiles, grace=0, escalation_email="ops@example.org")
    world.track(hours=0.5, profile="integrated" if cause == "missing_meeting_url" else None)
    if cause == "profile_removed":
        world.control.remove_profile(world.sub, world.profiles[0])
    if cause == "missing_meeting_url":
        assert world.notify("e1", "conferencing_failing", cause) == (world.sub,)

    answers = [world.look() for _ in range(3)]

    assert {(a["state"], a["cause"], a["certainty"], a["remedy"]) for a in answers} == {
        ("pending", cause, certainty, "escalate")
    }
    assert [(o["type"], o["cause"]) for o in world.outcomes()] == [("escalated", cause)]
    assert (world.writes(), world.standing()) == ([], {"waiting"})
    (mail,) = world.mails()
    told = ("ops@example.org", world.sub, world.calendar_id, "e1", "Interview e1", "Possible")
    assert all(word.encode() in mail.message for word in told)


@pytest.mark.parametrize("how", ["deleted", "never there"])
def test_an_event_that_is_gone_is_closed_after_a_second_read(begin: Begin, how: str) -> None:
    """Deleted or not found: confirmed by a read of all time including deleted ones, never created again."""
    world = begin()
    world.track(write=how == "deleted")
    if how == "deleted":
        world.control.delete_event(world.calendar_id, "e1")

    answer = world.look()

    assert (answer["state"], answer["cause"], answer["remedy"]) == ("closed", "event_gone", "close")
    assert answer["certainty"] == ("certain" if how == "deleted" else "likely")
    assert world.types() == ["closed"]
    queries = [r["query"] for r in world.control.requests("/v1/events")]
    assert ["include_deleted" in q for q in queries] == [False, True]
    assert ["from=" in q for q in queries] == [True, False]
    assert world.writes() == []


@under("disconnected_calendars")
@pytest.mark.parametrize("profile", [None, "default"])
def test_a_disconnected_calendar_asks_the_user(
    begin: Begin, traits: dict[str, str], profile: str | None
) -> None:
    """Whatever conferencing was asked for, and whether or not reads go on showing its events."""
    world = begin()
    world.control.set_personality(**traits)
    home = world.account["calendar_profiles"][0]["profile_id"]
    world.track(profile=profile)
    world.control.disconnect_profile(world.sub, home)

    answers = [world.look() for _ in range(2)]

    assert {(a["state"], a["cause"], a["certainty"], a["remedy"]) for a in answers} == {
        ("pending", "credentials_expired", "likely", "relink_email")
    }
    (outcome,) = world.outcomes()
    assert (outcome["type"], outcome["detail"]["profile_id"]) == ("relink_requested", home)
    (mail,) = world.mails()
    assert b"Reconnect your Google calendar" in mail.message
    assert "Google calendar connection" in reply_to(world, "e1")[0]

    world.control.reconnect_profile(world.sub, home)
    assert (world.look()["cause"], world.types()) == ("generating", ["relink_requested", "relinked"])
    assert world.writes() == []


def test_a_hidden_event_of_a_disconnected_calendar_closes_when_it_has_started(begin: Begin) -> None:
    """By its record: nobody knows whether it is gone, and no email mentions it."""
    world = begin(escalation_email="ops@example.org")
    world.control.set_personality(disconnected_calendars="hidden")
    world.track(hours=-1)
    world.control.disconnect_profile(world.sub, world.account["calendar_profiles"][0]["profile_id"])

    answer = world.look()

    assert (answer["state"], answer["cause"], answer["certainty"]) == ("closed", "event_in_past", "likely")
    assert (world.types(), world.mails()) == (["closed"], [])


def test_a_revoked_calendar_is_escalated_once_until_it_is_connected_again(begin: Begin) -> None:
    """Its events are not gone: a person is told, and their wait begins anew once they are read again."""
    world = begin(escalation_email="ops@example.org")
    world.track()
    world.control.remove_profile(world.sub, world.account["calendar_profiles"][0]["profile_id"])

    answers = [world.look() for _ in range(3)]

    assert {(a["state"], a["cause"], a["certainty"], a["remedy"]) for a in answers} == {
        ("pending", "credentials_expired", "likely", "escalate")
    }
    assert world.types() == ["escalated"]
    (mail,) = world.mails()
    assert b"UserInfo does not list its calendar" in mail.message.replace(b"=\r\n", b"")
    assert "calendar connection" in reply_to(world, "e1")[0]
    before = world.stored().event

    world.control.add_calendar_profile(world.sub, calendars=[{"calendar_id": world.calendar_id}])
    assert world.look()["cause"] == "generating"
    after = world.stored().event
    assert (after.asked_at > before.asked_at, after.notified) == (True, ())
    assert world.types() == ["escalated"]


@pytest.mark.parametrize("gone", ["removed", "disconnected"])
def test_an_event_is_not_gone_the_moment_its_calendar_is_connected_again(begin: Begin, gone: str) -> None:
    """Reads may lag behind: only after the grace, counted from then, is it gone."""
    world = begin()
    home = world.account["calendar_profiles"][0]["profile_id"]
    world.track(write=False)
    if gone == "removed":
        world.control.remove_profile(world.sub, home)
    else:
        world.control.disconnect_profile(world.sub, home)
    assert world.look()["cause"] == "credentials_expired"

    if gone == "removed":
        world.control.add_calendar_profile(world.sub, calendars=[{"calendar_id": world.calendar_id}])
    else:
        world.control.reconnect_profile(world.sub, home)
    first, second = world.look(), world.look()

    assert [(a["state"], a["cause"]) for a in (first, second)] == [("pending", "generating")] * 2
    assert "closed" not in world.types()
    looker = world.services.looker
    policy = replace(looker.policy, grace=timedelta(0))
    world.services = replace(world.services, looker=replace(looker, policy=policy))
    assert world.look()["cause"] == "event_gone"


def test_no_event_is_gone_while_userinfo_fails(begin: Begin) -> None:
    """Two reads without it settle nothing: it is looked at again."""
    world = begin()
    world.track(write=False)
    world.control.add_fault("status", status=500, match={"path_prefix": "/v1/userinfo"})

    world.look()

    assert (world.types(), world.stored().event.failures) == ([], 1)
    world.control.clear_faults()
    assert world.look()["cause"] == "event_gone"


@pytest.mark.parametrize("trouble", [None, "removed", "disconnected"])
def test_a_cancelled_event_is_closed_and_left_alone(begin: Begin, trouble: str | None) -> None:
    """Whatever is wrong with its profile, it is not written, and no email mentions it."""
    world = begin(escalation_email="ops@example.org")
    world.track("off")
    world.control.cancel_event(world.calendar_id, "off")
    if trouble == "removed":
        world.control.remove_profile(world.sub, world.profiles[0])
    if trouble == "disconnected":
        world.track("on")
        world.control.disconnect_profile(world.sub, world.profiles[0])
        assert world.look("on")["cause"] == "credentials_expired"

    answer = world.look("off")

    assert (answer["state"], answer["cause"], answer["certainty"]) == ("closed", "event_gone", "certain")
    assert answer["evidence"] == ["Cronofy shows the event as cancelled."]
    assert world.types() == ["relink_requested"] * (trouble == "disconnected") + ["closed"]
    assert world.writes() == []
    assert all(b"Interview off" not in mail.message for mail in world.mails())
