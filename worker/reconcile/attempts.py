"""Keeps account, in the ledger, of the looks that fail by their events; `parking` decides what follows."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import cast

import structlog

from config.logging import MASK
from worker.diagnosis.model import Policy
from worker.ledger.leases import Change, EventChange, Lease
from worker.ledger.ledger import Ledger
from worker.ledger.packing import Unreadable, pack_event, stored_as
from worker.ledger.records import Stored
from worker.reconcile.lines import ids
from worker.reconcile.parking import (
    DIED,
    Fault,
    Turn,
    failed_attempt,
    implicated,
    parked,
    set_aside,
    suspected,
)
from worker.reconcile.verdict import Verdict

#: Of a longer traceback the end is kept: the place where it was raised.
LONGEST_TRACEBACK = 16_000

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Attempts:
    """What one process does about events that make their looks fail."""

    ledger: Ledger
    policy: Policy
    #: So many in a row, and the event is parked.
    limit: int
    #: Takes the secrets out of a text.
    mask: Callable[[str], str]

    def parted(self, lease: Lease) -> list[Verdict]:
        """The records that cannot be read, to be taken out of the ledger."""
        return [
            self._said(lease, set_aside(lease.sub, each, self._fault(lease, each.error), lease.now))
            for each in lease.unreadable
        ]

    def suspect(self, lease: Lease) -> Lease:
        """Before a look: where claims in a row had no end, no event is above suspicion."""
        changes = suspected(lease, self.limit)
        return self._rewritten(lease, changes) if changes else lease

    def begin(self, lease: Lease, turn: Turn) -> tuple[Lease, Turn, Verdict | None]:
        """Before a look at a suspect alone: note that it is under way, for the case that it never ends.

        The last one may not have ended; with that as the last straw the event is parked instead.
        """
        [stored] = turn.due
        attempts = stored.event.attempts + stored.event.trying
        if stored.event.trying and attempts >= self.limit:
            verdict = parked(lease.sub, stored, Fault(DIED), attempts, lease.now)
            return lease, turn, self._said(lease, verdict)
        lease = self._rewritten(
            lease, [EventChange(stored, replace(stored.event, attempts=attempts, trying=True))]
        )
        present = tuple(s for s in lease.events if s.event.key == stored.event.key)
        return lease, replace(turn, due=present), None

    def blame(self, lease: Lease, stored: Stored, error: Exception) -> Verdict:
        """The event's own failure: it backs off, or is parked."""
        fault = self._fault(lease, error)
        verdict = failed_attempt(lease.sub, stored, fault, lease.now, self.policy, self.limit)
        return self._said(lease, verdict, fault)

    def shared(self, lease: Lease, turn: Turn, error: Exception) -> tuple[list[EventChange], list[Verdict]]:
        """A look that failed as a whole: blamed on its event if it had but one, else on none of them yet."""
        fault = self._fault(lease, error)
        log.error("look.crashed", sub=lease.sub, error=fault.kind, traceback=fault.traceback)
        present = self.present(lease, turn)
        if len(turn.due) == 1:
            return [], [self.blame(lease, stored, error) for stored in present]
        return [implicated(stored, lease.now) for stored in present], []

    def present(self, lease: Lease, turn: Turn) -> list[Stored]:
        """The events of the look as they are stored now: it may have written to them before it failed."""
        due = {stored.event.key for stored in turn.due}
        return [stored for stored in self.ledger.pending(lease.sub) if stored.event.key in due]

    def writable(self, lease: Lease, change: Change) -> Change:
        """The change with another record for each that cannot be packed: it is blamed, or else taken out."""
        return replace(change, events=[self._writable(lease, event) for event in change.events])

    def _writable(self, lease: Lease, change: EventChange) -> EventChange:
        error = None if change.dropped else _packing_error(change)
        if error is None:
            return change
        blamed = self.blame(lease, change.before, error).change
        if _packing_error(blamed) is None:
            return blamed
        key, field = f"{self.ledger.prefix}:events:{lease.sub}", change.field
        value = cast("bytes | None", self.ledger.redis.hget(key, cast("str", field))) or b""
        verdict = set_aside(lease.sub, Unreadable(field, value, error), self._fault(lease, error), lease.now)
        return replace(self._said(lease, verdict).change, before=change.before)

    def _rewritten(self, lease: Lease, changes: Sequence[EventChange]) -> Lease:
        """The lease after these records were written; without those that were changed meanwhile."""
        changes = [change for change in changes if _packing_error(change) is None]
        changed = self.ledger.commit(lease, Change(changes), done=False)
        new = {c.before.event.key: stored_as(c.after, pack_event(c.after)) for c in changes}
        kept = tuple(new.get(s.event.key, s) for s in lease.events if s.event.key not in changed)
        return replace(lease, events=kept)

    def _fault(self, lease: Lease, error: Exception) -> Fault:
        text = self.mask("".join(traceback.format_exception(error)))
        # Tokens have no shape that could tell them: those of the account are masked by value.
        with suppress(Exception):
            for account in (lease.account, self.ledger.account(lease.sub)):
                credentials = self.ledger.open_credentials(account)
                for token in (credentials.access_token, credentials.refresh_token) if credentials else ():
                    text = text.replace(token, MASK) if token else text
        # Only now: half a secret is not known for one.
        return Fault(type(error).__name__, text[-LONGEST_TRACEBACK:])

    def _said(self, lease: Lease, verdict: Verdict, fault: Fault | None = None) -> Verdict:
        """Log it, and pass it on."""
        about = ids(lease.sub, verdict)
        if verdict.letter:
            log.error("event.parked", **about, reason=verdict.letter.reason)
        elif fault:
            after = verdict.after.attempts
            log.error("event.failed", **about, attempts=after, error=fault.kind, traceback=fault.traceback)
        return verdict


def _packing_error(change: EventChange) -> Exception | None:
    try:
        pack_event(change.after)
    except Exception as error:
        return error
    return None
