"""The fleet at one moment: the ledger's figures, the broker's queues, the budget's limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from redis import Redis

from config.settings import Settings
from worker.broker.queues import known_queue_lengths
from worker.diagnosis.model import Cause
from worker.ledger.connection import why_no_writes
from worker.ledger.distance import Distance, measure
from worker.ledger.figures import Figures, Spent, read_figures
from worker.ledger.keys import Keys
from worker.wording import spoken

#: How many refused addresses are named.
REFUSALS = 10
#: A sweep is late when this many intervals plus this much time have passed since the last one.
LATE_SWEEPS, LATE_BY = 3, timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class BudgetUse:
    """How many calls the fleet may make, and has made."""

    #: The fleet's share of Cronofy's limits (`RECONCILER_API_SHARE`), for each origin.
    per_second: int
    per_minute: int
    #: Calls in the last minute, by origin; only origins that were ever called.
    used: Mapping[str, int]
    #: No calls before this, after a 429; the latest of all origins.
    paused_until: datetime | None
    #: Cronofy refuses our client id or secret.
    client_refused: bool
    #: Calls of the last five minutes that Cronofy answered, and that failed.
    answered: int = 0
    failed: int = 0
    #: By how many seconds the ledger's clock is ahead of Cronofy's; 0 if it is not off.
    clock: float = 0.0

    @property
    def used_last_minute(self) -> int:
        """Calls in the last minute at the busiest origin, since each has its own limits."""
        return max(self.used.values(), default=0)

    @property
    def as_json(self) -> dict[str, Any]:
        """The contract's fields, and the counts behind them."""
        return {
            "per_second": self.per_second,
            "per_minute": self.per_minute,
            "used_last_minute": self.used_last_minute,
            "used_by_origin": dict(self.used),
            "paused_until": _rfc3339(self.paused_until),
            "client_refused": self.client_refused,
            "answered_last_five_minutes": self.answered,
            "failed_last_five_minutes": self.failed,
        }


@dataclass(frozen=True, slots=True)
class Status(Figures):
    """What `reconciler status` shows; times are the ledger's."""

    budget: BudgetUse
    #: Messages on each queue; None if the broker is away.
    queues: Mapping[str, int | None]
    #: Why the ledger's server takes no writes; None if it does. Nothing can be said of beat and workers then.
    no_writes: str | None
    #: How far the ledger's server is from here.
    distance: Distance
    #: How often a sweep is due.
    sweep_every: timedelta

    @property
    def oldest_pending_seconds(self) -> float | None:
        """How long the oldest pending event has been tracked."""
        return _seconds_since(self.oldest_tracked_at, self.at)

    @property
    def soonest_start(self) -> datetime | None:
        """The next start among pending events."""
        return self.soonest[0].start if self.soonest else None

    @property
    def late_seconds(self) -> float:
        """How long the account that waits longest for a look has been due; 0 if no look is late."""
        return max(0.0, (self.at - self.late_since).total_seconds()) if self.late else 0.0

    @property
    def last_sweep_seconds(self) -> float | None:
        """How long ago the last sweep was; below 0 if the server's clock was set back since."""
        return _seconds_since(self.last_sweep_at, self.at)

    @property
    def sweep_is_late(self) -> bool:
        """Whether beat, or a worker for its ticks, is missing; no age can be below 0."""
        ago = self.last_sweep_seconds
        return ago is None or not -1 <= ago <= (LATE_SWEEPS * self.sweep_every + LATE_BY).total_seconds()

    @property
    def last_sweep(self) -> str:
        """When the last sweep was, in words."""
        ago = self.last_sweep_seconds
        if ago is None:
            return "never"
        if ago < -1:
            return f"{spoken(-ago)} ahead of the server's clock, which was set back"
        return f"{spoken(max(0.0, ago))} ago"

    @property
    def by_cause(self) -> Mapping[Cause, int]:
        """All pending events by cause; those not looked at yet count as `generating`."""
        return {**self.causes, Cause.GENERATING: self.causes[Cause.GENERATING] + self.unseen}

    @property
    def as_json(self) -> dict[str, Any]:
        """The contract's fields (§6), and the table's others."""
        return {
            "at": _rfc3339(self.at),
            "events": {"pending": self.pending, "assigned": self.assigned, "closed": self.closed},
            "causes": {cause.value: count for cause, count in self.by_cause.items()},
            "unseen": self.unseen,
            "parked": self.parked,
            "escalated": self.escalated,
            "acknowledged": self.acknowledged,
            "accounts_lost": self.lost,
            "due": self.due,
            "leased": self.leased,
            "late": self.late,
            "late_seconds": self.late_seconds,
            "outages": [
                {
                    "kind": each.kind,
                    "provider_name": each.provider,
                    "data_center": each.data_center,
                    "since": _rfc3339(each.since),
                    "events": each.events,
                }
                for each in self.outages
            ],
            "without_token": self.without_token,
            "dead_letters": self.dead_letters,
            "dead_letters_dropped": sum(self.letters_dropped.values()),
            "oldest_pending_seconds": self.oldest_pending_seconds,
            "soonest_start": _rfc3339(self.soonest_start),
            "soonest": [
                {
                    "sub": each.sub,
                    "calendar_id": each.calendar_id,
                    "event_id": each.event_id,
                    "start": _rfc3339(each.start),
                    # One not looked at yet, as in `explain`.
                    "cause": each.cause or Cause.GENERATING,
                }
                for each in self.soonest
            ],
            "budget": self.budget.as_json,
            "mail": {
                "queued": self.mail_queued,
                "sent": self.mail_sent,
                "refused": self.mail_refused,
                "refused_addresses": self.refused_addresses,
                "refusals": [refusal.as_json for refusal in self.refusals[:REFUSALS]],
            },
            "outcome_url": {"owed": self.outcomes_owed, "given_up": self.outcomes_given_up},
            "paused": self.paused_since is not None,
            "paused_since": _rfc3339(self.paused_since),
            "queues": dict(self.queues),
            "workers": self.workers,
            "last_sweep_at": _rfc3339(self.last_sweep_at),
            "no_writes": self.no_writes,
        }


def read_status(redis: Redis, settings: Settings) -> Status:
    """Read the ledger and the queue lengths; needs neither Cronofy nor a vault key.

    RedisError if the ledger cannot be read; if only the broker is away, its numbers are None.
    """
    figures = read_figures(redis, Keys(settings.key_prefix))
    return Status(
        **{each.name: getattr(figures, each.name) for each in fields(figures)},
        budget=_budget(settings, figures.spent),
        queues=known_queue_lengths(settings),
        no_writes=why_no_writes(redis),
        distance=measure(redis),
        sweep_every=settings.sweep_every,
    )


def _budget(settings: Settings, spent: tuple[Spent, ...]) -> BudgetUse:
    """The use of this application's budgets; of all budgets if no client id is set."""
    ours = [each for each in spent if settings.cronofy_client_id in (None, each.client_id)]
    used: dict[str, int] = {}
    for each in ours:
        used[each.origin] = used.get(each.origin, 0) + each.last_minute
    return BudgetUse(
        per_second=max(1, int(settings.api_per_second * settings.api_share)),
        per_minute=max(1, int(settings.api_per_minute * settings.api_share)),
        used=used,
        paused_until=max((each.paused_until for each in ours if each.paused_until), default=None),
        client_refused=any(each.refused for each in ours),
        answered=sum(each.answered for each in ours),
        failed=sum(each.failed for each in ours),
        clock=max((each.clock for each in ours), key=abs, default=0.0),
    )


def _seconds_since(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else (now - moment).total_seconds()


def _rfc3339(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds")
