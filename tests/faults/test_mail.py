"""The mail server fails in every way: the outbox keeps an email until it is sent or refused for good."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sandbox.server import RunningSandbox
from tests.faults.record import Record
from tests.integration.world import Begin, World, beginning
from worker.mail.smtp import SmtpMailer
from worker.run.delivery import send_mails
from worker.run.telling import tell_incidents

OPERATOR = "operator@example.org"


@pytest.fixture
def begin(running: RunningSandbox, redis_url: str, prefix: str, tmp_path: Path) -> Iterator[Begin]:
    yield from beginning(running, redis_url, prefix, tmp_path)


@pytest.fixture
def email(begin: Begin, running: RunningSandbox) -> QueuedEmail:
    """A relink email waiting in the outbox."""
    world = begin(smtp_url=running.smtp_url)
    # Unchanged, but with shorter timeouts.
    hurried = SmtpMailer(running.smtp_url, timedelta(seconds=0.5))
    world.services = replace(world.services, mailer=hurried)
    world.control.disconnect_profile(world.sub, "pro_0")
    world.track()
    world.look()
    return QueuedEmail(world)


class QueuedEmail:
    """An email in a world's outbox, and the time until its next try."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ledger = world.services.ledger
        ((self.mail_id, _),) = self._outbox()

    def _outbox(self) -> list[tuple[bytes, float]]:
        found: Any = self.ledger.redis.zrange(f"{self.ledger.prefix}:outbox", 0, -1, withscores=True)
        return list(found)

    @property
    def waits(self) -> bool:
        return [mail_id for mail_id, _ in self._outbox()] == [self.mail_id]

    def try_once(self) -> timedelta:
        """Run the email task; returns how long the email waits for its next try (0: it is gone)."""
        send_mails(self.world.services)
        now = self.ledger.now().timestamp()
        seconds = next((round(due / 1000 - now) for _, due in self._outbox()), 0)
        return timedelta(seconds=seconds)

    def let_time_pass(self) -> None:
        """Let time pass until the email is due again."""
        self.ledger.redis.zadd(f"{self.ledger.prefix}:outbox", {self.mail_id: 0}, xx=True)

    def arrived(self) -> list[str]:
        return [mail["message_id"] for mail in self.world.control.mail()]


def test_an_outage_of_an_hour_only_delays_the_email(
    email: QueuedEmail, running: RunningSandbox, record: Record
) -> None:
    """Each failed try delays the next further, up to a quarter of an hour; then it arrives, once."""
    mailer = email.world.services.mailer
    email.world.services = replace(email.world.services, mailer=SmtpMailer("smtp://127.0.0.1:1"))
    waits: list[timedelta] = []
    while sum(waits, timedelta()) < timedelta(hours=1):
        waits.append(email.try_once())
        assert email.waits
        email.let_time_pass()

    email.world.services = replace(email.world.services, mailer=mailer)
    email.try_once()

    record("The mail server is down for an hour", injected=len(waits), events=1, mails=len(email.arrived()))
    assert waits == sorted(waits)
    assert timedelta(seconds=5) < waits[0] < timedelta(seconds=30)
    assert waits[-1] <= timedelta(minutes=15)
    assert len(waits) < 20
    assert (len(email.arrived()), email.waits) == (1, False)
    assert email.world.types() == ["relink_requested"]


@pytest.mark.parametrize(
    ("trouble", "arrives"),
    [
        *(
            pytest.param({"refuse_status": status, "refuse_at": step}, 1, id=f"{status} to the {step}")
            for step, statuses in {"connect": (421, 554), "sender": (451, 550)}.items()
            for status in statuses
        ),
        pytest.param({"refuse_status": 450, "refuse_at": "recipient"}, 1, id="450 to the recipient"),
        pytest.param({"refuse_status": 452, "refuse_at": "message"}, 1, id="452 to the message"),
        pytest.param({"hang_up": "unkept"}, 1, id="it dies at the message"),
        pytest.param({"hang_up": "kept"}, 3, id="it keeps the message and dies"),
        pytest.param({"delay_seconds": 3.0}, 1, id="it takes too long"),
    ],
)
def test_an_email_that_may_still_arrive_is_kept_until_it_does(
    email: QueuedEmail, record: Record, trouble: dict[str, Any], arrives: int
) -> None:
    """Two tries fail; the third arrives. If one may have arrived, all have the same Message-ID."""
    email.world.control.set_mailbox(**trouble, refuse_times=None if "delay_seconds" in trouble else 2)
    waits = []
    for _ in range(2):
        waits.append(email.try_once())
        assert email.waits
        email.let_time_pass()
    email.world.control.set_mailbox()
    email.try_once()

    arrived = email.arrived()
    record(
        "The mail server refuses for now, hangs up, or is too slow",
        injected=2,
        events=1,
        doubled=len(set(arrived)) - 1,
        mails=len(arrived),
    )
    assert all(wait > timedelta(seconds=4) for wait in waits)
    assert not email.waits
    assert len(arrived) == arrives
    assert len(set(arrived)) == 1
    assert email.world.types() == ["relink_requested"]


@pytest.mark.parametrize(
    ("step", "told"),
    [("recipient", "at the recipient (RCPT)"), ("message", "at the end of the message")],
    ids=["recipient", "message"],
)
def test_an_email_refused_for_good_is_published(
    email: QueuedEmail, record: Record, step: str, told: str
) -> None:
    """It leaves the outbox, and an outcome says so: nobody waits for a user who was never emailed."""
    email.world.control.set_mailbox(refuse_status=550, refuse_at=step, refuse_times=1)

    email.try_once()

    requested, told_of, refused = email.world.outcomes()
    record("The mail server refuses for good", injected=1, events=1)
    assert (email.waits, email.arrived()) == (False, [])
    types = [each["type"] for each in (requested, told_of, refused)]
    assert types == ["relink_requested", "mail_refused", "escalated"]
    assert refused["sub"] == email.world.sub
    assert refused["detail"]["mail_id"] == email.mail_id.decode() == requested["detail"]["mail_id"]
    assert f"permanently refused the email with 550, {told}" in refused["detail"]["reason"]
    assert email.ledger.redis.keys(f"{email.ledger.prefix}:mail:*") == []


@pytest.mark.parametrize(
    "origin",
    [
        pytest.param("http://app.cronofy.com", id="not https"),
        pytest.param("https://cronofy.com.phish.example", id="another host"),
        pytest.param("https://app.cronofy.com@phish.example", id="a user that looks like the host"),
    ],
)
def test_a_relink_url_to_another_host_is_never_emailed(
    begin: Begin, running: RunningSandbox, capfd: pytest.CaptureFixture[str], record: Record, origin: str
) -> None:
    """It is escalated; the user gets nothing, and the URL is shown to nobody."""
    world = begin(smtp_url=running.smtp_url, escalation_email=OPERATOR, escalation_digest=0)
    world.control.set_settings(public_url=origin)
    world.control.disconnect_profile(world.sub, "pro_0")
    world.track()
    world.look()
    tell_incidents(world.services)

    send_mails(world.services)

    mails = world.control.mail()
    outcome = world.outcomes()[0]
    record("A relink URL that leads elsewhere", injected=1, events=1, mails=len(mails))
    assert [mail["to"] for mail in mails] == [[OPERATOR]]
    assert (outcome["type"], outcome["detail"]["event_ids"]) == ("escalated", ["e1"])
    shown = json.dumps([mails, outcome]) + "".join(capfd.readouterr())
    token = world.control.account(world.sub)["conferencing_profiles"][0]["relink_token"]
    assert token not in shown
    assert f"{origin}/" not in shown


def test_what_people_write_arrives_as_text(begin: Begin, running: RunningSandbox) -> None:
    """Two emails, each to its one recipient: line breaks and markup appear as text."""
    at_once = dict.fromkeys(("escalate_after", "grace", "escalation_digest"), "PT0S")
    world = begin(smtp_url=running.smtp_url, escalation_email=OPERATOR, **at_once)
    summary = "Q3\r\nBcc: eve@example.org\r\n\r\n\u202e<b onclick=x>" + "long " * 180
    world.control.disconnect_profile(world.sub, "pro_0")
    world.track("asked", summary=summary)
    world.track("stuck", summary=summary, profile="pro_1")
    for event_id in ("asked", "stuck"):
        world.look(event_id)
    tell_incidents(world.services)

    send_mails(world.services)

    mails = world.control.mail()
    assert sorted(len(mail["to"]) for mail in mails) == [1, 1]
    assert {mail["to"][0] for mail in mails} == {OPERATOR, world.account["email"]}
    for mail in mails:
        assert "\u202e" not in mail["text"] + mail["html"] + mail["subject"]
        assert re.search(r"Q3 Bcc: eve@example\.org <b onclick=x>long", mail["text"])
        assert "Q3 Bcc: eve@example.org &lt;b onclick=x&gt;long" in mail["html"]
        assert "…" in mail["text"]
        assert len(mail["text"]) < 4000
