"""The last resort at the sandbox: what is written, told and kept, and what can go wrong with it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import SMTP
from typing import Any

import pytest
from cryptography.fernet import Fernet
from redis import Redis

from tests.integration.world import NOW, Begin, World
from tests.waiting import wait_until
from worker.ledger.ledger import Ledger
from worker.ledger.outbox import QueuedMail
from worker.ledger.records import EventKey
from worker.ledger.reseal import reseal
from worker.ledger.vault import Vault
from worker.reconcile.rooms import Rooms
from worker.run import looks

URL = "https://meet.example.com/{key}"
POST = {"method": "POST", "path_prefix": "/v1/"}
EVERY_RUNG = "any_connected,integrated,explicit"


def soon() -> float:
    """In ten minutes, in hours from when the tests began, which may be minutes ago."""
    return (datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=10) - NOW) / timedelta(hours=1)


def near(begin: Begin, profiles: int = 1, fallback: str = "explicit", **settings: Any) -> World:
    """An event that starts soon, and whose profile is disconnected."""
    world = begin(profiles, fallback=fallback, fallback_url=URL, **settings)
    world.track(hours=soon())
    world.control.disconnect_profile(world.sub, world.profiles[0])
    return world


def about(world: World, subject: str) -> list[str]:
    """The texts of the emails with such a subject."""
    return [_text(mail) for mail in world.mails() if subject in _subject(mail)]


def _subject(mail: QueuedMail) -> str:
    return str(message_from_bytes(mail.message, policy=SMTP)["Subject"])


def _text(mail: QueuedMail) -> str:
    body: Any = message_from_bytes(mail.message, policy=SMTP).get_body(("plain",))
    return " ".join(body.get_content().split())


def set_on(world: World) -> list[dict[str, Any]]:
    """What the application's writes set, in order."""
    return [write["body"]["conferencing"] for write in world.writes()]


def test_the_companys_room_is_set_and_its_user_told(begin: Begin) -> None:
    """One write, one outcome and one email, all with the same link; then the event is assigned."""
    world = near(begin)

    answer = world.look()

    assert (answer["cause"], answer["remedy"]) == ("credentials_expired", "fallback")
    said = r"It starts in \d+ minutes?, so the last resort is the company's own room\."
    assert re.fullmatch(said, answer["evidence"][-1])
    [conferencing] = set_on(world)
    link = conferencing["join_url"]
    assert re.fullmatch(r"https://meet\.example\.com/[a-z2-7]{26}", link)
    assert conferencing == {
        "profile_id": "explicit",
        "provider_description": "meet.example.com",
        "join_url": link,
    }
    assert world.types() == ["relink_requested", "fallback"]
    told = world.outcomes()[1]
    mail_id = told["detail"].pop("mail_id")
    assert told["detail"] == {
        "from_profile_id": "pro_0",
        "to_profile_id": "explicit",
        "rung": "explicit",
        "join_url": link,
    }
    mails = {mail.mail_id: mail for mail in world.mails()}
    assert "The connection to its conferencing service has expired." in _text(mails[mail_id])
    assert f"it now has another link: {link} The link is in the calendar entry as well." in _text(
        mails[mail_id]
    )
    assert message_from_bytes(mails[mail_id].message, policy=SMTP)["To"] == world.account["email"]
    assert (world.look()["state"], world.types()[2:]) == ("assigned", ["assigned"])
    assert world.outcomes()[2]["detail"]["join_url"] == link


def test_each_rung_in_turn(begin: Begin) -> None:
    """None twice; the next one only once the one before had its time, and the user is told of each."""
    world = near(begin, 2, EVERY_RUNG, grace=0)

    for _ in range(3):
        assert world.look()["remedy"] == "fallback"

    assert [each["profile_id"] for each in set_on(world)] == ["pro_1", "integrated", "explicit"]
    rungs = [o["detail"]["rung"] for o in world.outcomes() if o["type"] == "fallback"]
    assert rungs == ["any_connected", "integrated", "explicit"]
    assert len(about(world, "another link")) == 3
    assert world.look()["state"] == "assigned"
    assert "reassigned" not in world.types()


def test_the_next_rung_waits_for_the_one_before(begin: Begin) -> None:
    """A look right after it writes nothing, and one is planned for when its time is over."""
    world = near(begin, 2, EVERY_RUNG)
    world.look()

    answer = world.look()

    assert (answer["cause"], answer["remedy"]) == ("generating", "wait")
    assert [each["profile_id"] for each in set_on(world)] == ["pro_1"]
    assert answer["detail"]["last_resort"]["rung"] == "integrated"


def test_a_rung_that_is_refused_makes_room_for_the_next(begin: Begin) -> None:
    """It is told to a person, and not sent again."""
    world = near(begin, 1, "integrated,explicit")
    world.control.add_fault("status", status=422, match=POST, times=1)

    assert world.look()["remedy"] == world.look()["remedy"] == "fallback"

    assert [each["profile_id"] for each in set_on(world)] == ["explicit"]
    assert world.types() == ["relink_requested", "escalated", "fallback"]
    assert world.outcomes()[1]["detail"]["reason"].startswith("Setting the last resort integrated failed: ")


def test_a_write_without_an_answer_is_sent_again_with_the_same_link(begin: Begin) -> None:
    """It did not arrive: the next look reads first, then writes again, and publishes it once."""
    world = near(begin)
    world.control.add_fault("reset", match=POST, times=1)
    world.look()
    first = world.stored().event.writes
    assert (set(first), set_on(world)) == ({"explicit", "rung:explicit"}, [])

    world.look()
    world.look()

    [conferencing] = set_on(world)
    assert conferencing["join_url"] == _link(world)
    assert world.types() == ["relink_requested", "fallback", "assigned"]


def test_a_write_whose_answer_was_lost_is_told_once_seen_in_effect(begin: Begin) -> None:
    """It did arrive: the next look finds the room's link, writes nothing, and tells everybody."""
    world = near(begin, http_timeout=0.3)
    world.control.add_fault("slow", seconds=0.5, match=POST, times=1)
    world.look()
    wait_until(world.writes, what="the write to be carried out")

    assert world.look()["state"] == "assigned"

    assert world.types() == ["relink_requested", "fallback", "assigned"]
    [told] = about(world, "another link")
    assert _link(world) in told
    assert len(set_on(world)) == 1


def test_a_link_that_came_on_its_own_is_not_called_ours(begin: Begin) -> None:
    """The write was lost on its way, and then the service made the link after all."""
    world = near(begin)
    world.control.add_fault("reset", match=POST, times=1)
    world.look()
    world.control.set_settings(generation_seconds=0)
    world.control.reconnect_profile(world.sub, world.profiles[0])
    world.control.create_event(world.sub, world.calendar_id, world.body(hours=soon()))

    assert world.look()["state"] == "assigned"
    assert (set_on(world), about(world, "another link")) == ([], [])
    assert "fallback" not in world.types()


@pytest.mark.parametrize("dry_run", [False, True], ids=["off", "dry run"])
def test_nothing_is_written_or_mailed_if_it_is_off_or_dry(begin: Begin, dry_run: bool) -> None:
    """In a dry run, the diagnosis shows what would be done."""
    world = near(begin, fallback="explicit" if dry_run else "", dry_run=dry_run)

    answer = world.look()

    assert answer["remedy"] == ("fallback" if dry_run else "relink_email")
    assert (set_on(world), about(world, "another link")) == ([], [])


def test_a_disconnected_profile_is_not_taken_from_memory_when_it_is_time(begin: Begin) -> None:
    """Long before, UserInfo alone may tell; now the event itself is read, since it will be written."""
    world = near(begin, fallback="explicit", fallback_before="PT5M")
    assert world.look()["remedy"] == "relink_email"
    world.services.ledger.nudge(world.sub, world.key())
    before = len(world.calls())
    looks.look_at_account(world.services, world.sub)
    assert "GET /v1/events" not in world.calls()[before:]
    policy = world.services.looker.policy
    object.__setattr__(policy, "fallback_before", timedelta(minutes=30))

    world.services.ledger.nudge(world.sub, world.key())
    looks.look_at_account(world.services, world.sub)

    assert [each["profile_id"] for each in set_on(world)] == ["explicit"]


def test_it_may_spend_the_reserve(begin: Begin) -> None:
    """With all that routine looks may use spent, this look is woken and made all the same."""
    world = near(begin, api_per_minute=40, api_per_second=40, api_share=1)
    far = world.another()
    far.track(hours=48)
    cronofy = world.services.looker.cronofy
    budget = cronofy.budget(cronofy.origin("us"))
    for each in (world, far):
        each.services.ledger.nudge(each.sub, each.key())
    while budget.room(timedelta(seconds=1)):
        budget.take()

    woken = looks.sweep(world.services)
    looks.look_at_ready(world.services, 100)

    assert woken == 1
    assert [each["profile_id"] for each in set_on(world)] == ["explicit"]
    assert far.stored().event.last is None


def test_explain_says_what_it_would_do_and_when(begin: Begin) -> None:
    """The rung that fits now, and the moment; nothing is done."""
    world = near(begin, fallback_before="PT5M")

    found = world.explain()

    last_resort = found.answer["detail"]["last_resort"]
    assert (last_resort["rung"], last_resort["to_profile_id"]) == ("explicit", "explicit")
    start = world.stored().event.starts_at
    assert start is not None
    assert last_resort["at"] == (start - timedelta(minutes=5)).isoformat()
    assert set_on(world) == []


def _link(world: World, event_id: str = "e1") -> str:
    rooms = world.services.looker.rooms
    assert rooms is not None
    return rooms.link(world.sub, world.key(event_id))


# Rooms.


def test_every_event_has_a_room_of_its_own_for_good(redis: Redis, prefix: str) -> None:
    """By account, calendar and event id, however the ids are cut; it outlives the vault's keys."""
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    keys = [("a", "b", "c"), ("a", "b", "d"), ("ab", "", "c"), ("a", "bc", ""), ("a", "", "bc")]

    def ledger(*vault_keys: str) -> Ledger:
        return Ledger(redis, prefix, Vault(vault_keys), timedelta(days=1), 1000)

    def links(*vault_keys: str) -> list[str]:
        rooms = Rooms(URL, ledger(*vault_keys).rooms_key)
        return [rooms.link(sub, EventKey(calendar_id, event_id)) for sub, calendar_id, event_id in keys]

    first = links(old)
    assert len(set(first)) == len(keys)
    assert links(new, old) == first
    assert reseal(ledger(new, old), timedelta(seconds=1), lambda _: None)["rooms"] == 1
    assert links(new) == first
