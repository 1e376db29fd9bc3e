"""A mailbox behind a real SMTP server: keeps what it receives; refuses or stalls on request."""

from __future__ import annotations

import asyncio
import email
import email.policy
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Literal, cast

import pydantic
import pydantic.dataclasses
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from sandbox.world.moments import utc_text


@dataclass(frozen=True, slots=True)
class Mail:
    """One received email: the envelope and the message."""

    id: int
    sender: str
    recipients: list[str]
    message: EmailMessage
    received_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def described(self) -> dict[str, Any]:
        """Return the email as the control plane lists it; `from` and `to` are the envelope's."""
        parts = {kind: self.message.get_body((kind,)) for kind in ("plain", "html")}
        texts = {kind: part.get_content() if part else None for kind, part in parts.items()}
        return {
            "id": self.id,
            "from": self.sender,
            "to": self.recipients,
            "subject": str(self.message["Subject"] or ""),
            "message_id": str(self.message["Message-ID"] or ""),
            "text": texts["plain"],
            "html": texts["html"],
            "received_at": utc_text(self.received_at),
        }


@pydantic.dataclasses.dataclass(config=pydantic.ConfigDict(extra="forbid"))
class Manner:
    """How the next emails are handled; a wrong value raises `pydantic.ValidationError`."""

    #: The SMTP status, such as 451 or 550, to refuse with, and at which step.
    refuse_status: int | None = None
    refuse_at: Literal["connect", "sender", "recipient", "message"] = "message"
    #: Drop the connection at the message, after keeping it or not.
    hang_up: Literal["kept", "unkept"] | None = None
    #: How many times to refuse or hang up; None for always.
    refuse_times: int | None = None
    #: Seconds to wait before answering.
    delay_seconds: float = 0.0

    def refusal(self, step: str) -> str | None:
        """Return the answer that refuses an email at this step, or None; counts the refusal."""
        if self.refuse_status is None or self.refuse_at != step or not self._once_more():
            return None
        return f"{self.refuse_status} The sandbox was told to refuse this mail"

    def hangs_up(self, when: str) -> bool:
        """Tell whether to drop the connection now; counts it."""
        return self.hang_up == when and self._once_more()

    def _once_more(self) -> bool:
        if self.refuse_times is not None:
            self.refuse_times -= 1
        return self.refuse_times is None or self.refuse_times >= 0


class Mailbox:
    """The emails received, oldest first, and how the next ones are handled."""

    def __init__(self, directory: Path | None) -> None:
        """Keep emails in memory, and in `directory` as .eml files if one is given."""
        self._directory = directory
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
        #: Those that are open, to be closed with the server.
        self.connections: set[asyncio.Transport] = set()
        self._server: asyncio.Server | None = None
        self.clear()

    def clear(self) -> None:
        """Forget everything received, and accept emails as usual again."""
        self.mails: list[Mail] = []
        self.manner = Manner()

    async def start(self, listener: socket.socket) -> None:
        """Serve SMTP on a bound socket."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Conversation(self), sock=listener)

    async def stop(self) -> None:
        """Stop serving and close open connections."""
        if self._server is None:
            return
        self._server.close()
        for transport in list(self.connections):
            transport.abort()
        await self._server.wait_closed()
        while self.connections:
            await asyncio.sleep(0)

    # aiosmtpd calls these by their names.

    async def handle_MAIL(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if refused := self.manner.refusal("sender"):
            return refused
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if refused := self.manner.refusal("recipient"):
            return refused
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:
        await asyncio.sleep(self.manner.delay_seconds)
        if refused := self.manner.refusal("message"):
            return refused
        if self.manner.hangs_up("unkept"):
            return _hang_up(server)
        raw = envelope.original_content or b""
        message = email.message_from_bytes(raw, policy=email.policy.default)
        mail = Mail(len(self.mails) + 1, envelope.mail_from or "", list(envelope.rcpt_tos), message)
        if self._directory is not None:
            stamp = mail.received_at.strftime("%Y%m%dT%H%M%S.%f")
            (self._directory / f"{stamp}-{mail.id:04d}.eml").write_bytes(raw)
        self.mails.append(mail)
        return _hang_up(server) if self.manner.hangs_up("kept") else "250 OK"


def _hang_up(server: SMTP) -> str:
    """Close the connection; the return value reaches nobody."""
    cast(asyncio.Transport, server.transport).abort()
    return "421 Gone"


class _Conversation(SMTP):
    """One client's connection, known to the mailbox."""

    def __init__(self, mailbox: Mailbox) -> None:
        # A fixed name: aiosmtpd's default asks the resolver, which can take seconds.
        super().__init__(
            mailbox,
            hostname="sandbox.example",
            ident="Sandbox",
            enable_SMTPUTF8=True,
            # Any login is accepted.
            auth_require_tls=False,
            authenticator=lambda *_: AuthResult(success=True),
        )
        self._mailbox = mailbox

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connection = cast(asyncio.Transport, transport)
        self._mailbox.connections.add(self._connection)
        super().connection_made(transport)
        if refused := self._mailbox.manner.refusal("connect"):
            # Before the greeting is written.
            self._connection.write(f"{refused}\r\n".encode())
            self._connection.close()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._mailbox.connections.discard(self._connection)
