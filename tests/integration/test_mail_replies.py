"""Mail servers as they are: the name that they are told, and the step and code of what they refuse."""

from __future__ import annotations

import socket
from dataclasses import replace
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from tests.integration.checked_fleet import CheckedFleet
from tests.integration.test_relink_smtp import SECRETS, Script, scripted_server
from tests.integration.world import Begin
from tests.unit.emails import ENVELOPE, RELINK, composed
from worker.doctor.outside import examine_mail
from worker.mail.smtp import MailError, SmtpMailer
from worker.run.delivery import send_mails

OFFERS = b"250-chatty\r\n250-STARTTLS\r\n250 AUTH CRAM-MD5 PLAIN LOGIN\r\n"


def answering(step: bytes, reply: bytes, heard: list[bytes] | None = None) -> Script:
    """Accept everything but the lines that begin with `step` (b"": the greeting); hang up after a 421."""
    usual = {b"EHLO": OFFERS, b"AUTH": b"235 hello\r\n", b"DATA": b"354 go on\r\n"}

    def play(connection: socket.socket) -> None:
        in_message = False
        connection.sendall(b"220 chatty\r\n" if step else reply)
        for line in connection.makefile("rb"):
            if in_message and line != b".\r\n":
                continue
            if heard is not None:
                heard.append(line)
            command = line.upper()
            answer = reply if command.startswith(step) else usual.get(command[:4], b"250 chatty dana\r\n")
            in_message = answer.startswith(b"354")
            connection.sendall(answer)
            if answer.startswith(b"421"):
                return

    return play


NOW = "the mail server refused for now with {}"
FIX = "the mail server or its settings need fixing: it answered {}; the email is kept"
GONE = "the mail server permanently refused the email with {}"
ODD = "the mail server gave an invalid answer{}"
UNKNOWN = b"250-chatty\r\n250 AUTH XOAUTH2 NTLM\r\n"
UNSUPPORTED = "the mail server or its settings need fixing: it does not support what the SMTP URL asks for {}"

#: The step, the server's reply, and the reason.
REPLIES = {
    "greeting, for now": (b"", b"421 4.3.2 chatty is busy\r\n", NOW, "421 4.3.2, at the greeting"),
    "greeting": (b"", b"554 no chatty here\r\n", FIX, "554 at the greeting"),
    "EHLO, for now": (b"EHLO", b"421 4.7.0 who is chatty?\r\n", NOW, "421 4.7.0, at EHLO"),
    "EHLO": (b"EHLO", b"550 5.7.1 who is chatty?\r\n", FIX, "550 5.7.1 at EHLO"),
    "EHLO and HELO": (b"", b"220 chatty\r\n502 5.5.1 what?\r\n521 5.5.1 no\r\n", FIX, "521 5.5.1 at EHLO"),
    "login, for now": (b"AUTH", b"454 4.7.0 user\r\n", NOW, "454 4.7.0, at login (AUTH)"),
    "login, hanging up": (b"AUTH", b"421 4.7.0 user\r\n", NOW, "421 4.7.0, at login (AUTH)"),
    "login": (b"AUTH", b"535 5.7.8 hunter2?\r\n", FIX, "535 5.7.8 at login (AUTH)"),
    "login, no way we know": (b"EHLO", UNKNOWN, UNSUPPORTED, "at login (AUTH); the email is kept"),
    "login, no base64": (b"AUTH", b"334 a\r\n", ODD, ", at login (AUTH)"),
    "sender, for now": (b"MAIL", b"451 4.1.8 no-reply\r\n", NOW, "451 4.1.8, at the sender (MAIL)"),
    "sender": (b"MAIL", b"550 5.7.60 no-reply\r\n", FIX, "550 5.7.60 at the sender (MAIL)"),
    "recipient, for now": (b"RCPT", b"450 4.2.1 dana\r\n", NOW, "450 4.2.1, at the recipient (RCPT)"),
    "recipient": (b"RCPT", b"550-5.1.1 dana\r\n550 no\r\n", GONE, "550 5.1.1, at the recipient (RCPT)"),
    "recipient, an address": (b"RCPT", b"550 5.1.1.9 listed\r\n", GONE, "550, at the recipient (RCPT)"),
    "recipient, no refusal": (b"RCPT", b"354 dana\r\n", ODD, " (354), at the recipient (RCPT)"),
    "DATA, for now": (b"DATA", b"451 4.3.0 dana\r\n", NOW, "451 4.3.0, at the message (DATA)"),
    "DATA": (b"DATA", b"554 5.5.1 dana\r\n", GONE, "554 5.5.1, at the message (DATA)"),
    "message, for now": (b".", b"452 4.3.1 dana\r\n", NOW, "452 4.3.1, at the end of the message"),
    "message": (b".", b"552 5.3.4 dana\r\n", GONE, "552 5.3.4, at the end of the message"),
}
#: What comes before the first recipient, with the same columns.
FIRST = {name: row for name, row in REPLIES.items() if row[0] not in {b"RCPT", b"DATA", b"."}}


@pytest.mark.parametrize(("step", "reply", "reason", "told"), REPLIES.values(), ids=REPLIES)
def test_a_refusal_is_logged_and_published_with_its_step_and_code(
    begin: Begin, step: bytes, reply: bytes, reason: str, told: str
) -> None:
    """But without the server's text."""
    with scripted_server(answering(step, reply)) as port:
        world = begin(smtp_url=f"smtp://user:hunter2@127.0.0.1:{port}")
        world.control.disconnect_profile(world.sub, "pro_0")
        world.track()
        world.look()
        with capture_logs() as lines:
            send_mails(world.services)

    expected = reason.format(told)
    (line,) = lines
    assert (line["event"], line["reason"]) == (f"mail.{'refused' if reason is GONE else 'put_off'}", expected)
    assert not any(secret in str(line) for secret in SECRETS)
    published = [
        outcome["detail"]["reason"] for outcome in world.outcomes() if outcome["type"] == "escalated"
    ]
    assert published == ([f"An email could not be delivered: {expected}"] if reason is GONE else [])


@pytest.mark.parametrize(("step", "reply", "reason", "told"), FIRST.values(), ids=FIRST)
def test_doctor_tells_step_and_code_of_a_refusal(
    fleet: CheckedFleet, step: bytes, reply: bytes, reason: str, told: str
) -> None:
    with scripted_server(answering(step, reply)) as port:
        fleet.values["smtp_url"] = f"smtp://user:hunter2@127.0.0.1:{port}"
        (finding,) = examine_mail(fleet.settings)

    assert finding.what == reason.format(told).partition(";")[0]


@pytest.mark.parametrize(
    ("reply", "told"),
    [("454 4.7.0 chatty", "with 454 4.7.0, at STARTTLS"), ("501 5.5.4 chatty", "501 5.5.4 at STARTTLS")],
    ids=["for now", "for good"],
)
def test_a_refused_starttls_is_told_with_its_code(reply: str, told: str) -> None:
    with scripted_server(answering(b"STARTTLS", f"{reply}\r\n".encode())) as port:
        mailer = SmtpMailer(f"smtp+starttls://user:hunter2@127.0.0.1:{port}")
        with pytest.raises(MailError) as failed:
            mailer.send(composed(RELINK, ENVELOPE))

    assert told in str(failed.value)
    assert not failed.value.permanent


#: The sender, this host's name, and the name that the server is told.
NAMES = {
    "the sender's domain": ("Us <us@example.org>", "worker-7", "example.org"),
    "before the host's name": ("us@example.org", "worker-7.internal", "example.org"),
    "beyond ASCII": ("us@bücher.example", "worker-7", "xn--bcher-kva.example"),
    "no dot in the domain": ("us@localhost", "worker-7.example.org", "worker-7.example.org"),
    "no dot anywhere": ("us@localhost", "worker-7", "[127.0.0.1]"),
}


@pytest.mark.parametrize(("sender", "host", "name"), NAMES.values(), ids=NAMES)
def test_the_server_is_told_a_name_with_a_dot(
    monkeypatch: pytest.MonkeyPatch, sender: str, host: str, name: str
) -> None:
    """In EHLO: relays refuse a name without one."""
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    heard: list[bytes] = []
    with scripted_server(answering(b"NOTHING", b"", heard)) as port:
        SmtpMailer(f"smtp://127.0.0.1:{port}").send(composed(RELINK, replace(ENVELOPE, sender=sender)))

    assert heard[0] == f"ehlo {name}\r\n".encode()


def test_an_old_server_that_only_knows_helo_gets_the_email() -> None:
    heard: list[bytes] = []
    with scripted_server(answering(b"EHLO", b"502 5.5.1 what?\r\n", heard)) as port:
        SmtpMailer(f"smtp://127.0.0.1:{port}", timedelta(seconds=2)).send(composed(RELINK, ENVELOPE))

    assert heard[1] == b"helo example.org\r\n"
    assert heard[-1] == b"quit\r\n"
