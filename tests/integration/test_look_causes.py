"""One look for each of the nine causes: what it finds, publishes and writes, against the sandbox."""

from __future__ import annotations

from datetime import datetime

import pytest

from sandbox.server import RunningSandbox
from tests.integration.world import Begin
from worker.run import looks


def test_an_assigned_event_is_settled(begin: Begin, running: RunningSandbox) -> None:
    """The link is there: published once, with it, without asking UserInfo."""
    running.control.set_settings(generation_seconds=0)
    world = begin()
    world.track()

    answer = world.look()

    assert (answer["state"], answer["cause"], answer["remedy"]) == ("assigned", None, "none")
    (outcome,) = world.outcomes()
    assert (outcome["type"], outcome["event_id"], outcome["detail"]["provider_name"]) == (
        "assigned",
        "e1",
        "zoom",
    )
    assert outcome["detail"]["join_url"] == answer["join_url"]
    assert answer["next_check_at"] is None
    assert world.calls() == ["GET /v1/events"]
    assert (world.standing(), world.look()["state"], len(world.calls())) == (set(), "assigned", 1)


def test_generating_waits(begin: Begin) -> None:
    """Young with nothing wrong: certain, and nothing is published or written."""
    world = begin()
    world.track()

    answer = world.look()

    assert (answer["state"], answer["cause"], answer["certainty"], answer["remedy"]) == (
        "pending",
        "generating",
        "certain",
        "wait",
    )
    assert (world.types(), world.writes(), world.mails()) == ([], [], [])
    assert world.standing() == {"waiting"}
    assert world.calls() == ["GET /v1/events", "GET /v1/userinfo"]


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
    assert (outcome["type"], outcome["event_id"], outcome["detail"]["profile_id"]) == (
        "relink_requested",
        None,
        world.profiles[0],
    )
    assert sorted(outcome["detail"]["event_ids"]) == ["e1", "e2"]
    (mail,) = world.mails()
    assert (mail.mail_id, b"dana@example.org" in mail.message) == (outcome["detail"]["mail_id"], True)

    world.control.reconnect_profile(world.sub, world.profiles[0])
    assert world.look("e1")["cause"] == "generating"
    world.look("e2")
    assert world.types() == ["relink_requested", "relinked"]
    assert world.writes() == []


def test_a_removed_profile_is_replaced(begin: Begin) -> None:
    """The only other Zoom profile replaces it, in one write of the whole event; then the link is awaited."""
    world = begin()
    body = world.track()
    world.control.remove_profile(world.sub, world.profiles[0])

    answer = world.look()

    assert (answer["cause"], answer["certainty"], answer["remedy"]) == (
        "profile_removed",
        "certain",
        "reassign_profile",
    )
    (outcome,) = world.outcomes()
    assert (outcome["type"], outcome["detail"]) == (
        "reassigned",
        {"from_profile_id": "pro_0", "to_profile_id": "pro_1"},
    )
    (write,) = world.writes()
    assert write["body"]["conferencing"] == {"profile_id": "pro_1"}
    assert write["body"]["description"] == body["description"]
    assert "attendees" not in write["body"]
    assert [i["email"] for i in world.control.invitations()] == ["guest@example.org"]
    assert (world.look()["cause"], len(world.writes()), world.types()) == ("generating", 1, ["reassigned"])


@pytest.mark.parametrize("profiles", [1, 3], ids=["no other", "two others"])
def test_a_removed_profile_without_a_clear_replacement_is_escalated_once(begin: Begin, profiles: int) -> None:
    """If none or several fit, a person decides; nothing is written."""
    world = begin(profiles, escalation_email="ops@example.org")
    world.track()
    world.control.remove_profile(world.sub, world.profiles[0])

    answers = [world.look() for _ in range(3)]

    assert {(a["cause"], a["remedy"], a["state"]) for a in answers} == {
        ("profile_removed", "escalate", "pending")
    }
    assert (world.types(), world.writes(), len(world.mails())) == (["escalated"], [], 1)


def test_a_past_event_is_closed(begin: Begin) -> None:
    """Cronofy makes no conference for an event that has begun."""
    world = begin()
    world.track(hours=-1)

    answer = world.look()

    assert (answer["state"], answer["cause"], answer["remedy"]) == ("closed", "event_in_past", "close")
    assert [(o["type"], o["cause"]) for o in world.outcomes()] == [("closed", "event_in_past")]
    assert world.calls() == ["GET /v1/events"]


def test_a_missing_meeting_url_is_escalated_once(begin: Begin) -> None:
    """Somebody must fix the licence: published once, and looks continue."""
    world = begin()
    world.track(profile="integrated")
    assert world.notify("e1", "conferencing_failing", "missing_meeting_url") == (world.sub,)

    answers = [world.look() for _ in range(2)]

    assert {(a["cause"], a["certainty"], a["remedy"]) for a in answers} == {
        ("missing_meeting_url", "certain", "escalate")
    }
    assert [(o["type"], o["cause"]) for o in world.outcomes()] == [("escalated", "missing_meeting_url")]
    assert world.standing() == {"waiting"}


def test_a_provider_outage_is_published_once_as_delayed(begin: Begin) -> None:
    """With its start time, and nothing to do."""
    world = begin()
    world.track()
    world.notify("e1", "conferencing_failing")

    answers = [world.look() for _ in range(2)]

    assert {(a["cause"], a["remedy"]) for a in answers} == {("provider_outage", "wait")}
    (outcome,) = world.outcomes()
    assert (outcome["type"], outcome["cause"], outcome["event_id"]) == ("delayed", "provider_outage", "e1")
    assert datetime.fromisoformat(outcome["detail"]["since"]).tzinfo is not None
    assert world.mails() == []


@pytest.mark.parametrize("how", ["invalid_grant", "scope"])
def test_an_unauthorized_account_is_lost_once_and_wakes_on_connect(begin: Begin, how: str) -> None:
    """No more calls for it, its events stay pending; connecting it again makes all of them due."""
    world = begin()
    for event_id in ("e1", "e2"):
        world.track(event_id)
    if how == "scope":
        world.control.set_scope(world.sub, "write_only")
    else:
        world.control.expire_access_token(world.sub)
        world.control.revoke_refresh_token(world.sub)

    answer = world.look("e1")
    calls = len(world.calls())
    again = looks.reconcile_account(world.services, world.sub)

    assert (answer["state"], answer["cause"], answer["next_check_at"]) == (
        "pending",
        "account_unauthorized",
        None,
    )
    assert {(a["event_id"], a["cause"], a["state"]) for a in again} == {
        ("e1", "account_unauthorized", "pending"),
        ("e2", "account_unauthorized", "pending"),
    }
    assert [(o["type"], o["sub"], o["event_id"]) for o in world.outcomes()] == [
        ("account_lost", world.sub, None)
    ]
    assert (len(world.calls()), world.standing()) == (calls, set())
    # A notification wakes a look at the account by its id.
    world.notify("e1", "conferencing_assigned")
    looks.look_at_account(world.services, world.sub)
    assert (len(world.calls()), world.types(), world.standing()) == (calls, ["account_lost"], set())

    world.control.set_scope(world.sub, "read_write")
    world.control.authorize(world.sub)
    world.connect()
    assert world.standing() == {"ready"}
    assert looks.look_at_ready(world.services, 10).looked_at == 1
    assert {world.stored(e).event.cause for e in ("e1", "e2")} == {"generating"}


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


def test_the_unexplained_is_escalated_once(begin: Begin) -> None:
    """Past its grace, half an hour before its start, and nothing visibly wrong."""
    world = begin(grace=0, escalation_email="ops@example.org")
    world.track(hours=0.5)

    answers = [world.look() for _ in range(2)]

    assert {(a["cause"], a["certainty"], a["remedy"]) for a in answers} == {
        ("unexplained", "likely", "escalate")
    }
    assert [(o["type"], o["cause"]) for o in world.outcomes()] == [("escalated", "unexplained")]
    (mail,) = world.mails()
    assert all(
        word.encode() in mail.message
        for word in ("ops@example.org", world.sub, world.calendar_id, "e1", "Interview e1")
    )
