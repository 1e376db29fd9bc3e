"""Known ids that a mistyped one may have meant."""

from __future__ import annotations

import time
from difflib import get_close_matches
from heapq import nlargest
from itertools import takewhile

from worker.ledger.ledger import Ledger
from worker.ledger.lists import Wanted
from worker.ledger.lookup import accounts, fields_of, is_known
from worker.ledger.records import EventKey

#: How many to suggest.
MOST = 3
#: A search among millions of accounts stops after this.
SEARCH_SECONDS = 2.0
#: How many other accounts of a calendar to check for the event.
NEIGHBOURS = 50
#: Among how many of an account's events similar ids are searched, and how many of these are compared in full:
#: those that begin and end alike.
SEARCHED, COMPARED = 3000, 100
#: How similar two ids must be (0 to 1): a few letters apart.
ALIKE = 0.75


#: An account, or an event of one: the ids as a command takes them.
Ids = tuple[str, ...]


def nearest(ledger: Ledger, sub: str, key: EventKey, *, at_once: bool = False) -> list[Ids]:
    """What may have been meant by the ids of an event that is not tracked, the likeliest first.

    First, the same event of another account in that calendar; then the account's own events with similar ids,
    or failing that any. If the account is unknown: accounts with similar ids, and the event if they have it.
    Bounded however much is tracked: see `nearest_accounts`; `NEIGHBOURS` per calendar.
    """
    elsewhere = [
        (other, key.calendar_id, key.event_id)
        for other in ledger.accounts_of(key.calendar_id)[:NEIGHBOURS]
        if other != sub and ledger.find_pending(other, key)
    ]
    if is_known(ledger, sub):
        return [*elsewhere, *_events_of(ledger, sub, key)][:MOST]
    found: list[Ids] = [*elsewhere]
    for other in nearest_accounts(ledger, sub, at_once=at_once):
        events = _events_of(ledger, other, key, alike=True)
        found += [ids for ids in events[:1] or [(other,)] if ids not in found]
    return found[:MOST]


def _events_of(ledger: Ledger, sub: str, key: EventKey, *, alike: bool = False) -> list[Ids]:
    """The account's events with similar ids; if there are none, any of them unless `alike` is set."""
    if alike and ledger.find(sub, key):
        return [(sub, key.calendar_id, key.event_id)]
    events = nearest_events(ledger, sub, key)
    if not events and not alike:
        events = [each.event.key for each in ledger.lists.page(Wanted(account=sub), MOST).events]
    return [(sub, event.calendar_id, event.event_id) for event in events]


def nearest_accounts(ledger: Ledger, sub: str, *, at_once: bool = False) -> list[str]:
    """Other accounts with similar ids, the nearest first; `at_once`, only those that begin like it.

    Otherwise among as many as `SEARCH_SECONDS` are enough for.
    """
    found = get_close_matches(sub, ledger.directory.around(sub, NEIGHBOURS), MOST, ALIKE)
    deadline = time.monotonic() + SEARCH_SECONDS
    for subs in () if at_once else accounts(ledger):
        found = get_close_matches(sub, {*found, *subs} - {sub}, MOST, ALIKE)
        if time.monotonic() > deadline:
            break
    return found


def nearest_events(ledger: Ledger, sub: str, key: EventKey) -> list[EventKey]:
    """The account's tracked events, pending or settled, with similar ids."""
    # One may be settled, and pending again.
    fields, ends = list(dict.fromkeys(fields_of(ledger, sub))), key.event_id.encode()
    ending = (EventKey.of_field(field) for field in fields if field.endswith(ends))
    same_event = [found for found in ending if found.event_id == key.event_id]
    if same_event:
        # They are in other calendars.
        return same_event[:MOST]
    asked = _joined(key)
    known = {_joined(found): found for found in map(EventKey.of_field, fields[:SEARCHED])}
    # To compare all of them in full would take long.
    likely = nlargest(
        COMPARED, known, key=lambda name: _shared(name, asked) + _shared(name[::-1], asked[::-1])
    )
    return [known[name] for name in get_close_matches(asked, likely, MOST, ALIKE)]


def _shared(one: str, other: str) -> int:
    """How many characters two ids begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _joined(key: EventKey) -> str:
    return f"{key.calendar_id} {key.event_id}"
