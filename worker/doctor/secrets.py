"""Whether the vault keys that are set can open what was sealed."""

from __future__ import annotations

from collections.abc import Iterator

from redis.exceptions import RedisError

from config.settings import Settings
from worker.bootstrap import open_ledger
from worker.doctor.finding import Finding, ok, skipped, wrong
from worker.doctor.servers import PATIENCE
from worker.ledger.connection import connect_once
from worker.ledger.lookup import some_sealed
from worker.ledger.vault import Vault, VaultError
from worker.text.amounts import amount

#: How many accounts to try.
SAMPLE = 50


def examine_vault(settings: Settings) -> Iterator[Finding]:
    """Open the credentials of some accounts and a waiting email, and discard them."""
    if not settings.vault_keys:
        yield skipped("vault keys", "none are set")
        return
    try:
        with connect_once(settings.ledger_url, PATIENCE) as redis:
            ledger = open_ledger(settings, redis)
            sealed = some_sealed(ledger, SAMPLE)
    except RedisError:
        yield skipped("vault keys", "Redis is unavailable")
        return
    shut = sum(not _opens(ledger.vault, value) for value in sealed)
    if shut:
        what = f"{shut} of {amount(len(sealed), 'sealed value')} cannot be opened with these keys"
        fix = "put the previous key back into RECONCILER_VAULT_KEYS, after the newest"
        yield wrong("vault keys", what, fix)
    elif sealed:
        yield ok("vault keys", f"they open what is sealed ({amount(len(sealed), 'value')} tried)")
    else:
        yield ok("vault keys", "nothing is sealed yet")


def _opens(vault: Vault, sealed: bytes) -> bool:
    try:
        vault.open(sealed)
    except VaultError:
        return False
    return True
