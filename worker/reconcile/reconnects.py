"""What the user of a lost account is mailed: the application's own page to connect it again. Pure.

Nothing is looked at while an account is lost, so all reminders are written at once, for when they are due;
connecting the account cancels those that were not sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import quote
from uuid import uuid4

from worker.ledger.records import Account, EventKey, Mailed, to_ms
from worker.mail.letters import RelinkEmail
from worker.reconcile.relinks import (
    Affected,
    RelinkNote,
    RelinkRules,
    deliverable,
    lately,
    may_mail_at,
    reader_of,
)

#: What these emails are counted as, among those about profiles.
KEY = "account"


@dataclass(frozen=True, slots=True)
class ReconnectPlan:
    """What to write now, and what to remember."""

    #: Each with its id and when to send it.
    emails: tuple[tuple[str, RelinkEmail, datetime], ...] = ()
    mailed: Mailed | None = None
    #: For each event that the first one lists: that its user was written to.
    notes: Mapping[EventKey, RelinkNote] = field(default_factory=dict)


def plan_reconnect(
    account: Account, events: Sequence[Affected], now: datetime, rules: RelinkRules
) -> ReconnectPlan:
    """The emails to the user of an account that was just lost.

    None without a page to lead to, an address that the application gave, or an upcoming event. Each lists
    the events that are still to come when it is sent.
    """
    address = account.email or ""
    if rules.reconnect_url is None or not deliverable(address):
        return ReconnectPlan()
    url = rules.reconnect_url.replace("{sub}", quote(account.sub, safe=""))
    mailed = lately(account.mailed, now, rules)
    emails: list[tuple[str, RelinkEmail, datetime]] = []
    notes: dict[EventKey, RelinkNote] = {}
    sent = list(mailed.sent)
    first = may_mail_at(sent, KEY, now, rules)
    for number, after in enumerate((timedelta(0), *rules.reminders)):
        due = max(first + after, may_mail_at(sent, KEY, now, rules))
        ahead = [e for e in events if e.starts_at is None or e.starts_at > due]
        if ahead:
            email = RelinkEmail(
                reader=reader_of(account, address),
                provider_name=None,
                profile_name=None,
                relink_url=url,
                meetings=tuple(event.meeting for event in ahead),
                reminder=number,
                kind="reconnect",
                first=emails[0][0] if emails else None,
            )
            notes = notes or {event.key: RelinkNote(letter=email.title) for event in ahead}
            emails.append((uuid4().hex, email, due))
            sent.append((to_ms(due), KEY))
    return ReconnectPlan(tuple(emails), Mailed(tuple(sent), mailed.over) if emails else None, notes)
