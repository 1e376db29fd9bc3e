"""Has the log tell of every trouble of the fleet: when it comes, and when it is over, once each.

Whatever process is there looks: a worker tells that beat is gone, and beat that no worker is there.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import cast

import structlog
from redis import Redis
from redis.exceptions import RedisError

from config.settings import Settings
from worker.ledger.connection import connect_once
from worker.ledger.keys import Keys, Scripts
from worker.ledger.records import to_ms
from worker.status.snapshot import read_status
from worker.status.trouble import troubles
from worker.trouble import WORDS, Kind

#: The longest that a process waits for each step.
PATIENCE = timedelta(seconds=1)
#: One process of the fleet looks in this time.
EVERY = timedelta(seconds=9)

log = structlog.get_logger()


def watch(settings: Settings) -> Callable[[], None]:
    """A function that looks, to be called every ten seconds."""
    redis = connect_once(settings.ledger_url, PATIENCE)

    def look() -> None:
        # A Redis that is away is told by those that need it.
        with suppress(RedisError):
            tell(redis, settings)

    return look


def tell(redis: Redis, settings: Settings) -> None:
    """Log what has come and gone since a process of the fleet last did; RedisError if Redis is away."""
    keys = Keys(settings.key_prefix)
    if not Scripts(redis, keys).run("take_slot", keys.watched, int(EVERY.total_seconds() * 1000)):
        return
    status = read_status(redis, settings)
    present = {trouble.kind: trouble for trouble in reversed(list(troubles(status)))}
    known = {name.decode() for name in cast("list[bytes]", redis.hkeys(keys.troubles))}
    for kind, trouble in present.items():
        if kind not in known and redis.hsetnx(keys.troubles, kind.value, to_ms(status.at)):
            log.warning("trouble.began", trouble=kind.value, says=trouble.what)
    for name in known - {kind.value for kind in present}:
        if redis.hdel(keys.troubles, name):
            said = {"says": WORDS[Kind(name)].sentence} if name in set(Kind) else {}
            log.info("trouble.over", trouble=name, **said)
