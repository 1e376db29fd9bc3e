"""Takes up events that wait for conferencing and that nobody tracked (contract §6, Adopted events)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from worker.bootstrap import Services
from worker.cronofy.budget import rest_before
from worker.cronofy.client import Window
from worker.cronofy.errors import ACCOUNT_REFUSED, PUT_OFF, CronofyError, TokenNeeded
from worker.cronofy.wire import read_sighting
from worker.diagnosis.model import Policy
from worker.diagnosis.schedule import first_look
from worker.ledger.lookup import accounts
from worker.ledger.records import Account, EventKey, TrackedEvent, to_ms
from worker.reconcile.observe import READABLE_AHEAD
from worker.run.looks import acquire

#: The part of the fleet's budget that it uses: looks come first.
SHARE = 0.25
#: How long it waits for room in the budget, or for the end of a pause, before it stops.
PATIENCE_SECONDS = 120.0
#: How many events are written in one step, which blocks the server.
AT_A_TIME = 200

#: For each account that was not read: its id, and why, in a sentence.
Tell = Callable[[str, str], None]


class Stopped(Exception):
    """No account can be read for now; the argument says why, in a sentence."""


@dataclass(slots=True)
class Adoption:
    """What a run found and did."""

    #: accounts, adopted, tracked, unreadable, skipped, left: as the contract names them.
    counts: Counter[str] = field(default_factory=Counter)
    #: In a dry run, each event that would be taken up, with its account.
    events: list[tuple[str, TrackedEvent]] = field(default_factory=list)


def accounts_to_read(services: Services, named: Sequence[str]) -> tuple[list[str], str | None]:
    """The accounts to read, in order, and the one after which an earlier run is gone on with, if any."""
    if named:
        return list(dict.fromkeys(named)), None
    after = services.ledger.adopted_up_to()
    known = sorted({sub for step in accounts(services.ledger) for sub in step})
    return [sub for sub in known if after is None or sub > after], after


def adopt(
    services: Services,
    subs: Collection[str],
    *,
    dry_run: bool,
    resumable: bool,
    tell: Tell,
    patience: float = PATIENCE_SECONDS,
) -> Iterator[Adoption]:
    """Read these accounts and take up their events; yields what was done so far after each account.

    `resumable`: how far it came is noted, and forgotten at the end. Raises Stopped if the budget, or
    Cronofy, lets no call through for `patience` seconds.
    """
    ledger, done, pace = services.ledger, Adoption(), _Pace(services)
    for sub in subs:
        _adopt(services, sub, done, pace, tell, patience, dry_run=dry_run)
        if resumable and not dry_run:
            ledger.keep_adopted_up_to(sub)
        yield done
    if resumable and not dry_run:
        ledger.keep_adopted_up_to(None)


def _adopt(
    services: Services,
    sub: str,
    done: Adoption,
    pace: _Pace,
    tell: Tell,
    patience: float,
    *,
    dry_run: bool,
) -> None:
    """Read one account, and take up its events."""
    ledger = services.ledger
    reason = why_skipped(ledger.account(sub))
    if reason is None:
        try:
            items = _read(services, sub, pace, patience)
        except ACCOUNT_REFUSED as error:
            owed = isinstance(error, TokenNeeded)
            reason = "Its application owes an access token." if owed else error.reason
        except CronofyError as error:
            done.counts["left"] += 1
            tell(sub, error.reason)
            return
    if reason is not None:
        done.counts["skipped"] += 1
        tell(sub, reason)
        return
    done.counts["accounts"] += 1
    now, found = ledger.now(), []
    for key, shown in items.items():
        try:
            event = to_adopt(key, shown, now, services.looker.policy)
        except (CronofyError, ValueError):
            done.counts["unreadable"] += 1
            continue
        if event:
            found.append(event)
    if dry_run:
        new = [
            event
            for event in found
            if not (ledger.find(sub, event.key) or ledger.find_untracked(sub, event.key))
        ]
        done.events += [(sub, event) for event in new]
        taken = len(new)
    else:
        steps = (found[n : n + AT_A_TIME] for n in range(0, len(found), AT_A_TIME))
        taken = sum(ledger.adopt(sub, step) for step in steps)
    done.counts["adopted"] += taken
    done.counts["tracked"] += len(found) - taken


def why_skipped(account: Account) -> str | None:
    """Why there is nothing to read for an account; None if there may be."""
    if account.credentials is None:
        return "It is not connected."
    return "Cronofy refuses it until it is connected again." if account.lost else None


def to_adopt(
    key: EventKey, shown: Sequence[dict[str, Any]], now: datetime, policy: Policy
) -> TrackedEvent | None:
    """The record of an event without its link, if it is to come; None if not.

    `shown` is what a read showed under its id. CronofyError or ValueError if that cannot be read.
    """
    seen = read_sighting(shown, None, now)
    if seen.deleted or seen.cancelled:
        return None
    if seen.start is None:
        raise ValueError("The event has no start.")
    if seen.start.instant <= now:
        return None
    event = TrackedEvent(
        key=key,
        body={},
        provider_name=None,
        tracked_at=to_ms(now),
        asked_at=to_ms(now),
        profile_id=None,
        next_look=to_ms(first_look(now, policy)),
    ).saw(seen, now)
    # An id that cannot be written, as UTF-8, is a ValueError.
    _ = key.field
    return event


def _read(services: Services, sub: str, pace: _Pace, patience: float) -> dict[EventKey, list[dict[str, Any]]]:
    """What a read shows of the account's managed events to come that have no link, as on the wire."""
    end = time.monotonic() + patience
    while True:
        pace.wait()
        lease = acquire(services, sub, services.settings.lease)
        if lease is None:
            raise CronofyError("Looks at this account are in progress.")
        try:
            today = lease.now.date()
            window = Window(today - timedelta(days=1), today + READABLE_AHEAD)
            with services.looker.cronofy.session(lease.account) as session:
                try:
                    return session.read_events((), window, without_link=True)
                finally:
                    pace.spent(session.pages)
        except PUT_OFF as error:
            rest = rest_before(end, error)
            if rest is None:
                raise Stopped(error.reason) from None
        finally:
            services.ledger.release(lease)
        time.sleep(rest)


class _Pace:
    """Spreads calls, so that they stay within a share of the fleet's budget."""

    def __init__(self, services: Services) -> None:
        settings = services.settings
        self._seconds = 60 / (settings.api_per_minute * settings.api_share * SHARE)
        self._free_at = time.monotonic()

    def wait(self) -> None:
        """Wait for the next call's turn."""
        time.sleep(max(0.0, self._free_at - time.monotonic()))

    def spent(self, calls: int) -> None:
        """So many calls were made just now; at least one, even if it failed."""
        self._free_at = max(self._free_at, time.monotonic()) + max(1, calls) * self._seconds
