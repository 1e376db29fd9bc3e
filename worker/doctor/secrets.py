"""Whether what was sealed can be opened with the vault keys that are set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from redis import Redis
from redis.exceptions import RedisError

from config.settings import Settings
from worker.doctor.finding import Finding, ok, skipped, wrong
from worker.doctor.servers import PATIENCE
from worker.ledger.connection import connect_once
from worker.ledger.vault import Vault, VaultError
from worker.text.amounts import amount

#: How many accounts are tried, the longest waiting first: what they hold was sealed with the oldest keys.
SAMPLE = 50


def examine_vault(settings: Settings) -> Iterator[Finding]:
    """Credentials of some accounts and an email that waits, opened and thrown away."""
    if not settings.vault_keys:
        yield skipped("vault keys", "none is set")
        return
    vault = Vault([key.get_secret_value() for key in settings.vault_keys])
    try:
        with connect_once(settings.ledger_url, PATIENCE) as redis:
            sealed = list(_sealed(redis, settings.key_prefix))
    except RedisError:
        yield skipped("vault keys", "Redis cannot be used")
        return
    shut = sum(not _opens(vault, value) for value in sealed)
    if shut:
        what = f"{shut} of {amount(len(sealed), 'sealed value')} cannot be opened with the keys that are set"
        mend = "put back into RECONCILER_VAULT_KEYS, behind the newest, the key that was in use before"
        yield wrong("vault keys", what, mend)
    elif sealed:
        yield ok("vault keys", f"open what is sealed ({amount(len(sealed), 'value')} tried)")
    else:
        yield ok("vault keys", "nothing is sealed yet")


def _sealed(redis: Redis, prefix: str) -> Iterator[bytes]:
    oldest = cast("list[bytes]", redis.zrange(f"{prefix}:oldest", 0, SAMPLE - 1))
    mails = cast("list[bytes]", redis.zrange(f"{prefix}:outbox", 0, 0))
    with redis.pipeline(transaction=False) as pipeline:
        for sub in oldest:
            pipeline.hget(f"{prefix}:account:".encode() + sub, "credentials")
        for mail in mails:
            pipeline.hget(f"{prefix}:mail:".encode() + mail, "message")
        values: list[Any] = pipeline.execute()
    yield from (value for value in values if value is not None)


def _opens(vault: Vault, sealed: bytes) -> bool:
    try:
        vault.open(sealed)
    except VaultError:
        return False
    return True
