"""Access tokens that the application gives: when the next is asked for, and when one is found useless."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.unit.builders import (
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    SUB,
    labelled,
    stored,
    tracked,
)
from worker.ledger.leases import Lease
from worker.ledger.packing import fingerprint, pack_token, unpack_account
from worker.ledger.records import AccessToken, Account, TrackedEvent, from_ms, to_ms
from worker.reconcile.observe import asked_in_time, found_useless

EVENT = tracked()
PARKED = replace(EVENT, parked="It failed.")


def lease(token: AccessToken | None, *events: TrackedEvent) -> Lease:
    account = Account(SUB, b"sealed", lost=False, token=token)
    return Lease(SUB, "token", NOW, account, tuple(stored(event) for event in events))


def token(lapses: timedelta, asks: timedelta | None) -> AccessToken:
    """One that lapses in this time, and whose successor is asked for in that time."""
    return AccessToken(to_ms(NOW + lapses), None if asks is None else to_ms(NOW + asks))


@pytest.mark.parametrize(
    ("expires_in", "ahead"),
    labelled(
        ("three hours", 3 * HOUR, 10 * MINUTE),
        ("an hour", HOUR, 10 * MINUTE),
        ("forty minutes", 40 * MINUTE, 10 * MINUTE),
        ("ten minutes", 10 * MINUTE, 150 * SECOND),
        ("a minute", MINUTE, 15 * SECOND),
    ),
)
def test_the_next_token_is_asked_for_ahead(expires_in: timedelta, ahead: timedelta) -> None:
    """Ten minutes before the token lapses; a quarter of its time before, if that is less."""
    given = AccessToken.given(NOW, expires_in)

    assert given.ask_at is not None
    assert (from_ms(given.lapses_at), from_ms(given.ask_at)) == (NOW + expires_in, NOW + expires_in - ahead)


@pytest.mark.parametrize(
    ("known", "events", "asks"),
    labelled(
        ("we refresh the tokens", None, [EVENT], False),
        ("too early", token(HOUR, MINUTE), [EVENT], False),
        ("time to", token(MINUTE, -MINUTE), [EVENT], True),
        ("lapsed before anyone looked", token(-MINUTE, -HOUR), [EVENT], True),
        ("asked already", token(MINUTE, None), [EVENT], False),
        ("nothing pending", token(MINUTE, -MINUTE), [], False),
        ("only a parked event", token(MINUTE, -MINUTE), [PARKED], False),
    ),
)
def test_it_is_asked_for_once_and_only_if_needed(
    known: AccessToken | None, events: list[TrackedEvent], asks: bool
) -> None:
    """While the token is good, a look that comes when it is time asks."""
    step = asked_in_time(lease(known, *events))

    assert (step is not None) == asks
    if step and known:
        assert step.token == AccessToken(known.lapses_at)
        [outcome] = step.outcomes
        assert (outcome.type, outcome.event_id, outcome.cause) == ("token_needed", None, None)
        assert outcome.detail["lapses_at"] == step.since.isoformat(timespec="milliseconds")
        assert asked_in_time(lease(step.token, *events)) is None


@pytest.mark.parametrize(
    ("known", "events", "since", "asks"),
    labelled(
        ("refused before it was asked for", token(HOUR, MINUTE), [EVENT], NOW, True),
        ("refused after it was asked for", token(MINUTE, None), [EVENT], NOW, False),
        ("lapsed an hour ago", token(-HOUR, None), [EVENT], NOW - HOUR, False),
        ("refused, and nothing pending", token(HOUR, MINUTE), [], NOW, False),
        ("its record is damaged", None, [EVENT], NOW, True),
    ),
)
def test_a_useless_token_is_asked_for_unless_it_was(
    known: AccessToken | None, events: list[TrackedEvent], since: object, asks: bool
) -> None:
    """It counts as lapsed from now on, at the latest."""
    step = found_useless(lease(known, *events))

    assert (step.since, bool(step.outcomes)) == (since, asks)
    if events:
        assert (step.token.ask_at, found_useless(lease(step.token, *events)).outcomes) == (None, ())
    elif known:
        assert step.token.ask_at == known.ask_at


def test_what_is_known_of_a_token_is_about_its_credentials() -> None:
    """It is read back as it was; once other credentials are stored, or if damaged, it means nothing."""
    for known in (token(HOUR, MINUTE), token(HOUR, None)):
        kept = {b"credentials": b"sealed", b"token": pack_token(known, b"sealed")}
        assert unpack_account(SUB, kept).token == known
        assert unpack_account(SUB, {**kept, b"credentials": b"others"}).token is None
    assert unpack_account(SUB, {b"credentials": b"sealed"}).token is None
    damaged = unpack_account(SUB, {b"credentials": b"sealed", b"token": fingerprint(b"sealed").encode()})
    assert (damaged.token, damaged.unreadable) == (None, ("token",))
