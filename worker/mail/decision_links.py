"""The link in an email about an incident: whoever has it may decide about that one, for a week."""

from __future__ import annotations

from datetime import datetime, timedelta

from worker.ledger.vault import Vault

#: How long a link is good for.
GOOD_FOR = timedelta(days=7)
PATH = "/decide/"


def decision_url(board_url: str | None, vault: Vault, incident_id: str, now: datetime) -> str | None:
    """The link to decide about an incident; None without the public address of `reconciler serve`."""
    if board_url is None:
        return None
    return board_url.rstrip("/") + PATH + vault.seal_link(incident_id.encode(), now).decode()


def incident_of(vault: Vault, token: str, now: datetime) -> str | None:
    """The id of the incident that a link is about; None if the link was changed, or is too old."""
    plain = vault.open_link(token.encode(), GOOD_FOR, now)
    return plain.decode() if plain is not None else None
