"""The ledger's server and the broker."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from config.redis_url import is_redis
from config.settings import Settings
from worker.bootstrap import weaknesses
from worker.broker.queues import queue_lengths, try_to_publish
from worker.doctor.finding import Finding, Health, ok, skipped, warning, wrong
from worker.ledger.connection import BrokerAway, connect_once, kind_of, refusal, why_no_writes
from worker.ledger.distance import Distance, measure
from worker.trouble import WORDS, Kind

PATIENCE = timedelta(seconds=3)
#: The fraction of maxmemory to warn at: without eviction, a full server refuses writes.
FULL = 0.9


def examine_redis(settings: Settings) -> Iterator[Finding]:
    """The ledger's server: reachable, fit to be the only store, close enough, and its clock right."""
    try:
        with connect_once(settings.ledger_url, PATIENCE) as redis:
            yield from _fitness("redis", redis)
            yield from _distance(measure(redis))
    except RedisError as error:
        fix = _fix(error, "server", "RECONCILER_REDIS_URL")
        kind = kind_of(refusal(error))
        yield wrong("redis", f"{WORDS[kind].sentence if kind else 'unavailable'} ({_named(error)})", fix)


def examine_broker(settings: Settings) -> Iterator[Finding]:
    """The broker, if it is a server of its own."""
    if settings.broker_url is None:
        try:
            with connect_once(settings.ledger_url, PATIENCE) as redis:
                no_writes = why_no_writes(redis)
        except RedisError:
            yield skipped("broker", "the ledger's Redis, which is unavailable")
        else:
            found = skipped("broker", "the ledger's Redis, which takes no writes")
            yield found if no_writes else ok("broker", "the ledger's Redis")
        return
    try:
        if is_redis(settings.broker):
            with connect_once(settings.broker, PATIENCE) as redis:
                # First, as it knows better why the queues cannot be read.
                fitness = list(_fitness("broker", redis))
            if all(finding.health is Health.OK for finding in fitness):
                queue_lengths(settings)
            yield from fitness
        else:
            queue_lengths(settings)
            try_to_publish(settings.broker)
            yield ok("broker", "answers and accepts messages")
    except (BrokerAway, RedisError) as error:
        fix = _fix(error, "broker", "RECONCILER_BROKER_URL")
        yield wrong("broker", f"{WORDS[Kind.BROKER_AWAY].sentence} ({_named(error)})", fix)


def _fitness(name: str, redis: Redis) -> Iterator[Finding]:
    info: dict[str, Any] = redis.info()
    no_writes = why_no_writes(redis)
    if no_writes:
        words = WORDS[kind_of(no_writes) or Kind.REDIS_AWAY]
        yield wrong(name, words.sentence, words.fix)
        return
    faults = list(weaknesses(redis))
    limit, used = int(info.get("maxmemory") or 0), int(info["used_memory"])
    if used > FULL * limit > 0:
        faults.append(f"{used / limit:.0%} of maxmemory is used, and at 100% every write fails: raise it")
    for fault in faults:
        what, _, fix = fault.rpartition(": ")
        yield wrong(name, what, fix)
    if not faults:
        kind = "Valkey" if info.get("server_name") == "valkey" else "Redis"
        version = info.get("valkey_version") or info.get("redis_version")
        yield ok(name, f"{kind} {version}, append-only file, evicts nothing")


def _distance(distance: Distance) -> Iterator[Finding]:
    measured = f"{distance.round_trip / timedelta(milliseconds=1):.1f} ms round trip"
    if distance.is_slow:
        words = WORDS[Kind.REDIS_SLOW]
        yield warning("redis latency", f"{words.sentence}: {measured}", words.fix)
    else:
        yield ok("redis latency", measured)


def _fix(error: Exception, server: str, setting: str) -> str:
    if isinstance(error, AuthenticationError):
        return f"correct the user and the password in {setting}"
    if isinstance(error, NoPermissionError):
        return f"give the user in {setting} the rights listed in docs/security.md"
    return f"start the {server}, or correct {setting}"


def _named(error: Exception) -> str:
    """The type of the error, since its message might quote the URL and its password."""
    return str(error) if isinstance(error, BrokerAway) else type(error).__name__
