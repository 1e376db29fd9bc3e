"""How a run ended: compared with a run without faults, and checked for what must always hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from tests.faults.stage import Stage
from tests.integration.world import World
from worker.diagnosis.model import Cause
from worker.ledger.packing import CAUSES, unpack_event


@dataclass(frozen=True, slots=True)
class EndState:
    """A run's result, without times and ids."""

    #: By event: settled or pending, its cause, its profile, its writes and outcomes.
    events: dict[str, tuple[Any, ...]]
    outcomes: Counter[tuple[Any, ...]]
    lost: bool
    #: Relink emails for each profile.
    episodes: dict[str, int]
    #: Emails by recipient and subject, counting each Message-ID once.
    mails: Counter[tuple[str, str]]
    #: Which (event, profile) pairs were written at Cronofy.
    written: frozenset[tuple[str, str]]


def end_state(stage: Stage, world: World) -> EndState:
    account = stage.services.ledger.account(world.sub)
    mails = {mail["message_id"]: (mail["to"][0], mail["subject"]) for mail in world.control.mail()}
    return EndState(
        events=dict(sorted(_events(stage, world))),
        outcomes=Counter(_outcome(outcome) for outcome in world.outcomes()),
        lost=account.lost,
        episodes={pid: episode.mails for pid, episode in sorted(account.memo.episodes.items())},
        mails=Counter(mails.values()),
        written=frozenset(_writes(world)),
    )


def doubled_writes(world: World) -> int:
    """How many Update Events were sent beyond the first per (event, profile)."""
    return sum(_writes(world).values()) - len(_writes(world))


def doubled_mails(world: World) -> int:
    """How many emails were received beyond the first per Message-ID."""
    ids = [mail["message_id"] for mail in world.control.mail()]
    return len(ids) - len(set(ids))


def doubled_outcomes(stage: Stage) -> int:
    """How many outcomes were sent to their task more than once."""
    return len(stage.published()) - len(set(stage.published()))


def faults_of(stage: Stage, world: World) -> list[str]:
    """What is wrong with the ledger after recovery."""
    redis: Any = stage.redis
    prefix, found = stage.prefix, []
    pending = [unpack_event(value) for value in redis.hvals(f"{prefix}:events:{world.sub}")]
    counters = world.services.ledger.counters()
    causes = Counter(CAUSES.index(stored.event.cause) for stored in pending)
    gauges = {n: counters.get(f"cause:{n}", 0) for n in range(len(CAUSES))}
    if counters.get("events:pending", 0) != len(pending) or gauges != {n: causes[n] for n in gauges}:
        found.append(f"gauges {dict(counters)} for {len(pending)} pending events with causes {dict(causes)}")
    totals = {kind: counters.get(f"outcome:{kind}", 0) for kind in set(world.types())}
    if totals != Counter(world.types()):
        found.append(f"totals {totals} for outcomes {Counter(world.types())}")
    lost = stage.services.ledger.account(world.sub).lost
    standing, expected = world.standing(), 1 if pending and not lost else 0
    if len(standing) != expected or standing & {"leased"}:
        found.append(f"the account is in {sorted(standing) or 'no set'}")
    calendar = redis.smembers(f"{prefix}:calendar:{world.calendar_id}")
    if len(calendar) != (1 if pending else 0):
        found.append(f"the calendar's accounts are {calendar!r}")
    for key in ("leases", "outbox"):
        if redis.exists(f"{prefix}:{key}"):
            found.append(f"{key} is not empty")
    if list(redis.scan_iter(match=f"{prefix}:mail:*")):
        found.append("an email is left behind")
    unpublished = {outcome["id"] for outcome in world.outcomes()} - set(stage.published())
    if unpublished:
        found.append(f"{len(unpublished)} outcomes were never sent")
    return found


def _events(stage: Stage, world: World) -> list[tuple[str, tuple[Any, ...]]]:
    found = []
    for family in ("events", "settled"):
        values: Any = stage.redis.hvals(f"{stage.prefix}:{family}:{world.sub}")
        for event in (unpack_event(value).event for value in values):
            cause: Cause | None = event.cause
            writes = sorted((pid, write.accepted, bool(write.refused)) for pid, write in event.writes.items())
            found.append(
                (event.key.event_id, (family, cause, event.profile_id, tuple(writes), event.notified))
            )
    return found


def _outcome(outcome: dict[str, Any]) -> tuple[Any, ...]:
    detail = outcome["detail"]
    about = [detail.get(name) for name in ("profile_id", "from_profile_id", "to_profile_id")]
    about.append("a link" if detail.get("join_url") else None)
    return (
        outcome["type"],
        outcome["event_id"],
        outcome["cause"],
        *about,
        *sorted(detail.get("event_ids", ())),
    )


def _writes(world: World) -> Counter[tuple[str, str]]:
    return Counter((w["event_id"], w["body"]["conferencing"]["profile_id"]) for w in world.writes())
