"""Addresses beyond ASCII: the domain goes out as IDNA, the rest as UTF-8 if the server takes it."""

from __future__ import annotations

from typing import Any

import pytest
from aiosmtpd.smtp import Envelope
from structlog.testing import capture_logs

from tests.integration.test_relink_smtp import Inbox, mail_server
from tests.integration.world import Begin, World
from worker.doctor.outside import examine_mail
from worker.intake import accept
from worker.intake.payloads import ConnectAccount
from worker.run.delivery import send_mails
from worker.run.telling import tell_incidents

#: Who the address is of, as it was given, and as it is sent.
ADDRESSES = {
    "a domain, by connect_account": ("caller", "dana@bücher.example", "dana@xn--bcher-kva.example"),
    "a domain, by UserInfo": ("cronofy", "dana@bücher.example", "dana@xn--bcher-kva.example"),
    "a domain, of the operator": ("operator", "dana@bücher.example", "dana@xn--bcher-kva.example"),
    "a domain in capitals": ("cronofy", "Dana@BÜCHER.Example", "Dana@xn--bcher-kva.example"),
    "a domain that Python takes for another": ("cronofy", "d@straße.example", "d@xn--strae-oqa.example"),
    "a name, by connect_account": ("caller", "dänä@bücher.example", "dänä@xn--bcher-kva.example"),
    "a name, by UserInfo": ("cronofy", "дана@example.org", "дана@example.org"),
    "a name, of the operator": ("operator", "dänä@example.org", "dänä@example.org"),
}
NO_SMTPUTF8 = (
    "An email could not be delivered: the mail server does not offer SMTPUTF8, which the recipient's address "
    "needs: it is not ASCII before the @"
)


def queued(begin: Begin, whose: str, address: str, **settings: Any) -> World:
    """A world with one email to this address in its outbox."""
    world = begin(grace=0, **settings, **({"escalation_email": address} if whose == "operator" else {}))
    account = world.control.create_account(
        name="Däna Ü",
        conferencing_profiles=[{"provider_name": "zoom", "profile_id": "pro_z"}],
        **({"email": address} if whose == "cronofy" else {}),
    )
    world = World(world.services, world.control, account)
    if whose == "caller":
        tokens = {name: account[name] for name in ("refresh_token", "access_token")}
        accept.connect_account(world.services, ConnectAccount(sub=world.sub, email=address, **tokens))
    world.track(hours=0.5)
    if whose != "operator":
        world.control.disconnect_profile(world.sub, "pro_z")
    world.look()
    tell_incidents(world.services)
    return world


def headers(envelope: Envelope) -> bytes:
    """All that come before the subject: From, To, Reply-To."""
    assert isinstance(envelope.content, bytes)
    return envelope.content.partition(b"\r\nSubject:")[0]


@pytest.mark.parametrize(("whose", "address", "sent"), ADDRESSES.values(), ids=ADDRESSES)
def test_an_email_to_an_address_beyond_ascii_arrives(
    begin: Begin, whose: str, address: str, sent: str
) -> None:
    """In the envelope and in the header."""
    inbox = Inbox()
    with mail_server(inbox) as port:
        send_mails(queued(begin, whose, address, smtp_url=f"smtp://127.0.0.1:{port}").services)

    (envelope,) = inbox.envelopes
    assert envelope.rcpt_tos == [sent]
    assert sent.encode() in headers(envelope)
    assert envelope.smtp_utf8 is not sent.isascii()


@pytest.mark.parametrize(("whose", "address", "sent"), ADDRESSES.values(), ids=ADDRESSES)
def test_only_a_name_beyond_ascii_needs_smtputf8(begin: Begin, whose: str, address: str, sent: str) -> None:
    """From a server without it, such an email is refused for good, in a sentence; others arrive."""
    inbox = Inbox()
    with mail_server(inbox, enable_SMTPUTF8=False) as port:
        world = queued(begin, whose, address, smtp_url=f"smtp://127.0.0.1:{port}")
        with capture_logs() as lines:
            send_mails(world.services)

    arrived = [envelope.rcpt_tos for envelope in inbox.envelopes]
    escalated = [o["detail"] for o in world.outcomes() if o["type"] == "escalated"]
    refused = [detail["reason"] for detail in escalated if "mail_id" in detail]
    if sent.isascii():
        assert (arrived, refused, lines[0]["event"]) == ([[sent]], [], "mail.sent")
    else:
        assert (arrived, refused, lines[0]["event"]) == (
            [],
            [NO_SMTPUTF8],
            "mail.refused",
        )


#: The setting, its value, and the address as it is sent.
OURS = {
    "sender, domain": ("mail_from", "Ü <us@bücher.example>", "us@xn--bcher-kva.example"),
    "sender, name": ("mail_from", "Ü <üs@example.org>", "üs@example.org"),
    "replies, domain": ("mail_reply_to", "us@bücher.example", "us@xn--bcher-kva.example"),
    "replies, name": ("mail_reply_to", "üs@bücher.example", "üs@xn--bcher-kva.example"),
}


@pytest.mark.parametrize("offered", [True, False], ids=["SMTPUTF8", "ASCII only"])
@pytest.mark.parametrize(("setting", "value", "sent"), OURS.values(), ids=OURS)
def test_our_own_addresses_may_be_beyond_ascii(
    begin: Begin, setting: str, value: str, sent: str, offered: bool
) -> None:
    """If the server cannot take one, emails wait, as for any wrong setting, and the doctor says why."""
    inbox = Inbox()
    with mail_server(inbox, enable_SMTPUTF8=offered) as port:
        values = {"smtp_url": f"smtp://127.0.0.1:{port}", setting: value}
        world = queued(begin, "cronofy", "dana@example.org", **values)
        (finding,) = examine_mail(world.services.settings)
        with capture_logs() as lines:
            send_mails(world.services)

    if offered or sent.isascii():
        (envelope,) = inbox.envelopes
        assert sent.encode() in headers(envelope)
        assert setting == "mail_reply_to" or envelope.mail_from == sent
        assert finding.what == "the server answers and accepts our login and sender"
    else:
        assert (inbox.envelopes, lines[0]["event"]) == ([], "mail.put_off")
        assert "it does not offer SMTPUTF8, which one of our addresses needs" in finding.what
        assert finding.what in lines[0]["reason"]
