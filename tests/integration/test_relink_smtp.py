"""SmtpMailer against real servers on loopback: what arrives, and how failures are classified."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP as WIRE
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.certificates import Certificate
from tests.ports import free_port
from tests.unit.emails import DANA, ENVELOPE, RELINK, WEEKLY, composed
from worker.mail.smtp import MailError, SmtpMailer

MESSAGE = composed(
    replace(RELINK, reader=replace(DANA, name="Däna"), meetings=(replace(WEEKLY, summary="Wöchentlich"),)),
    replace(ENVELOPE, sender="no-reply@example.org"),
)

#: What no reason may contain: addresses, credentials, the email's text.
SECRETS = ("dana", "no-reply", "user", "hunter2", "s3cret", "chatty")


Script = Callable[[socket.socket], object]


class Inbox:
    """An aiosmtpd handler that keeps what it receives and answers as configured."""

    def __init__(self, rcpt: str = "250 ok", data: str = "250 ok") -> None:
        self.rcpt, self.data = rcpt, data
        self.envelopes: list[Envelope] = []

    async def handle_RCPT(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if self.rcpt.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.rcpt

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        self.envelopes.append(envelope)
        return self.data

    def received(self) -> EmailMessage:
        (envelope,) = self.envelopes
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=WIRE)
        assert isinstance(message, EmailMessage)
        return message


def check_login(
    server: SMTP, session: Session, envelope: Envelope, mechanism: str, login: LoginPassword
) -> AuthResult:
    is_known = (login.login, login.password) == (b"user@example.org", b"hunter2/:")
    return AuthResult(success=is_known, handled=is_known)


@contextmanager
def mail_server(inbox: Inbox, **options: Any) -> Iterator[int]:
    """A real SMTP server on a free loopback port, and the port."""
    controller = Controller(inbox, hostname="127.0.0.1", port=free_port(), **options)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


@contextmanager
def scripted_server(script: Script) -> Iterator[int]:
    """A server that plays `script` on its one connection and then closes it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def play() -> None:
        try:
            with listener.accept()[0] as connection:
                script(connection)
        except OSError:  # the client is gone, which some scripts wait for
            pass

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        thread.join(timeout=5)
        listener.close()
        assert not thread.is_alive()


def failure(mailer: SmtpMailer) -> MailError:
    with pytest.raises(MailError) as failed:
        mailer.send(MESSAGE)
    reason = str(failed.value)
    assert not any(secret in reason for secret in SECRETS)
    assert failed.value.__suppress_context__  # nor does a traceback show what the server said
    return failed.value


def test_mail_arrives_as_composed() -> None:
    """One email, one recipient, the same text on the other side, after a login with decoded credentials."""
    inbox = Inbox()
    with mail_server(inbox, authenticator=check_login, auth_require_tls=False) as port:
        SmtpMailer(f"smtp://user%40example.org:hunter2%2F%3A@127.0.0.1:{port}").send(MESSAGE)

    (envelope,), received = inbox.envelopes, inbox.received()
    assert (envelope.mail_from, envelope.rcpt_tos) == ("no-reply@example.org", ["dana@example.org"])
    assert received["Message-ID"] == "<mail-1@example.org>"
    text = received.get_body(("plain",))
    assert text is not None
    assert "Hello Däna," in text.get_content()
    assert "(Central European Standard Time): Wöchentlich" in text.get_content()


@pytest.mark.parametrize(
    ("answers", "permanent", "reason"),
    [
        pytest.param({"rcpt": "550 no dana"}, True, "refused the email with 550, at the rec", id="550"),
        pytest.param({"rcpt": "450 later"}, False, "refused for now with 450, at the recip", id="450"),
        pytest.param({"rcpt": "530 log in"}, False, "need fixing: it answered 530", id="530"),
        pytest.param({"data": "554 spam"}, True, "refused the email with 554, at the end", id="554"),
        pytest.param({"data": "452 full"}, False, "refused for now with 452, at the end", id="452"),
    ],
)
def test_refusal_is_classified(answers: dict[str, str], permanent: bool, reason: str) -> None:
    """5xx to the recipient or the message is final; 4xx and configuration errors are not."""
    with mail_server(Inbox(**answers)) as port:
        error = failure(SmtpMailer(f"smtp://127.0.0.1:{port}"))
    assert reason in str(error)
    assert error.permanent is permanent


UNSUPPORTED = "does not support what the SMTP URL asks for"


@pytest.mark.parametrize(
    ("scheme", "is_offered", "reason"),
    [
        pytest.param("smtp", True, "it answered 535 5.7.8 at login", id="refused"),
        pytest.param("smtp", False, "what the SMTP URL asks for at login", id="not offered"),
        pytest.param("smtp+starttls", True, "what the SMTP URL asks for at STARTTLS", id="no STARTTLS"),
    ],
)
def test_refused_login_keeps_the_email(scheme: str, is_offered: bool, reason: str) -> None:
    """A login that fails, or cannot be encrypted as asked, is reported and pauses further attempts."""
    inbox = Inbox()
    options = {"authenticator": check_login, "auth_require_tls": False} if is_offered else {}
    with mail_server(inbox, **options) as port:
        error = failure(SmtpMailer(f"{scheme}://user:hunter2@127.0.0.1:{port}"))

    assert reason in str(error)
    assert "need fixing" in str(error)
    assert (error.permanent, error.retry_after) == (False, timedelta(minutes=5))
    assert inbox.envelopes == []


def test_refused_connection_is_retried() -> None:
    """Nothing is listening: try again later."""
    error = failure(SmtpMailer(f"smtp://127.0.0.1:{free_port()}"))
    assert str(error) == "the mail server refused the connection, while connecting"
    assert (error.permanent, error.retry_after) == (False, None)


def converse(connection: socket.socket, *, until: bytes) -> None:
    """Accept everything until a line beginning with `until`; that one stays unanswered."""
    connection.sendall(b"220 chatty\r\n")
    in_message = False
    for line in map(bytes.upper, connection.makefile("rb")):
        if line.startswith(until):
            return
        if line.startswith(b"DATA"):
            in_message = True
            connection.sendall(b"354 go on\r\n")
        elif not in_message or line == b".\r\n":
            in_message = False
            connection.sendall(b"250 chatty dana\r\n")


def says(greeting: bytes) -> Script:
    """Greet like this, and hang up."""
    return lambda connection: connection.sendall(greeting)


def hangs_up_at(line: bytes) -> Script:
    """Accept everything until this line, and hang up."""
    return lambda connection: converse(connection, until=line)


def stall(connection: socket.socket) -> None:
    """Meet every single timeout, but take three times as long in all."""
    for word in (b"220 chatty\r\n", b"250-chatty\r\n", b"250-well\r\n", b"250-let me see\r\n"):
        connection.sendall(word)
        time.sleep(0.25)
    connection.sendall(b"250 ok\r\n")
    connection.recv(1000)


BROKE_OFF = "broke off the conversation (SMTPServerDisconnected), at the "
LATE = "the mail server did not answer in time, while connecting"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        pytest.param(says(b"554 no chatty\r\n"), "need fixing: it answered 554 at the greeting", id="554"),
        pytest.param(says(b"421 busy\r\n"), "refused for now with 421, at the greeting", id="421"),
        pytest.param(says(b""), "broke off the conversation", id="nothing"),
        pytest.param(says(b"HTTP/1.1 400\r\n"), "gave an invalid answer, at the greeting", id="not SMTP"),
        pytest.param(hangs_up_at(b"MAIL"), f"{BROKE_OFF}sender", id="ends at MAIL"),
        pytest.param(hangs_up_at(b"RCPT"), f"{BROKE_OFF}recipient", id="ends at RCPT"),
        pytest.param(
            hangs_up_at(b".\r\n"), "message, which may or may not have arrived", id="ends after DATA"
        ),
        pytest.param(lambda connection: connection.recv(1), LATE, id="silent"),
        pytest.param(stall, "did not answer in time, at EHLO", id="slow"),
    ],
)
def test_a_broken_conversation_is_retried(script: Script, reason: str) -> None:
    """Whatever the server does, the email is kept, and the attempt ends soon; later its fate is unknown."""
    with scripted_server(script) as port:
        began = time.monotonic()
        error = failure(SmtpMailer(f"smtp://127.0.0.1:{port}", timeout=timedelta(seconds=0.3)))
        took = time.monotonic() - began

    assert reason in str(error)
    assert not error.permanent
    assert took < 3


def test_a_connection_lost_at_quit_does_not_undo_a_sent_email() -> None:
    """Once the server accepted the message, a connection that breaks before QUIT changes nothing."""
    with scripted_server(lambda connection: converse(connection, until=b"QUIT")) as port:
        SmtpMailer(f"smtp://127.0.0.1:{port}").send(MESSAGE)


@pytest.mark.parametrize(
    ("scheme", "option"),
    [("smtps", "ssl_context"), ("smtp+starttls", "tls_context")],
    ids=["TLS", "STARTTLS"],
)
def test_tls_is_used_and_verified(
    scheme: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trusted certificate lets the email through; an unknown one does not, and is named as the reason."""
    inbox, certificate = Inbox(), Certificate.made(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate.path, certificate.key)
    with mail_server(inbox, **{option: tls}) as port:
        url = f"{scheme}://127.0.0.1:{port}"
        error = failure(SmtpMailer(url))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.path))
        SmtpMailer(url).send(MESSAGE)

    assert "need fixing: its certificate was not accepted (self-signed certificate)" in str(error)
    assert (error.permanent, error.retry_after) == (False, timedelta(minutes=5))
    assert inbox.received()["To"] == "Däna <dana@example.org>"
