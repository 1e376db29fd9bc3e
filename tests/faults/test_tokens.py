"""Tokens: how twenty workers handle an expired or revoked one, and how secrets are rotated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any, TypeVar

import pytest
from cryptography.fernet import Fernet
from structlog.testing import capture_logs

from config.settings import load_settings
from sandbox.server import RunningSandbox
from tests.faults.record import Record
from tests.faults.stage import settings_at
from tests.integration.world import World
from worker.bootstrap import Services, bootstrap
from worker.run import delivery as outgoing
from worker.run import looks

T = TypeVar("T")
WORKERS = 20
Start = Callable[..., Services]


@pytest.fixture
def start(running: RunningSandbox, redis_url: str, prefix: str, tmp_path: Path) -> Iterator[Start]:
    """Start the services of another worker at the empty sandbox, with these settings."""
    opened: list[Services] = []
    same = settings_at(running, redis_url, prefix, tmp_path)

    def begin(**settings: Any) -> Services:
        opened.append(bootstrap(load_settings(**{**same, **settings})))
        return opened[-1]

    running.control.reset()
    yield begin
    for services in opened:
        services.close()


def world_of(services: Services, running: RunningSandbox, *event_ids: str) -> World:
    """Another connected account, with these events."""
    profiles = [{"provider_name": "zoom"}]
    world = World(services, running.control, running.control.create_account(conferencing_profiles=profiles))
    for event_id in event_ids:
        world.track(event_id)
    return world


def all_at_once(fleet: list[Services], act: Callable[[Services], T]) -> list[T]:
    """Have every worker do the same thing at the same moment."""
    barrier = Barrier(len(fleet))

    def work(services: Services) -> T:
        barrier.wait(30)
        return act(services)

    with ThreadPoolExecutor(len(fleet)) as pool:
        return list(pool.map(work, fleet))


def refreshes(running: RunningSandbox) -> int:
    return len(running.control.requests("/oauth/token"))


def a_minute_passes(services: Services) -> None:
    """Until our client credentials may be tried again."""
    redis = services.ledger.redis
    for key in list(redis.scan_iter(match=f"{services.ledger.prefix}:budget:*:probe")):
        redis.delete(key)


@pytest.mark.parametrize("rotating", [False, True], ids=["the refresh token stays", "it changes each time"])
def test_twenty_workers_refresh_an_expired_token_once(
    start: Start, running: RunningSandbox, rotating: bool, record: Record
) -> None:
    """All meet it at the same moment; each gets its answer."""
    running.control.set_personality(rotate_refresh_tokens="yes" if rotating else "no")
    fleet = [start() for _ in range(WORKERS)]
    world = world_of(fleet[0], running, "e1")
    running.control.expire_access_token(world.sub)

    answers = all_at_once(fleet, lambda services: looks.reconcile_event(services, world.sub, world.key("e1")))

    assert {(answer or {}).get("cause") for answer in answers} == {"generating"}
    assert refreshes(running) == 1
    statuses = Counter(request["status"] for request in running.control.requests("/v1/"))
    assert statuses[401] == 1
    record("Twenty workers meet an expired token", injected=1, events=1, doubled=refreshes(running) - 1)


def test_a_revoked_grant_loses_the_account_once(
    start: Start, running: RunningSandbox, record: Record
) -> None:
    """It is published once, and no call is made for the account until it is connected again."""
    fleet = [start() for _ in range(WORKERS)]
    world = world_of(fleet[0], running, "e1", "e2")
    other = world_of(fleet[0], running, "e3")
    running.control.revoke_refresh_token(world.sub)
    running.control.expire_access_token(world.sub)

    def ask(services: Services) -> str:
        answers = looks.reconcile_account(services, world.sub)
        (cause,) = {str(answer["cause"]) for answer in answers}
        return cause

    assert set(all_at_once(fleet, ask)) == {"account_unauthorized"}
    kinds = [outcome["type"] for outcome in world.outcomes()]
    assert (kinds, refreshes(running)) == (["account_lost"], 1)
    calls = len(running.control.requests())
    all_at_once(fleet, ask)
    all_at_once(fleet, lambda services: looks.explain(services, world.sub, world.key("e1")))
    all_at_once(fleet, lambda services: looks.look_at_account(services, world.sub))
    assert len(running.control.requests()) == calls
    assert len(world.services.ledger.pending(world.sub)) == 2

    running.control.authorize(world.sub)
    world.connect()
    assert set(all_at_once(fleet, ask)) == {"generating"}
    assert world.types() == ["account_lost"]
    assert other.look("e3")["cause"] == "generating"
    record("An account's grant is revoked", injected=1, events=3, doubled=kinds.count("account_lost") - 1)


def test_a_refused_client_stops_the_fleet_and_loses_no_account(
    start: Start, running: RunningSandbox, record: Record
) -> None:
    """One log line, and one probe a minute across all workers and accounts; once fixed, all resume."""
    fleet = [start() for _ in range(WORKERS)]
    worlds = [world_of(fleet[0], running, f"e{number}") for number in range(WORKERS)]
    running.control.set_settings(client_secrets=["another"])
    for world in worlds:
        running.control.expire_access_token(world.sub)
    sub_of = dict(zip(map(id, fleet), (world.sub for world in worlds), strict=True))

    def ask(services: Services) -> str:
        (answer,) = looks.reconcile_account(services, sub_of[id(services)])
        return str(answer["evidence"][-1])

    with capture_logs() as lines:
        # Each finds out through an expired token of its own account, all at the same moment.
        all_at_once(fleet, ask)
        for _ in range(3):
            before = len(running.control.requests())
            answers = all_at_once(fleet, ask)
            assert all("client id or secret" in evidence for evidence in answers)
            assert len(running.control.requests()) == before
            a_minute_passes(fleet[0])
            all_at_once(fleet, ask)
            assert len(running.control.requests()) == before + 1

    logged = Counter(line["event"] for line in lines)
    assert (logged["cronofy.client_refused"], logged["look.crashed"], logged["look.failed"]) == (1, 0, 0)
    assert not any(services.ledger.account(sub_of[id(services)]).lost for services in fleet)
    assert worlds[0].types() == []

    running.control.set_settings(client_secrets=["sandbox-secret"])
    a_minute_passes(fleet[0])
    with capture_logs() as lines:
        all_at_once(fleet, ask)
        causes = [worlds[number].look(f"e{number}")["cause"] for number in range(WORKERS)]

    assert causes == ["generating"] * WORKERS
    assert Counter(line["event"] for line in lines)["cronofy.client_accepted"] == 1
    assert [world.stored(f"e{n}").event.failures for n, world in enumerate(worlds)] == [0] * WORKERS
    record("Our client secret is refused", injected=1, events=WORKERS)


def test_client_secrets_and_vault_keys_are_changed_without_a_pause(
    start: Start, running: RunningSandbox
) -> None:
    """Add the new one in front of the old, then remove the old one; a refresh seals with the new key."""
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    steps = [
        ("old", ["old"], old),
        ("new,old", ["old"], f"{new},{old}"),
        ("new,old", ["new", "old"], f"{new},{old}"),
        ("new,old", ["new"], new),
        ("new", ["new"], new),
    ]
    world: World | None = None
    for ours, theirs, keys in steps:
        running.control.set_settings(client_secrets=theirs)
        services = start(cronofy_client_secret=ours, vault_keys=keys)
        world = world or world_of(services, running, "e1")
        world.services = services
        running.control.expire_access_token(world.sub)

        assert world.look("e1")["cause"] == "generating"
        for secret in theirs:
            assert world.notify("e1", "conferencing_assigned", secret=secret) != ()
            services.ledger.redis.delete(f"{services.ledger.prefix}:woken:{world.sub}")
            services.ledger.redis.delete(f"{services.ledger.prefix}:waking:{world.sub}")
    assert world is not None
    assert world.services.ledger.counters().get("notifications:bad_signature", 0) == 0
    assert world.stored("e1").event.failures == 0


def test_an_email_whose_vault_key_is_gone_waits_for_it(start: Start, running: RunningSandbox) -> None:
    """The log names the setting to fix, later emails go out, and so does this one once the key is back."""
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    first = world_of(start(vault_keys=old), running, "e1")
    running.control.disconnect_profile(first.sub, first.profiles[0])
    first.look("e1")
    services = start(vault_keys=new)
    second = world_of(services, running, "e2")
    running.control.disconnect_profile(second.sub, second.profiles[0])
    second.look("e2")

    with capture_logs() as lines:
        assert outgoing.send_mails(services) == 1
    unreadable, sent = (line for line in lines if line["event"].startswith("mail."))
    assert (unreadable["event"], sent["event"]) == ("mail.unreadable", "mail.sent")
    assert "RECONCILER_VAULT_KEYS" in unreadable["reason"]

    fixed = start(vault_keys=f"{new},{old}")
    redis, outbox = fixed.ledger.redis, f"{fixed.ledger.prefix}:outbox"
    waiting: Any = redis.zrange(outbox, 0, -1)
    redis.zadd(outbox, dict.fromkeys(waiting, 0))
    assert outgoing.send_mails(fixed) == 1
    assert len(running.control.mail()) == 2
