"""Letters to users by the application's own means: a task, a webhook, or not at all."""

from __future__ import annotations

import html
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet

from sandbox.server import RunningSandbox
from tests.integration.ledgers import dump
from tests.integration.world import Begin, World
from tests.receivers import SECRET, Receiver, receiving
from tests.waiting import wait_until
from worker.ledger.reseal import SealedKind, sealed_values
from worker.ledger.vault import Fit
from worker.run import delivery
from worker.run.delivery import send_mails
from worker.run.telling import tell_incidents

QUICK = timedelta(milliseconds=20)
KEY = Fernet.generate_key().decode()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not taken is tried again at once."""
    monkeypatch.setattr(delivery, "FIRST_MAIL_PAUSE", QUICK)
    monkeypatch.setattr(delivery, "LONGEST_MAIL_PAUSE", QUICK)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One that takes everything, unless told otherwise."""
    with receiving() as started:
        yield started


def asked(begin: Begin, running: RunningSandbox, **settings: Any) -> World:
    """A world whose user is to be asked for a profile, and whose operator is told by email."""
    world = begin(smtp_url=running.smtp_url, escalation_email="ops@example.org", **settings)
    ask(world)
    return world


def ask(world: World) -> None:
    """An event waits for a disconnected profile."""
    world.track()
    world.control.disconnect_profile(world.sub, world.profiles[0])
    world.look()


def by_url(receiver: Receiver) -> dict[str, Any]:
    """The settings with which letters are posted to it."""
    return {"user_mail": "url", "mail_url": receiver.url, "mail_secret": SECRET}


def relink_url(world: World) -> str:
    """The link that the user is asked to follow."""
    profiles = world.control.account(world.sub)["conferencing_profiles"]
    return next(str(p["relink_url"]) for p in profiles if p["profile_id"] == world.profiles[0])


def test_a_letter_is_posted_with_all_that_it_was_composed_of(
    begin: Begin, running: RunningSandbox, receiver: Receiver
) -> None:
    """Signed, with its id; no email is sent to the user."""
    world = asked(begin, running, **by_url(receiver))

    assert send_mails(world.services) == 1

    [letter], [requested] = receiver.taken, world.outcomes()
    assert receiver.got[0].headers["webhook-id"] == letter["id"] == requested["detail"]["mail_id"]
    assert (letter["sub"], letter["to"]) == (world.sub, world.account["email"])
    assert (letter["kind"], letter["reminder"], letter["locale"]) == ("relink", 0, "en")
    [meeting] = letter["parts"]["meetings"]
    assert (meeting["event_id"], meeting["summary"]) == ("e1", "Interview e1")
    link, provider = letter["parts"]["link"], letter["parts"]["provider_name"]
    assert provider == "zoom"
    assert "Zoom" in letter["subject"]
    assert link in letter["text"]
    assert link in html.unescape(letter["html"])
    assert "\r" not in letter["text"]
    assert world.control.mail() == []
    assert not world.services.outbox.holds(letter["id"])


def test_the_operators_email_is_sent_as_ever(
    begin: Begin, running: RunningSandbox, receiver: Receiver
) -> None:
    """Only what goes to users takes another way."""
    operator = {"escalation_email": "ops@example.org", "escalation_digest": 0}
    world = begin(smtp_url=running.smtp_url, **operator, **by_url(receiver))
    world.track()
    world.notify("e1", "conferencing_failing", "missing_meeting_url")
    world.look()
    tell_incidents(world.services)

    send_mails(world.services)

    assert [mail["to"] for mail in world.control.mail()] == [["ops@example.org"]]
    assert receiver.got == []


def test_a_receiver_that_fails_half_of_the_time_gets_every_letter(
    begin: Begin, running: RunningSandbox, receiver: Receiver
) -> None:
    """Nothing is lost; what comes twice has the same id."""
    dice = random.Random(3)
    world = asked(begin, running, **by_url(receiver))
    for _ in range(11):
        other = world.another()
        ask(other)
    receiver.answer = lambda _: dice.choice([204, 503])
    ids: Any = world.services.ledger.redis.zrange(world.services.ledger.keys.outbox, 0, -1)
    queued = {mail_id.decode() for mail_id in ids}
    assert len(queued) == 12

    def all_sent() -> bool:
        send_mails(world.services)
        return not world.services.ledger.redis.zcard(world.services.ledger.keys.outbox)

    wait_until(all_sent, 20, what="an empty outbox")

    taken = [letter["id"] for letter in receiver.taken]
    assert sorted(taken) == sorted(queued)
    assert {got.headers["webhook-id"] for got in receiver.got} == queued
    assert len(receiver.got) > len(taken)


def test_a_letter_that_is_never_taken_is_counted_as_late_once(
    begin: Begin, running: RunningSandbox, receiver: Receiver
) -> None:
    """After an hour of tries, so that an alert tells of it; it is tried on."""
    world = asked(begin, running, **by_url(receiver))
    late: list[int] = []

    def refuse(_: int) -> int:
        late.append(world.services.ledger.counters().get("mail:late", 0))
        return 400

    receiver.answer = refuse

    def tried_often() -> bool:
        send_mails(world.services)
        return len(late) > delivery.LATE_AFTER + 1

    wait_until(tried_often, 20, what="more tries than that")

    # As it was before each try.
    assert set(late[: delivery.LATE_AFTER]) == {0}
    assert set(late[delivery.LATE_AFTER :]) == {1}
    assert world.services.ledger.redis.zcard(world.services.ledger.keys.outbox) == 1


def test_a_letter_whose_user_did_it_meanwhile_is_not_posted_any_more(
    begin: Begin, running: RunningSandbox, receiver: Receiver
) -> None:
    """While the receiver was away, the profile came back."""
    receiver.answer = lambda _: 500
    world = asked(begin, running, **by_url(receiver))
    send_mails(world.services)
    assert len(receiver.got) == 1
    receiver.answer = lambda _: 204

    world.control.reconnect_profile(world.sub, world.profiles[0])
    world.look()
    send_mails(world.services)

    assert world.types() == ["relink_requested", "relinked"]
    assert receiver.taken == []


def test_a_letter_goes_to_the_task_sealed(begin: Begin, running: RunningSandbox) -> None:
    """On the broker it shows neither address nor link; its key opens it."""
    settings = {"mail_task": "crm.send", "mail_queue": "crm", "mail_key": KEY}
    world = asked(begin, running, user_mail="task", **settings)
    published: list[tuple[str, dict[str, Any]]] = []

    assert send_mails(world.services, lambda *sent: published.append(sent)) == 1

    [(task_id, kwargs)], [requested] = published, world.outcomes()
    assert task_id == kwargs["id"] == requested["detail"]["mail_id"]
    letter = json.loads(Fernet(KEY).decrypt(kwargs["letter"], ttl=60))
    assert letter["id"] == task_id
    assert letter["to"] == world.account["email"]
    assert not any(secret in json.dumps(kwargs) for secret in (letter["to"], letter["parts"]["link"]))


def test_switched_off_outcomes_say_what_is_owed(begin: Begin, running: RunningSandbox) -> None:
    """When it would have been sent, with the id of what asked for it, and without text, address or link."""
    world = asked(begin, running, user_mail="off")

    assert send_mails(world.services) == 0

    requested, owed = world.outcomes()
    assert (requested["type"], owed["type"]) == ("relink_requested", "mail_owed")
    assert owed["detail"] == {
        "mail_id": requested["detail"]["mail_id"],
        "kind": "relink",
        "reminder": 0,
        "provider_name": "zoom",
        "event_ids": ["e1"],
    }
    assert world.control.mail() == []
    assert send_mails(world.services) == 0
    counters = world.services.ledger.counters()
    assert (counters["mail:owed"], counters["outcome:mail_owed"]) == (1, 1)


def test_the_way_may_change_while_a_letter_waits(
    begin: Begin, running: RunningSandbox, receiver: Receiver
) -> None:
    """It takes the one that is set when it leaves; one that an earlier release wrote is sent as an email."""
    world = asked(begin, running, **by_url(receiver))
    other = world.another()
    ask(other)
    ledger = world.services.ledger
    [requested] = world.outcomes()[:1]
    ledger.redis.hdel(ledger.keys.mail(requested["detail"]["mail_id"]), "parts")
    third = world.another()
    ask(third)

    send_mails(world.services)

    assert sorted(letter["sub"] for letter in receiver.taken) == sorted([other.sub, third.sub])
    assert [mail["to"] for mail in world.control.mail()] == [[world.account["email"]]]

    settings = world.services.settings.model_copy(update={"user_mail": "smtp"})
    fourth = world.another()
    ask(fourth)
    send_mails(replace(world.services, settings=settings))
    assert len(receiver.taken) == 2
    assert len(world.control.mail()) == 2


def test_no_link_is_in_redis_in_clear_and_all_of_a_letter_is_resealed(
    begin: Begin, running: RunningSandbox, receiver: Receiver
) -> None:
    """What it was composed of is sealed beside it, and for its place."""
    world = asked(begin, running, **by_url(receiver))
    ledger = world.services.ledger
    [mails] = [step for step in sealed_values(ledger) if step and step[0].kind is SealedKind.MAILS]
    assert set(mails[0].values) == {"message", "parts"}
    assert mails[0].fit(ledger) is Fit.CURRENT

    send_mails(world.services)
    link = receiver.taken[0]["parts"]["link"]
    ask(world.another())

    assert not [key for key, value in dump(ledger).items() if link.encode() in (value or b"")]
