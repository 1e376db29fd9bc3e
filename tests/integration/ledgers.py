"""An account's events, leases and outcomes, for tests of the ledger."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from worker.diagnosis.model import Cause
from worker.ledger.leases import Lease
from worker.ledger.ledger import Ledger
from worker.ledger.outcomes import Outcome, OutcomeType
from worker.ledger.records import DATA_CENTERS, EventKey, Stored, TrackedEvent, to_ms

LONG, SHORT = timedelta(minutes=1), timedelta(milliseconds=40)
NOW = datetime.now(UTC)
PAST, AHEAD = to_ms(NOW) - 60_000, to_ms(NOW) + 3_600_000


def an_event(
    event_id: str = "e1", *, calendar_id: str = "cal", due: bool = True, hours: float = 24, **fields: Any
) -> TrackedEvent:
    """An event that starts in `hours`; its next look is a minute ago or an hour ahead."""
    start = (NOW + timedelta(hours=hours)).isoformat()
    return TrackedEvent(
        key=EventKey(calendar_id, event_id),
        body={
            "event_id": event_id,
            "summary": "Interview",
            "start": start,
        },
        provider_name="zoom",
        tracked_at=to_ms(NOW),
        asked_at=to_ms(NOW),
        profile_id="pro_1",
        next_look=PAST if due else AHEAD,
        **fields,
    )


def outcome(sub: str = "acc", kind: OutcomeType = OutcomeType.ASSIGNED) -> Outcome:
    """An outcome of an event."""
    return Outcome(kind, sub, NOW, "cal", "e1", Cause.GENERATING)


def claim(ledger: Ledger, sub: str = "acc", lease: timedelta = LONG) -> Lease:
    """Claim an account that nobody holds."""
    claimed = ledger.claim_account(sub, lease)
    assert isinstance(claimed, Lease)
    return claimed


def later(stored: Stored, **fields: Any) -> TrackedEvent:
    """The event after a look, with the next look in an hour."""
    return replace(stored.event, next_look=AHEAD, **fields)


def outcome_count(ledger: Ledger) -> int:
    """The number of outcomes in the stream."""
    return int(ledger.redis.xlen(ledger.keys.outcomes))


def standing(ledger: Ledger, sub: str) -> set[str]:
    """Which of the three sorted sets the account is in."""
    keys = ledger.keys
    places = {
        keys.waiting: "waiting",
        keys.leased: "leased",
        **{keys.ready(dc): "ready" for dc in DATA_CENTERS},
    }
    found = [standing for key, standing in places.items() if ledger.redis.zscore(key, sub) is not None]
    assert len(found) < 2, f"{sub} is in two sets at once"
    return set(found)


def dump(ledger: Ledger) -> dict[bytes, bytes | None]:
    """Every key of the ledger with its serialised value."""
    keys = sorted(ledger.redis.scan_iter(match=f"{ledger.prefix}:*", count=1000))
    return {key: ledger.redis.dump(key) for key in keys}
