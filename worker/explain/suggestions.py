"""The known ids that a mistyped one may have meant."""

from __future__ import annotations

import time
from collections.abc import Iterator
from difflib import get_close_matches
from itertools import takewhile
from typing import cast

from worker.ledger.ledger import Ledger
from worker.ledger.records import EventKey

#: How many are named.
MOST = 3
#: Among millions of accounts the search takes no longer than this.
SEARCH_SECONDS = 2.0
#: Of this many other accounts in a calendar it is asked whether the event is theirs.
NEIGHBOURS = 50
#: How alike two account ids must be (0 to 1): a few letters apart.
ALIKE = 0.75

#: An account, or an event of one: the ids as a command takes them.
Ids = tuple[str, ...]


def nearest(ledger: Ledger, sub: str, key: EventKey) -> list[Ids]:
    """The known ids that somebody may have meant who named an event that is not tracked, the likeliest first.

    The same event of another account in that calendar, and the account's own events; where the account is not
    known, accounts with nearly its id and their events. Bounded however much is tracked.
    """
    known: list[Ids] = [
        (other, key.calendar_id, key.event_id)
        for other in ledger.accounts_of(key.calendar_id)[:NEIGHBOURS]
        if ledger.find_pending(other, key)
    ]
    if is_known(ledger, sub):
        known += _events_of(ledger, sub)
    else:
        for other in nearest_accounts(ledger, sub):
            known += [(other,), *_events_of(ledger, other)]
    texts = {" ".join(ids): ids for ids in known}
    asked = " ".join((sub, key.calendar_id, key.event_id))
    return [texts[text] for text in get_close_matches(asked, texts, MOST, cutoff=0)]


def nearest_accounts(ledger: Ledger, sub: str) -> list[str]:
    """The accounts whose ids are nearest to this one, the nearest first; not itself."""
    head, ends = f"{ledger.prefix}:account:", time.monotonic() + SEARCH_SECONDS
    keys = takewhile(lambda _: time.monotonic() < ends, ledger.redis.scan_iter(match=f"{head}*", count=2000))
    known = (key.decode().removeprefix(head) for key in keys)
    # A scan may show a key twice.
    return list(dict.fromkeys(get_close_matches(sub, (each for each in known if each != sub), MOST, ALIKE)))


def is_known(ledger: Ledger, sub: str) -> bool:
    """Whether anything is kept of an account: credentials or events."""
    families = ("account", "events", "settled")
    return bool(ledger.redis.exists(*(f"{ledger.prefix}:{family}:{sub}" for family in families)))


def _events_of(ledger: Ledger, sub: str) -> Iterator[Ids]:
    """The account's events, pending or settled."""
    for family in ("events", "settled"):
        for field in cast("list[bytes]", ledger.redis.hkeys(f"{ledger.prefix}:{family}:{sub}")):
            key = EventKey.of_field(field)
            yield sub, key.calendar_id, key.event_id
