"""Sends composed emails to an SMTP server, or into a directory if none is configured.

An email leaves the outbox only after `send` returned, so it may be sent twice but is never lost; its fixed
Message-ID lets the recipient's side recognise the duplicate.
"""

from __future__ import annotations

import binascii
import re
import smtplib
import socket
import ssl
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager, suppress
from copy import deepcopy
from datetime import timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import SMTP
from enum import StrEnum
from pathlib import Path
from time import monotonic, time
from typing import Final, Protocol
from urllib.parse import quote

from worker.host.private import make_private, write_private
from worker.mail.smtp_url import parse_smtp_url

#: "Authentication required", "too weak", "failed", "needs encryption" (RFC 4954 §6): our configuration is at
#: fault, whichever command they answer.
_LOGIN_FAULTS: Final = frozenset({530, 534, 535, 538})

#: Between attempts with a faulty configuration: many servers lock an account after too many failed logins.
_CONFIGURATION_PAUSE: Final = timedelta(minutes=5)

#: The enhanced status code (RFC 3463) before a reply's text.
_ENHANCED_CODE: Final = re.compile(rb"[245]\.\d{1,3}\.\d{1,3}(?!\S)")

#: What the server did, by what is raised.
_BROKEN: Final = {
    binascii.Error: "gave an invalid answer",
    TimeoutError: "did not answer in time",
    ConnectionRefusedError: "refused the connection",
    socket.gaierror: "could not be found by name",
}

#: In an email kept as a file: which account it is about, so that it can be erased with it.
ACCOUNT: Final = "X-Reconciler-Account"
#: No process takes this long to write an email.
_STALE_SECONDS: Final = 300


class MailError(Exception):
    """This email was not sent, or may not have been.

    The message names the step and the server's code, never credentials, addresses or content; nor does it
    quote the server's text, which might.
    """

    def __init__(self, reason: str, *, permanent: bool = False, retry_after: timedelta | None = None) -> None:
        super().__init__(reason)
        #: True if the same email would be refused again: give up and report it.
        self.permanent = permanent
        #: How long to leave the server alone; None if the caller decides.
        self.retry_after = retry_after


class Mailer(Protocol):
    """Anything that accepts an email for good, or raises MailError."""

    def send(self, message: EmailMessage, sub: str = "") -> None:
        """Send it; `sub` is the account that it is about."""

    def erase(self, sub: str, address: str | None, mail_ids: Collection[str]) -> int:
        """Erase the emails about an account that are kept here; returns how many there were."""


def _on_the_wire(message: EmailMessage) -> bytes:
    return message.as_bytes(policy=message.policy.clone(linesep="\r\n"))


class FileMailer:
    """Keeps each email as `<message-id>.eml` in a directory; the same Message-ID is the same file."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def send(self, message: EmailMessage, sub: str = "") -> None:
        """Write `message` to its file atomically; MailError (not permanent) if that fails."""
        if sub:
            message = deepcopy(message)
            message[ACCOUNT] = quote(sub, safe="")
        name = quote(message["Message-ID"].strip("<>"), safe="@") + ".eml"
        try:
            make_private(self._directory)
            write_private(self._directory / name, _on_the_wire(message))
        except OSError as error:
            raise MailError(f"the email could not be written to a file: {error.strerror}") from error

    def erase(self, sub: str, address: str | None, mail_ids: Collection[str]) -> int:
        """Erase an account's emails: by their header, or if earlier releases wrote them, by what they say."""
        erased = 0
        # What a process left that died while it wrote may be about anyone, and nobody needs it.
        for path in self._directory.glob(".*.tmp"):
            with suppress(OSError):
                if time() - path.stat().st_mtime > _STALE_SECONDS:
                    path.unlink()
        for path in self._directory.glob("*.eml"):
            with suppress(OSError):
                message = BytesParser(EmailMessage, policy=SMTP).parsebytes(path.read_bytes())
                if _is_about(message, sub, address, mail_ids):
                    path.unlink()
                    erased += 1
        return erased


def _is_about(message: EmailMessage, sub: str, address: str | None, mail_ids: Collection[str]) -> bool:
    if ACCOUNT in message:
        return bool(message[ACCOUNT] == quote(sub, safe=""))
    mail_id = str(message["Message-ID"]).strip("<>").rpartition("@")[0]
    if mail_id in {quote(each, safe="") for each in mail_ids}:
        return True
    if message["To"] and any(each.addr_spec == address for each in message["To"].addresses):
        return True
    body = message.get_body(("plain",))
    return body is not None and sub in body.get_content().split()


class _Step(StrEnum):
    """A step of an SMTP conversation, as a reason names it."""

    CONNECT = "while connecting"
    GREETING = "at the greeting"
    EHLO = "at EHLO"
    STARTTLS = "at STARTTLS"
    LOGIN = "at login (AUTH)"
    SENDER = "at the sender (MAIL)"
    RECIPIENT = "at the recipient (RCPT)"
    CONTENT = "at the message (DATA)"
    END = "at the end of the message"


class _Smtp(smtplib.SMTP):
    """A conversation: an open connection, its current step, and its deadline."""

    #: smtplib forgets why a login was refused if the server then hangs up.
    last_reply = (0, b"")
    step = _Step.CONNECT
    ends = 0.0

    def getreply(self) -> tuple[int, bytes]:
        self.last_reply = super().getreply()
        return self.last_reply

    def begin(self, step: _Step) -> None:
        """Move on to this step; TimeoutError if no time is left for it."""
        if monotonic() > self.ends:
            raise TimeoutError
        self.step = step

    def say_hello(self) -> None:
        """Say EHLO, and learn what the server offers."""
        self.begin(_Step.EHLO)
        reply = self.ehlo()
        if reply[0] in {500, 502}:  # an old server, which only knows HELO
            reply = self.helo()
        _expect_success(reply)

    def name_sender(self, sender: Address, *, in_utf8: bool, ours: bool) -> None:
        """Begin an email; `in_utf8`: its addresses and headers are, `ours`: because of an address of ours."""
        if in_utf8 and not self.has_extn("SMTPUTF8"):
            raise _no_utf8(ours=ours)
        self.begin(_Step.SENDER)
        options = ("SMTPUTF8", "BODY=8BITMIME") if in_utf8 else ()
        _expect_success(self.mail(sender.addr_spec, options))


class _SmtpOverTls(_Smtp, smtplib.SMTP_SSL):
    pass


class SmtpMailer:
    """Sends emails through the server of an SMTP URL, one connection each; certificates are verified.

    `timeout` bounds every wait for the server; a conversation that has taken three times as long ends before
    its next step. An answer that trickles in byte by byte is left to the task's time limit.
    """

    def __init__(self, url: str, timeout: timedelta = timedelta(seconds=10)) -> None:
        """Connects to nothing yet; ValueError as in `parse_smtp_url`."""
        self._target = parse_smtp_url(url)
        self._timeout = timeout
        self._tls = None if self._target.security == "none" else ssl.create_default_context()

    def send(self, message: EmailMessage, sub: str = "") -> None:  # noqa: ARG002 - nothing is kept here
        """Return once the server has accepted `message` for its one recipient, otherwise raise MailError.

        Only a 5xx answer to the recipient or the message is permanent. Anything else may pass: a 4xx, a
        broken or slow connection, and configuration faults (login, TLS, sender), for which the email is kept
        until they are fixed. If the connection ends after the message was sent, it may have been accepted;
        that is not permanent either.
        """
        sender, recipient = (message[name].addresses[0] for name in ("From", "To"))
        content = _on_the_wire(message)
        with self._conversation(sender) as talk:
            talk.name_sender(sender, in_utf8=not content.isascii(), ours=recipient.username.isascii())
            talk.begin(_Step.RECIPIENT)
            _expect_success(talk.rcpt(recipient.addr_spec))
            talk.begin(_Step.CONTENT)
            reply = talk.data(content)  # raises if the command itself is refused
            talk.step = _Step.END
            _expect_success(reply)

    def erase(self, sub: str, address: str | None, mail_ids: Collection[str]) -> int:  # noqa: ARG002
        """Nothing is kept here."""
        return 0

    def check(self, sender: Address, *others: Address) -> None:
        """Do all that comes before a recipient is named, so that nothing is sent; MailError as in `send`.

        `others`: further addresses that emails of ours will carry.
        """
        is_ascii = all(address.username.isascii() for address in (sender, *others))
        with self._conversation(sender) as talk:
            talk.name_sender(sender, in_utf8=not is_ascii, ours=True)

    @contextmanager
    def _conversation(self, sender: Address) -> Iterator[_Smtp]:
        """A logged-in connection; an error's meaning depends on the step where it happens."""
        ends = monotonic() + 3 * self._timeout.total_seconds()
        talk = None
        try:
            with closing(self._connect(sender)) as talk:
                talk.ends = ends
                talk.say_hello()
                if self._target.security == "starttls":
                    talk.begin(_Step.STARTTLS)
                    talk.starttls(context=self._tls)
                    talk.say_hello()
                talk.begin(_Step.LOGIN)
                if self._target.user is not None and self._target.password is not None:
                    talk.login(self._target.user, self._target.password)
                yield talk
                with suppress(OSError):  # the server has the email, so a failed QUIT does not matter
                    talk.quit()
        # OSError includes smtplib's, whose text may quote addresses and goes no further; binascii.Error is a
        # challenge at login that cannot be decoded.
        except (OSError, binascii.Error) as error:
            if isinstance(error, smtplib.SMTPServerDisconnected) and talk and talk.last_reply[0] >= 400:
                error = smtplib.SMTPResponseException(*talk.last_reply)
            raise self._judge(talk.step if talk else _Step.CONNECT, error) from None

    def _connect(self, sender: Address) -> _Smtp:
        host, port, timeout = self._target.host, self._target.port, self._timeout.total_seconds()
        # Relays refuse a name without a dot, and many look for it in the DNS, where a container's own name is
        # not. smtplib would look its own name up there too, without a timeout.
        names = (sender.domain, socket.gethostname())
        local = next((name for name in names if "." in name), "[127.0.0.1]")
        if self._target.security == "tls":
            return _SmtpOverTls(host, port, local, timeout=timeout, context=self._tls)
        return _Smtp(host, port, local, timeout=timeout)

    def _judge(self, step: _Step, error: OSError | binascii.Error) -> MailError:
        if isinstance(error, smtplib.SMTPConnectError):
            step = _Step.GREETING
        if isinstance(error, smtplib.SMTPResponseException):
            return _refused(step, error.smtp_code, error.smtp_error)
        if isinstance(error, smtplib.SMTPServerDisconnected) and isinstance(error.__context__, OSError):
            error = error.__context__  # smtplib reports a timeout as "disconnected" too
        if isinstance(error, ssl.SSLCertVerificationError):
            return _misconfigured(f"its certificate was not accepted ({error.verify_message})")
        # The plain SMTPException: the server offers no way to log in that smtplib knows.
        if isinstance(error, smtplib.SMTPNotSupportedError) or type(error) is smtplib.SMTPException:
            return _misconfigured(f"it does not support what the SMTP URL asks for {step}")
        if step is _Step.CONTENT:
            return MailError(
                "the connection to the mail server ended at the message, which may or may not have arrived"
            )
        broke_off = f"broke off the conversation ({type(error).__name__})"
        what = next((what for kind, what in _BROKEN.items() if isinstance(error, kind)), broke_off)
        return MailError(f"the mail server {what}, {step}")


def _expect_success(reply: tuple[int, bytes]) -> None:
    code, text = reply
    if not 200 <= code < 300:
        raise smtplib.SMTPResponseException(code, text)


def _refused(step: _Step, code: int, text: bytes | str) -> MailError:
    enhanced = _ENHANCED_CODE.match(text) if isinstance(text, bytes) else None
    said = f"{code} {enhanced[0].decode()}" if enhanced else f"{code}"
    if 400 <= code < 500:
        return MailError(f"the mail server refused for now with {said}, {step}")
    if not 500 <= code < 600:
        answer = f"an invalid answer ({said})" if code > 0 else "an invalid answer"
        return MailError(f"the mail server gave {answer}, {step}")
    if code in _LOGIN_FAULTS or step not in {_Step.RECIPIENT, _Step.CONTENT, _Step.END}:
        return _misconfigured(f"it answered {said} {step}")
    return MailError(f"the mail server permanently refused the email with {said}, {step}", permanent=True)


def _no_utf8(*, ours: bool) -> MailError:
    """The server does not take an address beyond ASCII: one in our settings, or else the recipient's."""
    if ours:
        return _misconfigured(
            "it does not offer SMTPUTF8, which one of our addresses needs (RECONCILER_MAIL_FROM, "
            "RECONCILER_MAIL_REPLY_TO or RECONCILER_ESCALATION_EMAIL is not ASCII before the @)"
        )
    return MailError(
        "the mail server does not offer SMTPUTF8, which the recipient's address needs: it is not ASCII "
        "before the @",
        permanent=True,
    )


def _misconfigured(what: str) -> MailError:
    return MailError(
        f"the mail server or its settings need fixing: {what}; the email is kept",
        retry_after=_CONFIGURATION_PAUSE,
    )
