"""Letters: what a user is sent, for whoever sends it by their own means (contract §6).

A letter is the composed email and what it was composed of. The latter is kept beside the email in the outbox,
as its parts; an email to the operator has none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.message import EmailMessage
from typing import Any, Final

from worker.mail.compose import FallbackEmail, Meeting, RelinkEmail, recipient_of

#: The language of what is composed.
LOCALE: Final = "en"


def parts_of(email: RelinkEmail | FallbackEmail) -> bytes:
    """What the letter was composed of, as JSON; it may hold a link that is a secret."""
    if isinstance(email, RelinkEmail):
        meetings, kind, reminder = email.meetings, str(email.kind), email.reminder
        own = {"profile_name": email.profile_name, "link": email.relink_url, "why": None}
    else:
        meetings, kind, reminder = (email.meeting,), "fallback", 0
        own = {"profile_name": None, "link": email.join_url, "why": email.why}
    parts = {"provider_name": email.provider_name, **own, "meetings": [_meeting(each) for each in meetings]}
    letter = {"kind": kind, "reminder": reminder, "locale": LOCALE, "name": email.name, "parts": parts}
    return json.dumps(letter, ensure_ascii=False).encode()


def letter_of(mail_id: str, sub: str, message: EmailMessage, parts: bytes) -> dict[str, Any]:
    """The letter as contract JSON."""
    known = json.loads(parts)
    head = {name: known[name] for name in ("kind", "reminder", "locale")}
    return {
        "id": mail_id,
        "sub": sub,
        **head,
        "to": recipient_of(message),
        "name": known["name"],
        "subject": str(message["Subject"]),
        "text": _content(message, "plain"),
        "html": _content(message, "html"),
        "parts": known["parts"],
    }


def owed_by(mail_id: str, parts: bytes) -> dict[str, Any]:
    """The same as an outcome may say it: what and about which events, but no text, name, address or link."""
    known = json.loads(parts)
    meetings: list[Mapping[str, Any]] = known["parts"]["meetings"]
    return {
        "mail_id": mail_id,
        "kind": known["kind"],
        "reminder": known["reminder"],
        "provider_name": known["parts"]["provider_name"],
        "event_ids": [meeting["event_id"] for meeting in meetings],
    }


def kind_of(parts: bytes | None) -> str:
    """The letter's kind; `operator` for an email to the operator."""
    return "operator" if parts is None else str(json.loads(parts)["kind"])


def _meeting(meeting: Meeting) -> dict[str, Any]:
    return {
        "calendar_id": meeting.calendar_id,
        "event_id": meeting.event_id,
        "summary": meeting.summary,
        "start": meeting.start.isoformat() if meeting.start else None,
        "tzid": meeting.tzid,
    }


def _content(message: EmailMessage, subtype: str) -> str:
    body = message.get_body((subtype,))
    # On the wire a line ends with CR and LF.
    return str(body.get_content()).replace("\r\n", "\n") if body is not None else ""
