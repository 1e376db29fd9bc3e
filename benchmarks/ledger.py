"""Ledger: what a claim and a commit cost as the number of tracked events grows, and how large an event is.

A real server with an append-only file, one client on one connection; no Celery, no HTTP, no threads. Each
size has its own server. In every round a thousand accounts of each size become due, the others not for hours;
they are promoted, claimed and committed with the result of a look whose cause did not change. Sizes take
turns within a round, so that other load on the machine affects all of them alike; figures are medians over
the rounds, and each ratio compares two sizes within one round.

What bounds the figures: packing and unpacking the records in Python. The server's own count of time spent
in scripts is shown too.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from statistics import mean, median
from typing import Any

import msgpack
from rich.progress import track as progress

from benchmarks.report import Report, Value
from benchmarks.stage import event_body, redis_server, services, settings_for
from worker.bootstrap import Services
from worker.diagnosis.causes import diagnose
from worker.diagnosis.model import Cause, Observation, Profile, Profiles, Seen
from worker.ledger.keys import source
from worker.ledger.leases import Change, EventChange, Lease
from worker.ledger.ledger import Credentials, Ledger
from worker.ledger.lists import lists_of
from worker.ledger.packing import fingerprint, pack_event
from worker.ledger.records import EventKey, Stored, TrackedEvent, to_ms
from worker.reconcile.verdict import Judged, conclude

#: (events, events per account); the ratios compare with the first.
SIZES = ((10_000, 10), (100_000, 10), (1_000_000, 10), (100_000, 1))
QUICK_SIZES = ((1_000, 10), (10_000, 10))
LEASE = timedelta(minutes=5)
#: Long enough that no account of one round is due again in the next.
RECHECK = timedelta(hours=1)
#: As many as one sweep script moves.
MOVED_AT_A_TIME = 300
#: The bytes of an event's value before its record.
HEADER = 25
#: Accounts per round trip while filling.
PIPELINED = 200

HEADINGS = (
    "events",
    "per account",
    "claim + commit ms",
    "ratio",
    "server ms",
    "server ratio",
    "promote ms",
    "bytes an event",
    "after a look",
)


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one size; all times are milliseconds per account."""

    claim_commit: float
    server: float
    promote: float


@dataclass(slots=True)
class Size:
    """This many tracked events in a server of their own."""

    services: Services
    events: int
    per_account: int
    bytes_per_account: float = 0.0
    bytes_per_event: float = 0.0
    bytes_once_looked_at: float = 0.0
    rounds: list[Round] = field(default_factory=list)

    @property
    def accounts(self) -> int:
        """How many accounts these events belong to."""
        return self.events // self.per_account


def run(quick: bool) -> Report:
    """Fill each size, then measure them in turn."""
    sizes = QUICK_SIZES if quick else SIZES
    due, rounds = (100, 3) if quick else (1_000, 7)
    with ExitStack() as stack:
        staged = []
        for events, per_account in sizes:
            size = Size(_open(stack.enter_context(redis_server())), events, per_account)
            stack.callback(size.services.close)
            _fill(size)
            staged.append(size)
        chance = random.Random(1)  # noqa: S311 - which accounts, and no secret
        for _ in progress(range(rounds), "Measuring in turns", transient=True):
            for size in staged:
                _measure(size, chance.sample(range(size.accounts), due))
    return Report(
        name="ledger",
        title=f"Ledger: {due:,} accounts promoted, claimed and committed, per account",
        headings=HEADINGS,
        rows=[_row(size, staged[0]) for size in staged],
        notes=(
            "Times are for one account and are medians over the rounds; a ratio compares with the first row "
            "in the same round. Server: the part of claim and commit that its scripts took, as it counts.",
            "A commit writes all events of the account. Their bodies have about 400 bytes.",
            "Bytes are what the server's memory grew by, buffers left out. After a look, an event also holds "
            "what was seen and diagnosed. What an account itself weighs is not in them.",
        ),
        settings={"due accounts": due, "rounds": rounds, "seed": 1},
    )


def _open(redis_url: str) -> Services:
    opened = services(
        settings_for(
            redis_url,
            "http://127.0.0.1:9",  # nothing is called
            recheck_min=RECHECK.total_seconds(),
            # Only the events' own bytes count, not the stream's entries about connected accounts.
            outcomes_keep=100,
        )
    )
    # A rewrite of the grown file would take a core while measuring.
    opened.ledger.redis.config_set("auto-aof-rewrite-percentage", 0)
    return opened


def _fill(size: Size) -> None:
    """Connect accounts and track their events, due far in the future; notes the size of both."""
    ledger, what = size.services.ledger, f"{size.events:,} events, {size.per_account} an account"
    at_first = _used_memory(size)
    profile = msgpack.packb({"email": "someone@example.com", "name": "Someone"})
    tokens = Credentials("refresh-token-" + "r" * 32, "access-token-" + "a" * 32)

    def connected(number: int) -> tuple[Any, ...]:
        sub = _sub(number)
        sealed = ledger.seal_credentials(sub, tokens)
        return sub, profile, "us", sealed, '{"type": "account_connected"}', 100, b"", "", "", b""

    for chunk in progress(_chunks(size), f"Connecting {size.accounts:,} accounts", transient=True):
        # A pipeline, which the ledger itself does not use: filling is not measured.
        run_many(size.services.ledger, "connect", [connected(n) for n in chunk])
    with_accounts = _used_memory(size)
    far = datetime.now(UTC) + 6 * RECHECK
    for chunk in progress(_chunks(size), f"Filling {what}", transient=True):
        _track(size, chunk, far)
    if ledger.counters()["events:pending"] != size.events:
        raise SystemExit(f"Not all of {what} are in the ledger: the figures would be meaningless.")
    size.bytes_per_account = (with_accounts - at_first) / size.accounts
    size.bytes_per_event = (_used_memory(size) - with_accounts) / size.events


def _measure(size: Size, due: Sequence[int]) -> None:
    """Make these accounts due, then promote, claim and commit them; only those three are timed."""
    ledger = size.services.ledger
    # Tracking the same events again resets them, so that every round starts alike.
    _track(size, due, datetime.now(UTC) - timedelta(seconds=1))
    light = _event_memory(size, due)
    begun, moved = time.perf_counter(), 0
    while (promotion := ledger.promote(MOVED_AT_A_TIME)).due:
        moved += promotion.due
    promoting = time.perf_counter() - begun
    server_before, looking, looked = _script_seconds(size), 0.0, set()
    for _ in due:
        begun = time.perf_counter()
        lease = ledger.claim(LEASE)
        looking += time.perf_counter() - begun
        if lease is None:
            raise SystemExit("Fewer accounts were ready than had been made due.")
        change = Change([_look(size, lease, stored) for stored in lease.events])
        begun = time.perf_counter()
        committed = ledger.commit(lease, change)
        looking += time.perf_counter() - begun
        if committed.changed or len(change.events) != size.per_account:
            raise SystemExit(f"A commit of {lease.sub} did not write all of its events.")
        looked.add(lease.sub)
    serving = _script_seconds(size) - server_before
    if moved != len(due) or looked != {_sub(n) for n in due} or ledger.claim(LEASE):
        raise SystemExit("Other accounts were looked at than those that were made due.")
    size.bytes_once_looked_at = size.bytes_per_event + _event_memory(size, due) - light
    per_account = 1000 / len(due)
    size.rounds.append(Round(looking * per_account, serving * per_account, promoting * per_account))


def _look(size: Size, lease: Lease, stored: Stored) -> EventChange:
    """What a look makes of an event that is still pending with nothing wrong: a later next look."""
    seen = Seen(stored.event.start, stored.event.end, stored.event.summary, event_uid="evt_external_5f1a2b3c")
    event = stored.event.saw(seen, lease.now)
    profiles = Profiles((Profile(event.profile_id or "", "zoom", "someone@example.com", connected=True),))
    policy = size.services.looker.policy
    diagnosis = diagnose(event.request, Observation(seen, profiles), lease.now, policy)
    if diagnosis.cause is not Cause.GENERATING:
        raise SystemExit(f"The events should be waiting; one was diagnosed as {diagnosis.cause}.")
    judged = Judged(stored, event, diagnosis, seen)
    return conclude(lease.sub, judged, lease.now, policy).change


def _row(size: Size, smallest: Size) -> dict[str, Value]:
    pairs = list(zip(size.rounds, smallest.rounds, strict=True))
    # Accounts with a different number of events are a different amount of work.
    comparable = size is not smallest and size.per_account == smallest.per_account
    return {
        "events": size.events,
        "per account": size.per_account,
        "claim + commit ms": median(r.claim_commit for r in size.rounds),
        "ratio": median(r.claim_commit / s.claim_commit for r, s in pairs) if comparable else None,
        "server ms": median(r.server for r in size.rounds),
        "server ratio": median(r.server / s.server for r, s in pairs) if comparable else None,
        "promote ms": median(r.promote for r in size.rounds),
        "bytes an event": round(size.bytes_per_event),
        "after a look": round(size.bytes_once_looked_at),
        "bytes an account": round(size.bytes_per_account),
    }


def _chunks(size: Size) -> list[range]:
    starts = range(0, size.accounts, PIPELINED)
    return [range(first, min(first + PIPELINED, size.accounts)) for first in starts]


def _track(size: Size, accounts: Sequence[int], next_look: datetime) -> None:
    for first in range(0, len(accounts), PIPELINED):
        chunk = accounts[first : first + PIPELINED]
        calls = [arguments for n in chunk for arguments in _events(size, n, next_look)]
        run_many(size.services.ledger, "track", map(packed, _replacing(size, calls)))


def _replacing(size: Size, calls: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The arguments, each with what tells the script to replace the event's former record."""
    ledger = size.services.ledger
    with ledger.redis.pipeline(transaction=False) as pipeline:
        for sub, field, *_ in calls:
            pipeline.hget(ledger.keys.events(sub), field)
        former = pipeline.execute()
    return [
        (*call, fingerprint(value[HEADER:]) if value else "")
        for call, value in zip(calls, former, strict=True)
    ]


def _events(size: Size, n: int, next_look: datetime) -> Iterator[tuple[Any, ...]]:
    """What the script `track` takes for each event of an account, but for what it replaces."""
    now = datetime.now(UTC).replace(microsecond=0)
    profile_id = f"pro_{n:09}"
    for e in range(size.per_account):
        event_id = f"event-{n:09}-{e}"
        event = TrackedEvent(
            key=EventKey(f"cal_n23kjnwrw2_{n:012}", event_id),
            body=event_body(event_id, now + timedelta(days=1, minutes=e), profile_id),
            provider_name="zoom",
            tracked_at=to_ms(now),
            asked_at=to_ms(now),
            profile_id=profile_id,
            next_look=to_ms(next_look),
        )
        yield _sub(n), event.key.field, pack_event(event), lists_of(event)


def packed(*events: tuple[Any, ...]) -> tuple[bytes]:
    """The arguments of the script `track` for these events."""
    return (msgpack.packb(events, use_bin_type=False),)


def run_many(ledger: Ledger, script: str, calls: Iterable[tuple[Any, ...]]) -> None:
    """Run one of the ledger's scripts many times in one round trip."""
    script_hash = ledger.redis.script_load(source(script))
    with ledger.redis.pipeline(transaction=False) as pipeline:
        for arguments in calls:
            pipeline.evalsha(script_hash, 0, ledger.prefix, *arguments)
        pipeline.execute()


def _used_memory(size: Size) -> int:
    info: dict[str, int] = size.services.ledger.redis.info("memory")
    return info["used_memory"] - info["mem_aof_buffer"] - info["mem_clients_normal"]


def _event_memory(size: Size, accounts: Sequence[int]) -> float:
    """Bytes per event, by the server's count, from the hashes of some accounts."""
    ledger = size.services.ledger
    hashes = [f"{ledger.prefix}:events:{_sub(n)}" for n in accounts[:100]]
    return mean(int(ledger.redis.memory_usage(key, samples=0) or 0) for key in hashes) / size.per_account


def _script_seconds(size: Size) -> float:
    """Seconds the server has spent in scripts so far."""
    info: dict[str, Any] = size.services.ledger.redis.info("commandstats")
    return float(info["cmdstat_evalsha"]["usec"]) / 1e6


def _sub(n: int) -> str:
    return f"acc_567236{n:09}"
