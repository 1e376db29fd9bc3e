"""SmtpMailer against real servers on loopback: what arrives, and how failures are classified."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP as WIRE
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.certificates import Certificate
from tests.ports import free_port
from worker.mail.compose import Envelope as MailEnvelope
from worker.mail.compose import Meeting, RelinkEmail, compose_relink
from worker.mail.smtp import MailError, SmtpMailer

MESSAGE = compose_relink(
    RelinkEmail(
        to="dana@example.org",
        name="Däna",
        provider_name="zoom",
        profile_name=None,
        relink_url="https://app.cronofy.com/relink?t=s3cret",
        meetings=(Meeting("Wöchentlich", datetime(2026, 12, 1, 9, tzinfo=UTC), "Europe/Paris", "c", "e"),),
        reminder=0,
    ),
    MailEnvelope("no-reply@example.org", None, "<mail-1@example.org>", datetime(2026, 11, 30, tzinfo=UTC)),
)

#: What no reason may contain: addresses, credentials, the email's text.
SECRETS = ("dana", "no-reply", "user", "hunter2", "s3cret", "chatty")


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
def scripted_server(script: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that plays `script` on its one connection and then closes it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def play() -> None:
        try:
            with listener.accept()[0] as connection:
                script(connection)
        except OSError:  # the client is gone, which some scripts wait for
            pass

    thread = threading.Thread(target=play)
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
    """One email, one recipient, the same text on the other side."""
    inbox = Inbox()
    with mail_server(inbox) as port:
        SmtpMailer(f"smtp://127.0.0.1:{port}").send(MESSAGE)

    received = inbox.received()
    assert inbox.envelopes[0].mail_from == "no-reply@example.org"
    assert inbox.envelopes[0].rcpt_tos == ["dana@example.org"]
    assert received["Message-ID"] == "<mail-1@example.org>"
    text = received.get_body(("plain",))
    assert text is not None
    assert "Hello Däna," in text.get_content()
    assert "- Tue 1 Dec 2026, 10:00 (Europe/Paris): Wöchentlich" in text.get_content()


@pytest.mark.parametrize(
    ("inbox", "permanent", "reason"),
    [
        pytest.param(
            Inbox(rcpt="550 5.1.1 no dana"),
            True,
            "refused the email with 550, at the recipient",
            id="no user",
        ),
        pytest.param(
            Inbox(rcpt="450 greylisted"),
            False,
            "postponed the email with 450, at the recipient",
            id="greylisted",
        ),
        pytest.param(Inbox(rcpt="530 log in"), False, "need fixing: it answered 530", id="login wanted"),
        pytest.param(
            Inbox(data="554 5.7.1 spam"), True, "refused the email with 554, at the message", id="spam"
        ),
        pytest.param(
            Inbox(data="452 disk full"), False, "postponed the email with 452, at the message", id="disk full"
        ),
    ],
)
def test_refusal_is_classified(inbox: Inbox, permanent: bool, reason: str) -> None:
    """5xx to the recipient or the message is final; 4xx and configuration errors are not."""
    with mail_server(inbox) as port:
        error = failure(SmtpMailer(f"smtp://127.0.0.1:{port}"))

    assert reason in str(error)
    assert error.permanent is permanent


def test_login_succeeds_with_percent_encoded_credentials() -> None:
    """User and password reach the server decoded."""
    inbox = Inbox()
    with mail_server(inbox, authenticator=check_login, auth_require_tls=False) as port:
        SmtpMailer(f"smtp://user%40example.org:hunter2%2F%3A@127.0.0.1:{port}").send(MESSAGE)

    assert len(inbox.envelopes) == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        pytest.param(
            {"authenticator": check_login, "auth_require_tls": False},
            "it answered 535 at login",
            id="refused",
        ),
        pytest.param({}, "does not support what the SMTP URL asks for at login", id="not offered"),
    ],
)
def test_refused_login_keeps_the_email(options: dict[str, object], reason: str) -> None:
    """A failed login is the configuration's fault, reported as such, and pauses further attempts."""
    inbox = Inbox()
    with mail_server(inbox, **options) as port:
        error = failure(SmtpMailer(f"smtp://user:hunter2@127.0.0.1:{port}"))

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


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        pytest.param(b"554 no chatty here\r\n", "need fixing: it answered 554 while connecting", id="554"),
        pytest.param(b"421 busy\r\n", "postponed the email with 421, while connecting", id="421"),
        pytest.param(b"", "broke off the conversation", id="nothing"),
        pytest.param(b"HTTP/1.1 400 chatty\r\n", "gave an invalid answer, while connecting", id="not SMTP"),
    ],
)
def test_unfriendly_greeting_is_retried(greeting: bytes, reason: str) -> None:
    """Whatever a server says instead of a greeting, the email is kept."""
    with scripted_server(lambda connection: connection.sendall(greeting)) as port:
        error = failure(SmtpMailer(f"smtp://127.0.0.1:{port}"))

    assert reason in str(error)
    assert not error.permanent


@pytest.mark.parametrize(
    ("until", "reason"),
    [
        pytest.param(
            b"MAIL", "broke off the conversation (SMTPServerDisconnected), at the sender", id="MAIL"
        ),
        pytest.param(
            b"RCPT", "broke off the conversation (SMTPServerDisconnected), at the recipient", id="RCPT"
        ),
        pytest.param(b".\r\n", "ended at the message, which may or may not have arrived", id="after DATA"),
    ],
)
def test_lost_connection_is_retried(until: bytes, reason: str) -> None:
    """A broken connection is not the email's fault; once the message was sent its fate is unknown."""
    with scripted_server(lambda connection: converse(connection, until=until)) as port:
        error = failure(SmtpMailer(f"smtp://127.0.0.1:{port}"))

    assert reason in str(error)
    assert not error.permanent


def test_silent_server_is_given_up_after_the_timeout() -> None:
    """A server that accepts and says nothing costs one timeout."""

    def listen(connection: socket.socket) -> None:
        connection.recv(1)

    with scripted_server(listen) as port:
        began = time.monotonic()
        error = failure(SmtpMailer(f"smtp://127.0.0.1:{port}", timeout=timedelta(seconds=0.3)))
        took = time.monotonic() - began

    assert str(error) == "the mail server did not answer in time, while connecting"
    assert not error.permanent
    assert 0.2 < took < 3


def test_slow_server_is_given_up_between_two_steps() -> None:
    """A server that meets every single timeout, but takes three times as long in all, gets no email."""

    def stall(connection: socket.socket) -> None:
        for word in (b"220 chatty\r\n", b"250-chatty\r\n", b"250-well\r\n", b"250-let me see\r\n"):
            connection.sendall(word)
            time.sleep(0.25)
        connection.sendall(b"250 ok\r\n")
        connection.recv(1000)

    with scripted_server(stall) as port:
        error = failure(SmtpMailer(f"smtp://127.0.0.1:{port}", timeout=timedelta(seconds=0.3)))

    assert str(error) == "the mail server did not answer in time, while connecting"
    assert not error.permanent


def test_a_connection_lost_at_quit_does_not_undo_a_sent_email() -> None:
    """Once the server accepted the message, a connection that breaks before QUIT changes nothing."""
    with scripted_server(lambda connection: converse(connection, until=b"QUIT")) as port:
        SmtpMailer(f"smtp://127.0.0.1:{port}").send(MESSAGE)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A self-signed certificate with its key for 127.0.0.1."""
    return Certificate.made(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.path, certificate.key)
    return context


@pytest.mark.parametrize(
    ("scheme", "option"),
    [
        pytest.param("smtps", "ssl_context", id="TLS"),
        pytest.param("smtp+starttls", "tls_context", id="STARTTLS"),
    ],
)
def test_tls_is_used_and_verified(
    scheme: str, option: str, tls: ssl.SSLContext, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trusted certificate lets the email through; an unknown one does not, and is named as the reason."""
    inbox = Inbox()
    with mail_server(inbox, **{option: tls}) as port:
        url = f"{scheme}://127.0.0.1:{port}"
        error = failure(SmtpMailer(url))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.path))
        SmtpMailer(url).send(MESSAGE)

    assert "need fixing: its certificate was not accepted (self-signed certificate)" in str(error)
    assert (error.permanent, error.retry_after) == (False, timedelta(minutes=5))
    assert inbox.received()["To"] == "Däna <dana@example.org>"


def test_server_without_starttls_gets_nothing() -> None:
    """If STARTTLS was requested but is not offered, neither credentials nor email are sent in plain text."""
    inbox = Inbox()
    with mail_server(inbox, authenticator=check_login, auth_require_tls=False) as port:
        error = failure(SmtpMailer(f"smtp+starttls://user:hunter2@127.0.0.1:{port}"))

    assert "need fixing: it does not support what the SMTP URL asks for while connecting" in str(error)
    assert not error.permanent
    assert inbox.envelopes == []
