"""The state of the fleet as the ledger knows it; the cost does not grow with what is tracked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from redis import Redis

from worker.diagnosis.model import Cause
from worker.ledger.dead_letters import DROPPED
from worker.ledger.distance import Distance
from worker.ledger.keys import Keys, Scripts
from worker.ledger.packing import CAUSES, readable_event
from worker.ledger.paging import added_at
from worker.ledger.posts import URL
from worker.ledger.records import DATA_CENTERS, from_ms, in_ms
from worker.ledger.refusals import Refusal, unpack_refusals
from worker.ledger.tallies import read_counters

#: A worker reports every ten seconds; after this long without a report it counts as gone.
SEEN_WITHIN = timedelta(seconds=30)
#: How many of the events that start next to show.
SOONEST = 10
#: A look that is due for longer is late.
LATE_AFTER = timedelta(minutes=1)
#: How often a sweep samples the backlog, and how long that is kept: as ``sample`` in ``common.lua``.
SAMPLED_EVERY = timedelta(minutes=5)
SAMPLES_KEPT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Starting:
    """A pending event that starts soon; `cause` is None before its first look."""

    sub: str
    calendar_id: str
    event_id: str
    start: datetime
    cause: Cause | None
    acknowledged: bool = False
    #: It waits together with many others for an outage to end.
    held: bool = False


@dataclass(frozen=True, slots=True)
class Spent:
    """One application's calls to one Cronofy origin."""

    client_id: str
    origin: str
    last_minute: int
    #: No call before this, after a 429.
    paused_until: datetime | None
    #: Cronofy refuses the client id or secret.
    refused: bool
    #: Calls of the last five minutes that Cronofy answered, and that failed.
    answered: int = 0
    failed: int = 0
    #: By how many seconds the ledger's clock is ahead of Cronofy's; 0 if it is not off.
    clock: float = 0.0


@dataclass(frozen=True, slots=True)
class Outage:
    """Something that many events wait for together, or the whole fleet."""

    #: A cause, or a kind of incident of the fleet.
    kind: str
    provider: str | None
    data_center: str
    since: datetime
    #: How many events are held for it.
    events: int


@dataclass(frozen=True, slots=True)
class Figures:
    """The ledger at one moment, `at`; times are the ledger's."""

    at: datetime
    counters: Mapping[str, int]
    #: Accounts with something to look at now, including those whose lease has expired.
    due: int
    leased: int
    #: Accounts that wait for an access token from the application.
    without_token: int
    dead_letters: int
    #: When the pending event that has been tracked longest was tracked.
    oldest_tracked_at: datetime | None
    #: Pending events that start next, soonest first; those that have started are left out.
    soonest: tuple[Starting, ...]
    #: When the next of those that nobody answers for starts.
    soonest_unanswered: datetime | None
    #: Events of which a person was told and that nobody acknowledged, and those that somebody did.
    escalated: int
    acknowledged: int
    #: Those that are escalated again, since their acknowledgement ended.
    came_back: int
    #: When the next of those escalated starts, and its cause.
    soonest_escalated: tuple[datetime, Cause | None] | None
    lost: int
    #: Incidents that have events now.
    open_incidents: int
    mail_queued: int
    #: Since when no email could be sent, and why; None if one could, or none was tried.
    mail_trouble: tuple[datetime, str] | None
    #: Addresses that a mail server refused for good, until that is resolved, and some of them, newest first.
    refused_addresses: int
    refusals: tuple[Refusal, ...]
    #: Outcomes that `RECONCILER_OUTCOME_URL` did not take: those that are tried again, and the others.
    outcomes_owed: int
    outcomes_given_up: int
    paused_since: datetime | None
    last_sweep_at: datetime | None
    #: Workers that reported within `SEEN_WITHIN`.
    workers: int
    #: The queues they take from, each with their hosts.
    consumers: Mapping[str, frozenset[str]]
    #: Hosts of workers whose clock is not the ledger's: by how many seconds it is ahead.
    clocks: Mapping[str, float]
    #: Hosts of workers for which the ledger is slow.
    slow: frozenset[str]
    spent: tuple[Spent, ...]
    outages: tuple[Outage, ...]
    #: Accounts that have been due for longer than `LATE_AFTER`, and since when the first of them.
    late: int
    late_since: datetime

    @property
    def pending(self) -> int:
        return self.counters.get("events:pending", 0)

    @property
    def parked(self) -> int:
        return self.counters.get("events:parked", 0)

    @property
    def unseen(self) -> int:
        """Pending events not looked at yet."""
        return self.counters.get("cause:0", 0)

    @property
    def causes(self) -> Mapping[Cause, int]:
        """The other pending events, by the cause found at their last look."""
        return {cause: self.counters.get(f"cause:{CAUSES.index(cause)}", 0) for cause in Cause}

    @property
    def assigned(self) -> int:
        """Events settled as assigned so far."""
        return self.counters.get("outcome:assigned", 0)

    @property
    def closed(self) -> int:
        """Events settled as closed so far."""
        return self.counters.get("outcome:closed", 0)

    @property
    def letters_dropped(self) -> Mapping[str, int]:
        """Payloads dropped so far, as there were too many dead letters: why they came, and how many."""
        return {why: self.counters.get(f"{DROPPED}{why}", 0) for why in ("refused", "failed")}

    @property
    def mail_sent(self) -> int:
        return self.counters.get("mail:sent", 0)

    @property
    def mail_refused(self) -> int:
        """Emails refused for good so far."""
        return self.counters.get("mail:refused", 0)


def read_figures(redis: Redis, keys: Keys) -> Figures:
    """Read the figures in one atomic step, writing nothing. Raises RedisError if that fails."""
    within = SOONEST, in_ms(SEEN_WITHIN), in_ms(LATE_AFTER)
    answer = Scripts(redis, keys).run("figures", *within, *DATA_CENTERS)
    found: dict[str, Any] = {name.decode(): value for name, value in answer}
    numbers = {name: value for name, value in found.items() if isinstance(value, int)}
    at, counters = from_ms(numbers.pop("at")), found["counters"]
    soonest, (since, reason) = tuple(_starting(found["soonest"])), found["mail_trouble"]
    # The newest last.
    reports = {each["name"]: each for each in map(json.loads, found["workers"])}
    # Celery names a worker NAME@HOST.
    hosts = {name.rpartition("@")[2]: each for name, each in reports.items()}
    taken = {(queue, name.rpartition("@")[2]) for name, each in reports.items() for queue in each["queues"]}
    return Figures(
        at=at,
        counters=read_counters(dict(zip(counters[::2], counters[1::2], strict=True))),
        oldest_tracked_at=_moment(found["oldest_tracked_at"]),
        soonest=soonest[:SOONEST],
        soonest_unanswered=next(
            (each.start for each in soonest if not (each.acknowledged or each.held)), None
        ),
        soonest_escalated=_escalated(*found["soonest_escalated"]) if found["soonest_escalated"] else None,
        mail_trouble=None if since is None else (from_ms(float(since)), reason.decode()),
        refusals=unpack_refusals(zip(found["refusals"][::2], found["refusals"][1::2], strict=True), at),
        paused_since=_moment(found["paused_since"]),
        last_sweep_at=_moment(found["last_sweep_at"]),
        workers=len(reports),
        consumers={queue: frozenset(host for q, host in taken if q == queue) for queue, _ in taken},
        clocks={host: each["clock"] for host, each in hosts.items() if "clock" in each},
        slow=frozenset(host for host, each in hosts.items() if "slow" in each),
        spent=tuple(_spent(keys, budget, at) for budget in sorted(found["budgets"])),
        outages=tuple(_outage(*each) for each in sorted(found["outages"])),
        late_since=from_ms(float(found["late_since"])),
        **numbers,
    )


def _escalated(start: bytes, cause: int) -> tuple[datetime, Cause | None]:
    return from_ms(float(start)), CAUSES[cause] if cause < len(CAUSES) else None


def _moment(ms: bytes | None) -> datetime | None:
    return None if ms is None else from_ms(float(ms))


def _outage(what: bytes, since: bytes, events: int) -> Outage:
    named, _, center = what.decode().partition("@")
    kind, _, provider = named.partition(":")
    return Outage(kind, provider or None, center, from_ms(float(since)), events)


def _starting(soonest: Iterable[tuple[bytes, bytes, bytes, int, int]]) -> Iterable[Starting]:
    for sub, field, value, acknowledged, held in soonest:
        stored = readable_event(field, value)
        if stored and stored.event.starts_at:
            event, key = stored.event, stored.event.key
            ids = sub.decode(), key.calendar_id, key.event_id
            yield Starting(*ids, stored.event.starts_at, event.cause, bool(acknowledged), bool(held))


def _spent(keys: Keys, budget: Sequence[Any], now: datetime) -> Spent:
    key, calls, pause_ms, refused, (well, badly), clock = budget
    client_id, origin = _place(keys, key)
    paused_until = now + timedelta(milliseconds=pause_ms) if pause_ms > 0 else None
    return Spent(client_id, origin, calls, paused_until, bool(refused), well, badly, float(clock))


def _place(keys: Keys, budget: bytes) -> tuple[str, str]:
    """The client id and origin of a budget."""
    client_id, _, origin = budget.decode().removeprefix(keys.budget("")).rpartition("@")
    return client_id, origin


@dataclass(frozen=True, slots=True)
class Sample:
    """The backlog at one moment; the cause None stands for events not looked at yet."""

    at: datetime
    pending: int
    causes: Mapping[Cause | None, int]


def read_backlog(redis: Redis, keys: Keys) -> list[Sample]:
    """The samples of the last day, oldest first."""
    samples = []
    for entry_id, fields in cast("list[tuple[bytes, dict[bytes, bytes]]]", redis.xrange(keys.backlog)):
        counts = read_counters(fields)
        causes = {cause: counts[str(n)] for n, cause in enumerate(CAUSES) if str(n) in counts}
        samples.append(Sample(added_at(entry_id), counts.get("pending", 0), causes))
    return samples


@dataclass(frozen=True, slots=True)
class Worker:
    name: str
    queues: tuple[str, ...]
    seen: datetime


def read_workers(redis: Redis, keys: Keys) -> list[Worker]:
    """The workers that reported within a minute, each as it did last."""
    found = cast("list[tuple[bytes, float]]", redis.zrange(keys.workers, 0, -1, withscores=True))
    seen = {text: from_ms(at) for text, at in found}
    reports = [(json.loads(text), at) for text, at in seen.items()]
    latest = {report["name"]: Worker(report["name"], tuple(report["queues"]), at) for report, at in reports}
    return [latest[name] for name in sorted(latest)]


@dataclass(frozen=True, slots=True)
class Lag:
    """Since when the first of each kind of work waits; None if none does."""

    look: datetime | None
    mail: datetime | None
    outcome: datetime | None


def read_lag(redis: Redis, keys: Keys, now: datetime) -> Lag:
    """How far looks, emails and the delivery of outcomes are behind."""
    due = cast("list[tuple[bytes, float]]", redis.zrange(keys.due, 0, 0, withscores=True))
    mail = cast("list[tuple[bytes, float]]", redis.zrange(keys.outbox, 0, 0, withscores=True))
    # Their ids say when they were published; there are never many.
    owed = cast("list[bytes]", redis.zrange(keys.outcomes_owed(URL), 0, -1))
    published = min(map(added_at, owed), default=None)

    def since(first: list[tuple[bytes, float]]) -> datetime | None:
        return from_ms(first[0][1]) if first and from_ms(first[0][1]) <= now else None

    return Lag(since(due), since(mail), published)


def origins_asked(redis: Redis, keys: Keys) -> frozenset[str]:
    """Every Cronofy origin that was ever called."""
    budgets = cast("set[bytes]", redis.smembers(keys.budgets))
    return frozenset(_place(keys, budget)[1] for budget in budgets)


def announce(
    redis: Redis, keys: Keys, worker: str, queues: Iterable[str], distance: Distance | None = None
) -> None:
    """Report that a worker runs, its queues, and whether its clock is off or the ledger slow."""
    report: dict[str, Any] = {"name": worker, "queues": sorted(queues)}
    if distance and distance.clocks_differ:
        report["clock"] = round(distance.ahead.total_seconds())
    if distance and distance.is_slow:
        report["slow"] = True
    Scripts(redis, keys).run("seen", json.dumps(report))
