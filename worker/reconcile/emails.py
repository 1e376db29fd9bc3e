"""Composes the emails that a look decided on, ready for the outbox."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from email.message import EmailMessage

from worker.ledger.leases import Mail
from worker.ledger.records import TrackedEvent
from worker.mail.compose import (
    Envelope,
    FallbackEmail,
    IncidentEmail,
    Meeting,
    RelinkEmail,
    ReportEmail,
    compose_fallback,
    compose_incident,
    compose_relink,
    compose_report,
    message_id,
)
from worker.mail.connect_links import ConnectLinks
from worker.mail.letters import parts_of


@dataclass(frozen=True, slots=True)
class Emails:
    """Who our emails come from, and where escalations go (contract §4)."""

    sender: str
    reply_to: str | None
    escalation_email: str | None
    #: None without a public URL: then nobody is asked to connect a service.
    links: ConnectLinks | None = None

    def relink(
        self, mail_id: str, sub: str, email: RelinkEmail, now: datetime, due: datetime | None = None
    ) -> Mail:
        """The email that asks a user to connect something, to be sent when it is `due`."""
        if email.kind == "connect" and self.links:
            email = replace(
                email, relink_url=self.links.of(sub, email.provider_name or "", email.to, due or now)
            )
        message = compose_relink(email, self._envelope(mail_id, due or now))
        return _mail(mail_id, message, due, parts_of(email))

    def fallback(self, mail_id: str, email: FallbackEmail, now: datetime) -> Mail:
        """The email that tells a user of a meeting's other link."""
        return _mail(mail_id, compose_fallback(email, self._envelope(mail_id, now)), parts=parts_of(email))

    def incident(self, mail_id: str, email: IncidentEmail, now: datetime) -> Mail:
        """The email that tells the operator of an incident, or that it is over."""
        return _mail(mail_id, compose_incident(email, self._envelope(mail_id, now)))

    def report(self, mail_id: str, email: ReportEmail, now: datetime) -> Mail:
        """The email with the report on a month."""
        return _mail(mail_id, compose_report(email, self._envelope(mail_id, now)))

    def _envelope(self, mail_id: str, now: datetime) -> Envelope:
        return Envelope(self.sender, self.reply_to, message_id(mail_id, self.sender), now)


def meeting_of(event: TrackedEvent) -> Meeting:
    """The event as an email shows it."""
    start = event.start
    return Meeting(
        summary=event.summary,
        start=start.local if start else None,
        tzid=start.tzid if start else None,
        calendar_id=event.key.calendar_id,
        event_id=event.key.event_id,
    )


def _mail(
    mail_id: str, message: EmailMessage, due: datetime | None = None, parts: bytes | None = None
) -> Mail:
    return Mail(mail_id, message.as_bytes(), due, parts)
