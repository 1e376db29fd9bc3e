"""Accounts in the ledger: connected, lost, connected again, forgotten; and ids of every kind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.integration.ledgers import LONG, an_event, claim, dump, later, outcome, outcome_count, standing
from worker.diagnosis.model import Cause
from worker.ledger.leases import Change, Committed, EventChange, Lease, LeaseLost, Mail
from worker.ledger.ledger import Connecting, Credentials, Ledger
from worker.ledger.outbox import Outbox
from worker.ledger.outcomes import Outcome, OutcomeType
from worker.ledger.records import Episode, EventKey, LastRead, Memo

SUB = "acc_who_leaves"
ODD_IDS = [
    pytest.param("a:b", id="colon"),
    pytest.param("3:abc", id="like a length"),
    pytest.param("line\nbreak\r\n", id="line break"),
    pytest.param("nul\0byte", id="nul"),
    pytest.param("Ünïcødé ☎ 日本 🎉", id="unicode"),
    pytest.param("%s {x} ' \" \\", id="quotes"),
    pytest.param("x" * 1024, id="1 KiB"),
    pytest.param(" ", id="blank"),
]


def connect(ledger: Ledger, sub: str = SUB, refresh_token: str = "refresh-1") -> None:
    """Connect an account in the German data centre."""
    ledger.connect(Connecting(sub, Credentials(refresh_token, "access-1"), "de", "dana@example.org", "Dana"))


def kinds(ledger: Ledger) -> list[str]:
    """The types of the outcomes, oldest first."""
    return [outcome["type"] for outcome in reversed(ledger.outcomes.newest())]


def lose(ledger: Ledger, lease: Lease) -> Committed:
    """Commit that Cronofy refuses the account."""
    lost = Outcome(OutcomeType.ACCOUNT_LOST, lease.sub, lease.now, cause=Cause.ACCOUNT_UNAUTHORIZED)
    change = Change([EventChange(s, later(s)) for s in lease.events], lost=True, outcomes=[lost])
    return ledger.commit(lease, change)


def test_a_connected_account_is_read_back_whole(ledger: Ledger) -> None:
    """Its data centre, address, name and newest tokens; only the first connect is published."""
    connect(ledger)
    connect(ledger, refresh_token="refresh-2")

    account = ledger.account(SUB)
    found = (account.data_center, account.email, account.name, account.lost)
    assert found == ("de", "dana@example.org", "Dana", False)
    assert ledger.open_credentials(account) == Credentials("refresh-2", "access-1")
    [first] = ledger.outcomes.newest()
    assert (first["type"], first["sub"], first["event_id"]) == ("account_connected", SUB, None)


def test_connecting_again_without_email_or_name_keeps_them(ledger: Ledger) -> None:
    """What is not given stays; what is given, even if empty, replaces it; a damaged profile does no harm."""
    connect(ledger)

    def reconnect(email: str | None, name: str | None) -> tuple[str | None, str | None]:
        ledger.connect(Connecting(SUB, Credentials("refresh-2"), "de", email, name))
        account = ledger.account(SUB)
        assert account.unreadable == ()
        return account.email, account.name

    assert reconnect(None, None) == ("dana@example.org", "Dana")
    assert reconnect("d@example.org", None) == ("d@example.org", "Dana")
    assert reconnect(None, "Dänä 日本" * 40) == ("d@example.org", "Dänä 日本" * 40)
    assert reconnect("", None) == ("", "Dänä 日本" * 40)
    ledger.redis.hset(ledger.keys.account(SUB), "profile", b"\xc1 damaged")
    assert reconnect(None, "Dana") == (None, "Dana")


def test_a_lost_account_is_not_scheduled_and_wakes_on_connect(ledger: Ledger) -> None:
    """Its events stay tracked; nothing makes them due until it is connected, which is published again."""
    connect(ledger)
    ledger.track(SUB, an_event(due=False))
    assert lose(ledger, claim(ledger, SUB)) == Committed()
    assert ledger.account(SUB).lost

    ledger.track(SUB, an_event("tracked-while-lost"))
    ledger.take_notification(SUB)
    ledger.promote(10)
    assert (standing(ledger, SUB), ledger.claim(LONG)) == (set(), None)
    connect(ledger)

    assert (standing(ledger, SUB), ledger.account(SUB).lost) == ({"ready"}, False)
    lease = ledger.claim(LONG)
    assert lease is not None
    assert all((s.event.next_look or 0) <= lease.now.timestamp() * 1000 for s in lease.events)
    assert len(lease.events) == 2
    assert kinds(ledger) == ["account_connected", "account_lost", "account_connected"]


def test_connected_again_during_the_look_that_found_it_refused(ledger: Ledger) -> None:
    """The refusal was of older credentials: the account is not lost, and its events are looked at again."""
    connect(ledger)
    ledger.track(SUB, an_event())
    lease = claim(ledger, SUB)
    connect(ledger, refresh_token="refresh-2")

    committed = lose(ledger, lease)

    assert committed.void
    assert (ledger.account(SUB).lost, standing(ledger, SUB)) == (False, {"ready"})
    assert kinds(ledger) == ["account_connected"]


def test_an_account_without_credentials_can_be_lost_too(ledger: Ledger) -> None:
    """Tracked and never connected: refused once, then it waits for its first connect."""
    ledger.track(SUB, an_event())
    account = ledger.account(SUB)
    assert (account.credentials, ledger.open_credentials(account), account.lost) == (None, None, False)

    lose(ledger, claim(ledger, SUB))
    assert (ledger.account(SUB).lost, standing(ledger, SUB)) == (True, set())
    connect(ledger)

    assert standing(ledger, SUB) == {"ready"}


def test_refreshed_tokens_are_kept_only_over_those_they_came_from(ledger: Ledger) -> None:
    """A connect during the refresh wins; a forgotten account does not come back."""
    connect(ledger)
    account = ledger.account(SUB)

    sealed = ledger.keep_credentials(account, Credentials("refresh-2", "access-2"))
    assert sealed == ledger.account(SUB).credentials
    assert ledger.keep_credentials(account, Credentials("stale", "stale")) is None
    assert ledger.open_credentials(ledger.account(SUB)) == Credentials("refresh-2", "access-2")

    ledger.forget(SUB)
    assert ledger.keep_credentials(account, Credentials("back", "back")) is None
    assert ledger.account(SUB).credentials is None


def test_forgetting_leaves_no_trace_but_outcomes(ledger: Ledger) -> None:
    """No key or value contains the account's id; others are untouched, and a look at it is void."""
    connect(ledger, "other")
    ledger.track("other", an_event("others", calendar_id="shared"))
    connect(ledger)
    for event_id, calendar_id in (("e1", "shared"), ("e2", "own"), ("e3", "own")):
        ledger.track(SUB, an_event(event_id, calendar_id=calendar_id))
    lease = claim(ledger, SUB)
    memo = Memo({"pro_1": Episode(1, 1, ("m1",), (("own", "e2"),))}, {"pro_1": "zoom"})
    settled, *kept = lease.events
    changes = [EventChange(settled, settled.event, settle=True), *(EventChange(s, later(s)) for s in kept)]
    ledger.commit(lease, Change(changes, memo=memo, mails=[Mail("m1", b"mail")], outcomes=[outcome(SUB)]))
    ledger.nudge(SUB, kept[0].event.key, b"a hint")
    look = claim(ledger, SUB)

    for _ in range(2):
        ledger.forget(SUB)
    with pytest.raises(LeaseLost):
        ledger.commit(look, Change([EventChange(s, later(s)) for s in look.events]))

    holding = [key for key, value in dump(ledger).items() if SUB.encode() in key + (value or b"")]
    assert set(holding) <= {ledger.keys.outcomes.encode()}
    assert not Outbox(ledger).has_due()
    assert ledger.counters()["events:pending"] == 1
    assert (ledger.accounts_of("shared"), ledger.accounts_of("own")) == (("other",), ())


def test_a_look_of_0_1_0_leaves_the_names_of_profiles(ledger: Ledger) -> None:
    """During a roll-out both versions look at an account: the former knows its memo alone."""
    connect(ledger)
    ledger.track(SUB, an_event("e1"))
    names, memo = {"pro_1": "dana@example.org"}, Memo(providers={"pro_1": "zoom"})

    ledger.commit(claim(ledger, SUB), Change(memo=memo, profile_names=names))
    ledger.commit(claim(ledger, SUB), Change(memo=replace(memo, last_read=LastRead(1, 3))))
    connect(ledger)

    account = ledger.account(SUB)
    assert (account.profile_names, account.memo.last_read) == (names, LastRead(1, 3))


@pytest.mark.parametrize("odd", ODD_IDS)
def test_ids_are_opaque(ledger: Ledger, odd: str) -> None:
    """An account, calendar and event may have any id; each goes through its whole life."""
    connect(ledger, odd)
    ledger.track(odd, an_event(odd, calendar_id=odd))
    assert ledger.accounts_of(odd) == (odd,)
    ledger.promote(10)
    lease = ledger.claim(LONG)
    assert lease is not None
    assert (lease.sub, lease.events[0].event.key) == (odd, EventKey(odd, odd))

    refused = ledger.commit(lease, Change([EventChange(lease.events[0], lease.events[0].event, settle=True)]))

    assert (refused.changed, ledger.accounts_of(odd), outcome_count(ledger)) == (frozenset(), (), 1)
    assert ledger.find(odd, EventKey(odd, odd)) is not None
    assert ledger.untrack(odd, EventKey(odd, odd))
    assert ledger.find(odd, EventKey(odd, odd)) is None


def test_accounts_whose_ids_look_like_keys_do_not_mix(ledger: Ledger) -> None:
    """An account called "x:leased" or "" + ":x" has its own keys."""
    for sub in ("x", "x:leased", ":x", "leased", "outcomes:sent"):
        connect(ledger, sub, refresh_token=sub)
        ledger.track(sub, an_event(sub))

    ledger.forget("x")

    assert ledger.account("x").credentials is None
    for sub in ("x:leased", ":x", "leased", "outcomes:sent"):
        assert ledger.open_credentials(ledger.account(sub)) == Credentials(sub, "access-1")
        assert [s.event.key.event_id for s in ledger.pending(sub)] == [sub]
