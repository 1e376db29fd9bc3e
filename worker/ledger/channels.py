"""What the ledger knows of accounts' notification channels, and of what came over them."""

from __future__ import annotations

from datetime import timedelta

from worker.ledger.leases import Lease, LeaseLost
from worker.ledger.ledger import Ledger
from worker.ledger.packing import pack_channel
from worker.ledger.records import Channel


def look_after_channel(ledger: Ledger, sub: str) -> None:
    """Have the account's channel seen to next, also where it has no event."""
    ledger.run("tend", sub)


def keep_channel(ledger: Ledger, lease: Lease, channel: Channel | None, again: timedelta | None) -> None:
    """Write down what was found of the account's channel (None: nothing), and end the lease.

    `again` is when it is to be looked after for its own sake; None: along with its events only.
    Raises LeaseLost, with nothing written.
    """
    claimed = lease.account.channel_due
    kept = ledger.run(
        "channel",
        lease.sub,
        lease.token,
        "" if claimed is None else claimed,
        pack_channel(channel) if channel else b"",
        "" if again is None else int(again.total_seconds() * 1000),
    )
    if not kept:
        raise LeaseLost("The lease of this account expired before its channel was written down.")


def hear_of_account(ledger: Ledger, sub: str, channel_id: str | None = None, *, due: bool = True) -> bool:
    """Take a notification about an account as a whole: with `due`, all its pending events are due now.

    `channel_id` names the channel that it came over. Returns whether any event became due.
    """
    return bool(ledger.run("heard", sub, channel_id or "", "1" if due else ""))
