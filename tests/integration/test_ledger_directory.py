"""The directory: accounts and events are found while they are there, and no longer."""

from __future__ import annotations

from tests.integration.ledgers import an_event, claim, later
from worker.ledger.leases import Change, EventChange
from worker.ledger.ledger import Connecting, Credentials, Ledger

EMAIL = "Dana@Example.org"


def test_an_event_is_found_by_its_id_until_nothing_is_known_of_it(ledger: Ledger) -> None:
    """Pending or settled, in each account that has it; what settled is forgotten with its history."""

    def found(event_id: str) -> list[str]:
        return sorted(sub for sub, _ in ledger.directory.with_event(event_id, 10))

    for sub in ("one", "two"):
        for event_id in ("both", f"of-{sub}"):
            ledger.track(sub, an_event(event_id))
    lease = claim(ledger, "one")
    changes = [EventChange(each, later(each), settle=True) for each in lease.events]
    ledger.commit(lease, Change(changes))
    ledger.untrack("two", an_event("of-two").key)

    assert (found("both"), found("of-one"), found("of-two")) == (["one", "two"], ["one"], [])
    ledger.redis.delete(ledger.keys.settled("one"))
    assert (found("both"), found("of-one")) == (["two"], [])


def test_accounts_whose_events_are_tracked_together_are_all_listed(ledger: Ledger) -> None:
    """Also those that are not connected yet."""
    ledger.track_all([(sub, an_event("e")) for sub in ("one", "two", "three")])

    assert [each.sub for each in ledger.directory.page(10)[0]] == ["one", "three", "two"]


def test_sweeps_enter_what_an_older_version_wrote(ledger: Ledger) -> None:
    """Its accounts, events and addresses are found as new ones are; then there is nothing left to do."""
    ledger.connect(Connecting("acc", Credentials("token"), "us", EMAIL, None))
    ledger.track("acc", an_event("e1"))
    ledger.track("never-connected", an_event("e2"))
    keys = ledger.keys
    for key in [keys.accounts, keys.emails, *ledger.redis.scan_iter(keys.ids("*"))]:
        ledger.redis.delete(key)
    ledger.redis.hdel(keys.account("acc"), "address")
    assert ledger.directory.page(10)[0] == []

    for _ in range(50):
        if not ledger.directory.catch_up():
            break

    assert not ledger.directory.catch_up()
    assert [each.sub for each in ledger.directory.page(10)[0]] == ["acc", "never-connected"]
    assert ledger.directory.with_email(EMAIL, 5) == ["acc"]
    assert [sub for sub, _ in ledger.directory.with_event("e2", 5)] == ["never-connected"]
