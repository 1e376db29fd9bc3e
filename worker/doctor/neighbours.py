"""What else lives on our databases. None of it harms us, nor we it, but an operator wants to know."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

from redis import Redis
from redis.exceptions import RedisError

from config.redis_url import is_redis
from config.settings import Settings
from worker.doctor.finding import Finding, ok, skipped
from worker.doctor.servers import PATIENCE
from worker.ledger.connection import connect_once
from worker.wording import amount

#: How many keys to look at: on a large ledger, others are too few to be found anyway.
LOOKED_AT = 50_000
#: How many kinds of keys to name.
MOST_NAMED = 5
#: Kombu keeps which queues belong to an exchange under this name.
_BINDING = "_kombu.binding."
#: What Celery's workers keep besides queues, and Kombu's names for what a worker holds.
_NO_QUEUES = re.compile(r"(^celeryev|\.pidbox)$")
_KOMBU = re.compile(r"unacked(_index|_mutex)?$|.*\.pidbox$")
_HEAD = re.compile(r"\w+")


def examine_neighbours(settings: Settings) -> Iterator[Finding]:
    """What is on the ledger's and the broker's databases besides our keys."""
    places = {"neighbours": settings.ledger_url}
    if settings.broker_url and is_redis(settings.broker):
        places["broker neighbours"] = settings.broker
    for name, url in places.items():
        try:
            with connect_once(url, PATIENCE) as redis:
                size = redis.dbsize()
                others = neighbours(_names(redis), settings.key_prefix)
        except RedisError:
            yield skipped(name, "Redis is unavailable")
            continue
        where = "" if size <= LOOKED_AT else f" (among {amount(LOOKED_AT, 'key')} of {amount(size, 'key')})"
        yield ok(name, f"{', '.join(others) or 'nothing else on this database'}{where}")


def _names(redis: Redis) -> Iterator[str]:
    keys = islice(redis.scan_iter(count=1000), LOOKED_AT)
    return (key.decode(errors="replace") for key in keys)


def neighbours(names: Iterable[str], prefix: str) -> list[str]:
    """What these keys say of others than the fleet with this ``RECONCILER_KEY_PREFIX``."""
    ours = (f"{prefix}:", f"{prefix}.", "celery-task-meta-", "_kombu.binding_", "_kombu.probe")
    foreign = [name for name in names if not name.startswith((*ours, f"{_BINDING}{prefix}."))]
    exchanges = [name.removeprefix(_BINDING) for name in foreign if name.startswith(_BINDING)]
    queues = sorted(name for name in exchanges if not _NO_QUEUES.search(name))
    others = (name for name in foreign if not name.startswith(_BINDING) and not _KOMBU.match(name))
    kinds = Counter(_kind(name) for name in others if name.partition("\x06")[0] not in queues)
    found = []
    if queues or "celery.pidbox" in exchanges:
        found.append("another Celery" + (f" ({_listed(queues)})" if queues else ""))
    found += [f"{kind} ({count})" for kind, count in kinds.most_common(MOST_NAMED)]
    if len(kinds) > MOST_NAMED:
        found.append(f"{len(kinds) - MOST_NAMED} more kinds of keys")
    return found


def _listed(queues: list[str]) -> str:
    named = ", ".join(_kind(queue).removesuffix(":*") for queue in queues[:MOST_NAMED])
    return ("queue " if len(queues) == 1 else "queues ") + named


def _kind(name: str) -> str:
    """The beginning of a key's name, which may come from anybody."""
    head = _HEAD.match(name)
    return f"{head[0][:30]}:*" if head else "other names"
