"""The state of a fleet at one moment, read from the ledger: cheap however much is tracked, and only read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from redis import Redis

from config.settings import Settings
from worker.broker.queues import known_queue_lengths
from worker.diagnosis.model import Cause
from worker.ledger.lua import Scripts
from worker.ledger.packing import CAUSES, unpack_event
from worker.ledger.records import DATA_CENTERS, from_ms

#: A worker says every ten seconds that it is there.
SEEN_WITHIN = timedelta(seconds=30)
#: A sweep is late when the last one is so many intervals ago, and this much.
LATE_SWEEPS, LATE_BY = 3, timedelta(seconds=10)
#: How many of the events that start next are named.
SOONEST = 10
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Starting:
    """A pending event that starts soon and has no link yet; `cause` is None before its first look."""

    sub: str
    calendar_id: str
    event_id: str
    start: datetime
    cause: Cause | None

    @property
    def as_json(self) -> dict[str, Any]:
        """For programs; an event not looked at yet is `generating`, as `explain` has it."""
        return {
            "sub": self.sub,
            "calendar_id": self.calendar_id,
            "event_id": self.event_id,
            "start": _rfc3339(self.start),
            "cause": (self.cause or Cause.GENERATING).value,
        }


@dataclass(frozen=True, slots=True)
class Budget:
    """What the fleet may ask of one Cronofy origin, and has asked."""

    #: What the fleet may use of Cronofy's limits (`RECONCILER_API_SHARE` of them), for each origin.
    per_second: int
    per_minute: int
    #: Calls in the last minute, by origin; only origins that were ever asked.
    used: Mapping[str, int]
    #: No call before this, after a 429; the latest of all origins.
    paused_until: datetime | None
    #: Cronofy refuses our client id or secret.
    client_refused: bool

    @property
    def used_last_minute(self) -> int:
        """Calls in the last minute at the origin with the most: each has its own limits."""
        return max(self.used.values(), default=0)

    @property
    def as_json(self) -> dict[str, Any]:
        """The contract's fields, and what the others come from."""
        return {
            "per_second": self.per_second,
            "per_minute": self.per_minute,
            "used_last_minute": self.used_last_minute,
            "used_by_origin": dict(self.used),
            "paused_until": _rfc3339(self.paused_until),
            "client_refused": self.client_refused,
        }


@dataclass(frozen=True, slots=True)
class Status:
    """What `reconciler status` shows; times are the ledger's."""

    at: datetime
    pending: int
    #: How many events ever ended so: totals since the ledger began.
    assigned: int
    closed: int
    #: Pending events by the cause that their last look found; those not looked at yet are `unseen`.
    causes: Mapping[Cause, int]
    unseen: int
    #: Pending events that are looked at no more, since their looks always failed.
    parked: int
    #: Accounts with something to look at now, those whose lease has expired included.
    due: int
    #: Accounts that a worker is looking at.
    leased: int
    dead_letters: int
    #: When the longest tracked of the pending events was tracked.
    oldest_tracked_at: datetime | None
    #: Pending events that start next, the soonest first; those that have started are left out.
    soonest: tuple[Starting, ...]
    budget: Budget
    mail_queued: int
    #: Totals since the ledger began.
    mail_sent: int
    mail_refused: int
    #: When an operator paused the fleet.
    paused_since: datetime | None
    #: Messages on each queue; None where the broker cannot say.
    queues: Mapping[str, int | None]
    #: Workers that were there within the last half minute, and the queues that they take from.
    workers: int
    consumed: frozenset[str]
    last_sweep_at: datetime | None
    #: Totals: every counter of the ledger, by its name there.
    counters: Mapping[str, int]

    @property
    def oldest_pending_seconds(self) -> float | None:
        """How long the longest tracked of the pending events has been tracked."""
        return _seconds_since(self.oldest_tracked_at, self.at)

    @property
    def soonest_start(self) -> datetime | None:
        """The next start among pending events."""
        return self.soonest[0].start if self.soonest else None

    @property
    def last_sweep_seconds(self) -> float | None:
        """How long ago the last sweep was."""
        return _seconds_since(self.last_sweep_at, self.at)

    def sweep_is_late(self, every: timedelta) -> bool:
        """Whether beat, or whoever takes its ticks, is not there."""
        return self.last_sweep_at is None or self.at - self.last_sweep_at > LATE_SWEEPS * every + LATE_BY

    @property
    def by_cause(self) -> Mapping[Cause, int]:
        """Pending events by cause, those not looked at yet as `generating`: the sum is all of them."""
        unseen = {Cause.GENERATING: self.unseen}
        return {cause: self.causes[cause] + unseen.get(cause, 0) for cause in Cause}

    @property
    def as_json(self) -> dict[str, Any]:
        """The contract's fields (§5), and the others of the table."""
        return {
            "at": _rfc3339(self.at),
            "events": {"pending": self.pending, "assigned": self.assigned, "closed": self.closed},
            "causes": {cause.value: count for cause, count in self.by_cause.items()},
            "unseen": self.unseen,
            "parked": self.parked,
            "due": self.due,
            "leased": self.leased,
            "dead_letters": self.dead_letters,
            "oldest_pending_seconds": self.oldest_pending_seconds,
            "soonest_start": _rfc3339(self.soonest_start),
            "soonest": [starting.as_json for starting in self.soonest],
            "budget": self.budget.as_json,
            "mail": {"queued": self.mail_queued, "sent": self.mail_sent, "refused": self.mail_refused},
            "paused": self.paused_since is not None,
            "paused_since": _rfc3339(self.paused_since),
            "queues": dict(self.queues),
            "workers": self.workers,
            "last_sweep_at": _rfc3339(self.last_sweep_at),
        }


def read_status(redis: Redis, settings: Settings) -> Status:
    """Read the ledger, and the broker for the lengths of its queues; needs neither Cronofy nor the vault.

    Raises RedisError where the ledger cannot be read; a broker that is away only leaves its numbers out.
    """
    prefix = settings.key_prefix
    seconds, micros = redis.time()
    now_ms = seconds * 1000 + micros / 1000
    now = from_ms(now_ms)
    seen_after = f"({now_ms - SEEN_WITHIN.total_seconds() * 1000}"
    budgets = sorted(cast("set[bytes]", redis.smembers(f"{prefix}:budgets")))
    with redis.pipeline(transaction=True) as pipeline:
        pipeline.hgetall(f"{prefix}:counters")
        pipeline.zcount(f"{prefix}:waiting", "-inf", now_ms)
        pipeline.zcount(f"{prefix}:leased", "-inf", now_ms)
        pipeline.zcount(f"{prefix}:leased", f"({now_ms}", "+inf")
        pipeline.xlen(f"{prefix}:dead-letters")
        pipeline.zcard(f"{prefix}:outbox")
        pipeline.zrange(f"{prefix}:oldest", 0, 0, withscores=True)
        pipeline.get(f"{prefix}:paused")
        pipeline.get(f"{prefix}:swept")
        pipeline.zrangebyscore(f"{prefix}:workers", seen_after, "+inf")
        for center in DATA_CENTERS:
            pipeline.zcard(f"{prefix}:ready:{center}")
        for key in budgets:
            pipeline.zcount(key, f"({now_ms - MINUTE.total_seconds() * 1000}", "+inf")
            pipeline.pttl(key + b":paused")
            pipeline.exists(key + b":refused")
        answers: list[Any] = pipeline.execute()
    stored, waiting, expired, leased, letters, outbox, oldest, paused, swept, workers, *rest = answers
    ready, spent = rest[: len(DATA_CENTERS)], rest[len(DATA_CENTERS) :]
    counters = {name.decode(): int(value) for name, value in stored.items()}
    return Status(
        at=now,
        pending=counters.get("events:pending", 0),
        assigned=counters.get("outcome:assigned", 0),
        closed=counters.get("outcome:closed", 0),
        causes={cause: counters.get(f"cause:{CAUSES.index(cause)}", 0) for cause in Cause},
        unseen=counters.get("cause:0", 0),
        parked=counters.get("events:parked", 0),
        due=waiting + expired + sum(ready),
        leased=leased,
        dead_letters=letters,
        oldest_tracked_at=from_ms(oldest[0][1]) if oldest else None,
        soonest=_soonest(redis, prefix),
        budget=_budget(settings, budgets, spent, now),
        mail_queued=outbox,
        mail_sent=counters.get("mail:sent", 0),
        mail_refused=counters.get("mail:refused", 0),
        paused_since=from_ms(float(paused)) if paused else None,
        queues=known_queue_lengths(settings),
        workers=len(workers),
        consumed=frozenset(queue for said in workers for queue in json.loads(said)["queues"]),
        last_sweep_at=from_ms(float(swept)) if swept else None,
        counters=counters,
    )


def _soonest(redis: Redis, prefix: str) -> tuple[Starting, ...]:
    flat: list[bytes] = Scripts(redis, prefix).run("soonest", SOONEST)
    found = []
    for sub, value in zip(flat[::2], flat[1::2], strict=True):
        event = unpack_event(value).event
        if event.starts_at is not None:
            key = event.key
            found.append(Starting(sub.decode(), key.calendar_id, key.event_id, event.starts_at, event.cause))
    return tuple(found)


def _budget(settings: Settings, keys: list[bytes], spent: list[Any], now: datetime) -> Budget:
    """Of this application's budgets, where it is set which one that is, else of all."""
    ours = f"{settings.key_prefix}:budget:{settings.cronofy_client_id or ''}"
    used: dict[str, int] = {}
    paused, refused = timedelta(0), False
    for n, key in enumerate(keys):
        application, _, origin = key.decode().rpartition("@")
        if settings.cronofy_client_id and application != ours:
            continue
        calls, pause_ms, is_refused = spent[3 * n : 3 * n + 3]
        used[origin] = used.get(origin, 0) + calls
        paused = max(paused, timedelta(milliseconds=pause_ms))
        refused = refused or bool(is_refused)
    return Budget(
        per_second=max(1, int(settings.api_per_second * settings.api_share)),
        per_minute=max(1, int(settings.api_per_minute * settings.api_share)),
        used=used,
        paused_until=now + paused if paused else None,
        client_refused=refused,
    )


def _seconds_since(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else max(0.0, (now - moment).total_seconds())


def _rfc3339(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds")
