"""The ledger's server and the broker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from statistics import median
from typing import Any

from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from config.redis_url import is_redis
from config.settings import Settings
from worker.bootstrap import weaknesses
from worker.broker.queues import queue_lengths, try_to_publish
from worker.doctor.finding import Finding, Health, ok, skipped, warning, wrong
from worker.ledger.connection import BrokerAway, connect_once, server_time, why_no_writes
from worker.wording import spoken

PATIENCE = timedelta(seconds=3)
#: Any slower, and claims and commits take longer than the calls to Cronofy between them.
SLOW = timedelta(milliseconds=50)
PINGS = 5
#: With more, times in logs and emails would mislead.
MOST_SKEW = timedelta(seconds=2)
#: The fraction of maxmemory to warn at: without eviction, a full server refuses writes.
FULL = 0.9


def examine_redis(settings: Settings) -> Iterator[Finding]:
    """The ledger's server: reachable, fit to be the only store, close enough, and its clock right."""
    try:
        with connect_once(settings.ledger_url, PATIENCE) as redis:
            yield from _fitness("redis", redis)
            yield from _distance(redis)
            yield from _clock(redis)
    except RedisError as error:
        fix = _fix(error, "server", "RECONCILER_REDIS_URL")
        yield wrong("redis", f"unavailable ({_named(error)})", fix)


def examine_broker(settings: Settings) -> Iterator[Finding]:
    """The broker, if it is a server of its own."""
    if settings.broker_url is None:
        try:
            with connect_once(settings.ledger_url, PATIENCE) as redis:
                no_writes = why_no_writes(redis)
        except RedisError:
            yield skipped("broker", "the ledger's Redis, which is unavailable")
        else:
            yield (
                skipped("broker", "the ledger's Redis, which takes no writes")
                if no_writes
                else ok("broker", "the ledger's Redis")
            )
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
        yield wrong("broker", f"unavailable ({_named(error)})", fix)


def _fitness(name: str, redis: Redis) -> Iterator[Finding]:
    info: dict[str, Any] = redis.info()
    no_writes = why_no_writes(redis)
    faults = [f"takes no writes: {no_writes}"] if no_writes else [*weaknesses(redis), *_troubles(info)]
    for fault in faults:
        what, _, fix = fault.rpartition(": ")
        yield wrong(name, what, fix)
    if not faults:
        kind = "Valkey" if info.get("server_name") == "valkey" else "Redis"
        version = info.get("valkey_version") or info.get("redis_version")
        yield ok(name, f"{kind} {version}, append-only file, evicts nothing")


def _troubles(info: dict[str, Any]) -> Iterator[str]:
    """What can go wrong on a well-configured server, each with its fix after the last colon."""
    limit = int(info.get("maxmemory") or 0)
    if limit and int(info["used_memory"]) > FULL * limit:
        used = int(info["used_memory"]) / limit
        yield f"{used:.0%} of maxmemory is used, and at 100% every write fails: raise it"


def _distance(redis: Redis) -> Iterator[Finding]:
    spans = []
    for _ in range(PINGS):
        begun = time.perf_counter()
        # Not PING, which a server without disk refuses.
        redis.time()
        spans.append(time.perf_counter() - begun)
    latency = timedelta(seconds=median(spans))
    measured = f"{latency / timedelta(milliseconds=1):.1f} ms round trip"
    if latency > SLOW:
        yield warning("redis latency", measured, "run workers near the server; find out what keeps it busy")
    else:
        yield ok("redis latency", measured)


def _clock(redis: Redis) -> Iterator[Finding]:
    before = time.time()
    there = server_time(redis).timestamp()
    # The server read its clock in between, so the midpoint is off by at most half the round trip.
    skew = timedelta(seconds=there - (before + time.time()) / 2)
    if abs(skew) > MOST_SKEW:
        ahead = "ahead of" if skew > timedelta(0) else "behind"
        what = f"the server's clock is {spoken(abs(skew))} {ahead} this host's"
        yield warning("redis clock", what, "synchronise both with NTP")
    else:
        yield ok("redis clock", "agrees with this host's")


def _fix(error: Exception, server: str, setting: str) -> str:
    if isinstance(error, AuthenticationError):
        return f"correct the user and the password in {setting}"
    if isinstance(error, NoPermissionError):
        return f"give the user in {setting} the rights listed in docs/security.md"
    return f"start the {server}, or correct {setting}"


def _named(error: Exception) -> str:
    """The type of the error, since its message might quote the URL and its password."""
    return str(error) if isinstance(error, BrokerAway) else type(error).__name__
