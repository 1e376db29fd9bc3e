"""The company's own rooms: one for each event, at an address that nobody can guess and that never changes.

The address has a keyed hash of the event's ids. Its key is random and stays with the ledger: the vault's keys
and the client's secret are rotated, and an event that is tracked again must keep its room.
"""

from __future__ import annotations

import base64
import hmac
import json
from dataclasses import dataclass
from urllib.parse import urlsplit

from worker.ledger.records import EventKey
from worker.ledger.vault import KeptKey


@dataclass(frozen=True, slots=True)
class Rooms:
    """The rooms at `template`: RECONCILER_FALLBACK_URL."""

    template: str
    key: KeptKey

    def link(self, sub: str, event: EventKey) -> str:
        """The address of the event's room."""
        ids = json.dumps([sub, event.calendar_id, event.event_id]).encode()
        named = hmac.digest(self.key.take(), ids, "sha256")[:16]
        # Lower case alone, since some services do not tell it from upper case.
        return self.template.replace("{key}", base64.b32encode(named).decode().rstrip("=").lower())

    @property
    def host(self) -> str:
        """Where the rooms are: what calendars show as the conference's provider."""
        return urlsplit(self.template).hostname or ""
