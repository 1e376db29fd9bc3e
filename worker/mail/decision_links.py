"""The link in an email about an incident: whoever has it may decide about that one, once, within a week."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import msgpack

from worker.ledger.records import from_ms, to_ms
from worker.ledger.vault import Vault, VaultError

#: How long a link is good for.
GOOD_FOR = timedelta(days=7)
#: Where `reconciler serve` has the page.
PATH = "/decide"
_PLACE = "decision link"


@dataclass(frozen=True, slots=True)
class DecisionLink:
    """What a link says."""

    incident_id: str
    #: Where the email with it went: who decides.
    address: str
    until: datetime


def decision_url(board_url: str, vault: Vault, incident_id: str, address: str, now: datetime) -> str:
    """The link to decide about an incident, made now; `board_url` is the address of `reconciler serve`."""
    token = vault.seal(msgpack.packb([incident_id, address, to_ms(now + GOOD_FOR)]), _PLACE)
    # Without its padding: mail programs may leave that out of a link.
    return f"{board_url.rstrip('/')}{PATH}/{token.decode().rstrip('=')}"


def read_link(vault: Vault, token: str) -> DecisionLink | None:
    """What a link's last part says; None if we did not make it, or no vault key opens it any more."""
    padded = token + "=" * (-len(token) % 4)
    try:
        incident_id, address, until = msgpack.unpackb(vault.open(padded.encode(), _PLACE))
    except (VaultError, ValueError, TypeError):
        return None
    return DecisionLink(incident_id, address, from_ms(until))
