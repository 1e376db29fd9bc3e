"""When a look asks the application for an account's next access token, and what that changes. Pure.

Each token is asked for once: before it lapses, or when it did or Cronofy refused it, and only while a pending
event needs it. Without a token, looks go on as usual but make no call: they see to it that a person is told
in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from worker.ledger.leases import Lease
from worker.ledger.outcomes import Outcome, OutcomeType
from worker.ledger.records import AccessToken, from_ms, to_ms
from worker.text.amounts import utc

_USELESS = "The account's access token lapsed, or Cronofy refused it, at {at}."


@dataclass(frozen=True, slots=True)
class TokenStep:
    """What is now known of the token, and the outcome that asks for the next one, if it is asked for."""

    token: AccessToken
    outcomes: tuple[Outcome, ...] = ()

    @property
    def since(self) -> datetime:
        """When the token lapses or lapsed."""
        return from_ms(self.token.lapses_at)


def asked_in_time(lease: Lease) -> TokenStep | None:
    """Ask for the next token, if it is time to."""
    token = lease.account.token
    if token is None or token.ask_at is None or token.ask_at > to_ms(lease.now) or not _is_needed(lease):
        return None
    good = token.lapses_at > to_ms(lease.now)
    return _asked(lease, token, "The account's access token lapses at {at}." if good else _USELESS)


def found_useless(lease: Lease) -> TokenStep:
    """The token has lapsed, or Cronofy refuses it: ask for the next, if something needs it and nobody did."""
    now = to_ms(lease.now)
    known = lease.account.token or AccessToken(now, now)
    token = AccessToken(min(known.lapses_at, now), known.ask_at)
    if token.ask_at is None or not _is_needed(lease):
        return TokenStep(token)
    return _asked(lease, token, _USELESS)


def _asked(lease: Lease, token: AccessToken, reason: str) -> TokenStep:
    at = from_ms(token.lapses_at)
    detail = {
        "reason": reason.format(at=utc(at)),
        "lapses_at": at.isoformat(timespec="milliseconds"),
    }
    outcome = Outcome(OutcomeType.TOKEN_NEEDED, lease.sub, lease.now, detail=detail)
    return TokenStep(AccessToken(token.lapses_at), (outcome,))


def _is_needed(lease: Lease) -> bool:
    """Whether a pending event has a use for a token."""
    return any(stored.event.parked is None for stored in lease.events)
