"""`explain` and urgent questions: the same look, without changes or ahead of the queue."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tests.integration.ledgers import dump
from tests.integration.world import Begin, World
from tests.waiting import wait_until
from worker.ledger.leases import Lease
from worker.ledger.vault import Vault


@pytest.mark.parametrize(
    ("event_id", "cause", "state"),
    [
        ("removed", "profile_removed", "pending"),
        ("expired", "credentials_expired", "pending"),
        ("past", "event_in_past", "closed"),
        ("gone", "event_gone", "closed"),
        ("assigned", None, "assigned"),
    ],
)
@pytest.mark.parametrize("refresh", [False, True], ids=["token good", "token expired"])
def test_explain_changes_nothing(
    begin: Begin, event_id: str, cause: str | None, state: str, refresh: bool
) -> None:
    """Whatever it finds: no record, outcome, email or write; only a refreshed token is kept."""
    world = begin()
    for other in ("removed", "gone"):
        world.track(other)
    world.track("expired", profile=world.profiles[1])
    world.track("past", hours=-1)
    world.control.set_settings(generation_seconds=0)
    world.track("assigned")
    world.control.remove_profile(world.sub, world.profiles[0])
    world.control.disconnect_profile(world.sub, world.profiles[1])
    world.control.delete_event(world.calendar_id, "gone")
    if refresh:
        world.control.expire_access_token(world.sub)
    before = _kept(world)

    answer = world.explain(event_id).answer

    assert (answer["cause"], answer["state"]) == (cause, state)
    after = _kept(world)
    assert after == {key: value for key, value in before.items() if key in after}
    account = f"{world.services.ledger.prefix}:account:{world.sub}".encode()
    assert set(before) - set(after) <= ({account} if refresh else set())
    assert world.writes() == []


def _kept(world: World) -> dict[bytes, bytes | None]:
    """The whole ledger without the budget, call counts, and what a refresh may have changed."""
    refreshed = any("oauth" in call for call in world.calls())
    kept = {
        key: value
        for key, value in dump(world.services.ledger).items()
        if b":budget" not in key
        and not key.endswith(b":counters")
        and not (refreshed and b":account:" in key)
    }
    counters = world.services.ledger.counters()
    standing = {name: count for name, count in counters.items() if not name.startswith(("call:", "look:"))}
    return {**kept, b"counters": repr(sorted(standing.items())).encode()}


def test_explain_of_a_refused_account_does_not_lose_it(begin: Begin) -> None:
    """It says so, and leaves the conclusion to a look."""
    world = begin()
    world.track()
    world.control.expire_access_token(world.sub)
    world.control.revoke_refresh_token(world.sub)

    answer = world.explain().answer

    assert answer["cause"] == "account_unauthorized"
    assert (world.services.ledger.account(world.sub).lost, world.types()) == (False, [])


def test_an_urgent_question_waits_for_the_look_under_way(begin: Begin) -> None:
    """And is answered as soon as that look releases the account."""
    world = begin()
    world.track()
    lease = world.services.ledger.claim_account(world.sub, timedelta(minutes=1))
    assert isinstance(lease, Lease)
    answers: list[dict[str, Any]] = []
    asking = threading.Thread(target=lambda: answers.append(world.look()))
    asking.start()
    wanted = f"{world.services.ledger.prefix}:wanted:{world.sub}"
    wait_until(lambda: world.services.ledger.redis.exists(wanted), what="the question to wait")
    assert world.calls() == []

    world.services.ledger.release(lease)
    asking.join(10)

    assert [answer["cause"] for answer in answers] == ["generating"]


def test_credentials_that_no_key_opens_are_named_and_lose_nothing(begin: Begin) -> None:
    """A vault key was removed too early: the answer names the setting, and the account is not lost."""
    world = begin()
    world.track()
    world.services.ledger.vault = Vault([Fernet.generate_key().decode()])

    answer = world.look()

    assert "RECONCILER_VAULT_KEYS" in answer["evidence"][-1]
    assert (world.calls(), world.types()) == ([], [])
    assert not world.services.ledger.account(world.sub).lost
    assert world.stored().event.failures == 1
