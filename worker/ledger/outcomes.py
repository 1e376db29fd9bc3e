"""Outcomes: every change of an event's standing, as the contract (§3) writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import uuid4

from worker.diagnosis.model import Cause

_to_json = json.JSONEncoder(ensure_ascii=False).encode


class OutcomeType(StrEnum):
    """What happened."""

    #: The conferencing service is down; Cronofy keeps trying.
    DELAYED = "delayed"
    #: The event has its link.
    ASSIGNED = "assigned"
    #: Another profile was set on the event.
    REASSIGNED = "reassigned"
    #: The user was asked to connect a profile again.
    RELINK_REQUESTED = "relink_requested"
    #: The user did.
    RELINKED = "relinked"
    #: A person was told, since only a person can help.
    ESCALATED = "escalated"
    #: The event is past or gone.
    CLOSED = "closed"
    #: Cronofy refuses the account.
    ACCOUNT_LOST = "account_lost"
    #: The account was connected, for the first time or again.
    ACCOUNT_CONNECTED = "account_connected"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One line of the outcomes stream; ids are None where it speaks of more than one event."""

    type: OutcomeType
    sub: str
    at: datetime
    calendar_id: str | None = None
    event_id: str | None = None
    cause: Cause | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The contract's JSON, with an id of its own."""
        return _to_json(
            {
                "id": str(uuid4()),
                "at": self.at.isoformat(timespec="milliseconds"),
                "type": self.type.value,
                "sub": self.sub,
                "calendar_id": self.calendar_id,
                "event_id": self.event_id,
                "cause": self.cause.value if self.cause else None,
                "detail": dict(self.detail),
            }
        )
