"""Composes the emails that a look decided on, ready for the outbox."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from email.message import EmailMessage

from worker.ledger.leases import Mail
from worker.ledger.records import TrackedEvent
from worker.mail.compose import (
    Envelope,
    IncidentEmail,
    ReportEmail,
    compose_incident,
    compose_letter,
    compose_report,
    list_id,
    message_id,
)
from worker.mail.connect_links import ConnectLinks
from worker.mail.handover import parts_of
from worker.mail.letters import FallbackEmail, Letter, Letters, Meeting, RelinkEmail, UserEmail


@dataclass(frozen=True, slots=True)
class Emails:
    """Who our emails come from, and where escalations go (contract §4)."""

    sender: str
    reply_to: str | None
    escalation_email: str | None
    letters: Letters
    #: None without a public URL: then nobody is asked to connect a service.
    links: ConnectLinks | None = None

    def relink(
        self, mail_id: str, sub: str, email: RelinkEmail, now: datetime, due: datetime | None = None
    ) -> Mail:
        """The email that asks a user to connect something, to be sent when it is `due`."""
        if email.kind == "connect" and self.links:
            link = self.links.of(sub, email.provider_name or "", email.reader, due or now)
            email = replace(email, relink_url=link)
        return self._letter(mail_id, email, due or now, due)

    def fallback(self, mail_id: str, email: FallbackEmail, now: datetime) -> Mail:
        """The email that tells a user of a meeting's other link."""
        return self._letter(mail_id, email, now)

    def incident(self, mail_id: str, email: IncidentEmail, now: datetime) -> Mail:
        """The email that tells the operator of an incident, or that it is over."""
        envelope = Envelope(self.sender, self.reply_to, message_id(mail_id, self.sender), now)
        return Mail(mail_id, compose_incident(email, envelope).as_bytes())

    def report(self, mail_id: str, email: ReportEmail, now: datetime) -> Mail:
        """The email with the report on a month."""
        envelope = Envelope(self.sender, self.reply_to, message_id(mail_id, self.sender), now)
        return Mail(mail_id, compose_report(email, envelope).as_bytes())

    def _letter(self, mail_id: str, email: UserEmail, now: datetime, due: datetime | None = None) -> Mail:
        letter = self.letters.write(email)
        message = self.message(mail_id, letter, now).as_bytes()
        return Mail(mail_id, message, due, parts_of(email, letter), letter.kind)

    def message(self, mail_id: str, letter: Letter, now: datetime) -> EmailMessage:
        """A letter to a user as an email."""
        head = self.letters.letterhead
        envelope = Envelope(
            self.sender,
            self.reply_to or head.support_address,
            message_id(mail_id, self.sender),
            now,
            message_id(letter.first, self.sender) if letter.first else None,
            list_id(head.application, self.sender),
        )
        return compose_letter(letter, envelope)


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
