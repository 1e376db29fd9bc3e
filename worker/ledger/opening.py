"""Opens the ledger as the settings say."""

from __future__ import annotations

from redis import Redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from config.settings import Settings, require_vault
from worker.ledger.connection import connect
from worker.ledger.ledger import Ledger
from worker.ledger.vault import Vault


def connect_redis(settings: Settings) -> Redis:
    """A client for the ledger's Redis that rides out short outages, but never waits forever."""
    retry = Retry(ExponentialWithJitterBackoff(base=0.05, cap=1.0), retries=8)
    retry.update_supported_errors([RedisConnectionError, RedisTimeoutError])
    return connect(settings.ledger_url, connect_seconds=5, answer_seconds=60, retry=retry)


def vault_of(settings: Settings) -> Vault:
    """The vault with the keys that are set."""
    return Vault([key.get_secret_value() for key in settings.vault_keys])


def open_ledger(settings: Settings, redis: Redis | None = None) -> Ledger:
    """The ledger alone, for code that does not call Cronofy; uses the client `redis` if given."""
    require_vault(settings)
    return Ledger(
        redis or connect_redis(settings),
        settings.key_prefix,
        vault_of(settings),
        settings.history_keep,
        settings.outcomes_keep,
    )


def keyless_ledger(redis: Redis, settings: Settings) -> Ledger:
    """A ledger that neither opens nor seals anything, and so needs no vault key."""
    return Ledger(redis, settings.key_prefix, Vault([]), settings.history_keep, settings.outcomes_keep)
