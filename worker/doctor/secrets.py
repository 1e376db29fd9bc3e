"""Whether the vault keys that are set can open what was sealed, and which of them are needed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

from redis.exceptions import RedisError

from config.settings import Settings
from worker.doctor.finding import Finding, ok, skipped, warning, wrong
from worker.doctor.servers import PATIENCE
from worker.ledger.connection import connect_once
from worker.ledger.opening import open_ledger
from worker.ledger.reseal import sealed_values
from worker.ledger.vault import Fit
from worker.wording import amount

#: How long to go through what is sealed; a large ledger has more.
LONGEST_SECONDS = 5.0


def examine_vault(settings: Settings) -> Iterator[Finding]:
    """Try the keys on everything that is sealed, within `LONGEST_SECONDS`."""
    if not settings.vault_keys:
        yield skipped("vault keys", "none are set")
        return
    fits: Counter[Fit] = Counter()
    end, everything = time.monotonic() + LONGEST_SECONDS, True
    try:
        with connect_once(settings.ledger_url, PATIENCE) as redis:
            ledger = open_ledger(settings, redis)
            for step in sealed_values(ledger):
                fits.update(each.fit(ledger) for each in step)
                if time.monotonic() > end:
                    everything = False
                    break
    except RedisError:
        yield skipped("vault keys", "Redis is unavailable")
        return
    yield _finding(fits, len(settings.vault_keys), everything)


def _finding(fits: Counter[Fit], keys: int, everything: bool) -> Finding:
    tried = amount(fits.total(), "sealed value")
    # A part of them was counted, so that a large ledger does not take long.
    of = tried if everything else f"the first {tried}"
    if fits[Fit.SHUT]:
        fix = "put the previous key back into RECONCILER_VAULT_KEYS, after the newest"
        return wrong("vault keys", f"{fits[Fit.SHUT]:,} of {of} cannot be opened with these keys", fix)
    if fits[Fit.OLDER]:
        what = f"{fits[Fit.OLDER]:,} of {of} can be opened only with an older key, which must stay"
        return warning("vault keys", what, "`reconciler reseal` seals them with the newest key")
    if not everything:
        what = f"they open {of}; more were not counted in {LONGEST_SECONDS:.0f} s"
        return ok("vault keys", f"{what}, `reconciler reseal` goes through all" if keys > 1 else what)
    if not fits.total():
        return ok("vault keys", "nothing is sealed yet")
    what = f"they open what is sealed ({amount(fits.total(), 'value')})"
    if keys > 1:
        what = f"the newest opens all that is sealed ({amount(fits.total(), 'value')}): the others may go"
    if fits[Fit.UNBOUND]:
        what += f"; `reconciler reseal` binds {fits[Fit.UNBOUND]:,} to their place"
    return ok("vault keys", what)
