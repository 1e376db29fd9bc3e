"""Vault keys can be taken away: all is resealed, and doctor knows when nothing needs the old one."""

from __future__ import annotations

import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.fernet import Fernet
from redis import Redis

from config.settings import load_settings
from tests.integration.ledgers import an_event, claim
from tests.integration.world import Begin
from worker.cli import cli
from worker.cronofy.callbacks import Callbacks
from worker.doctor import secrets
from worker.doctor.examination import CHECKS
from worker.doctor.finding import Finding, Health
from worker.intake import accept
from worker.intake.payloads import ConnectAccount
from worker.ledger import reseal as resealing
from worker.ledger.dead_letters import DeadLetter
from worker.ledger.leases import Change, EventChange, Mail
from worker.ledger.ledger import Connecting, Credentials, Ledger
from worker.ledger.outbox import Outbox
from worker.ledger.packing import pack_channel
from worker.ledger.records import EventKey, NotificationChannel
from worker.ledger.vault import Vault, VaultError

OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))
KEY = EventKey("cal", "e1")


def a_ledger(redis: Redis, prefix: str, *keys: str) -> Ledger:
    """The ledger with these vault keys."""
    return Ledger(redis, prefix, Vault(keys), timedelta(days=1), 1000)


@pytest.fixture
def before(redis: Redis, prefix: str) -> Ledger:
    """A ledger under the old key, with one of everything that is sealed, and nothing waiting for a look."""
    ledger = a_ledger(redis, prefix, OLD)
    ledger.connect(Connecting("lent", Credentials(None, "access"), "us", None, None, timedelta(hours=1)))
    ledger.connect(Connecting("acc", Credentials("refresh", "access"), "us", None, None))
    ledger.track("acc", an_event())
    lease = claim(ledger)
    letter = DeadLetter(
        "conferencing.reconcile_event",
        "parked",
        {"sub": "acc", "calendar_id": "cal", "event_id": "e1"},
        "Traceback",
        b"\x00broken",
    )
    change = EventChange(lease.events[0], lease.events[0].event, dead_letter=letter)
    ledger.commit(lease, Change([change], mails=[Mail("m1", b"the relink link")]))
    ledger.dead_letters.keep("conferencing.connect_account", "bad", (), {"refresh_token": "refused"})
    return ledger


def run(redis_url: str, prefix: str, *args: str, **settings: Any) -> Any:
    """Run the command with both keys."""
    names = {"redis_url": redis_url, "key_prefix": prefix, "vault_keys": f"{NEW},{OLD}", **settings}
    env = {f"RECONCILER_{name.upper()}": value for name, value in names.items()}
    return CliRunner().invoke(cli, ["reseal", *args], env=env)


def vault_line(redis_url: str, prefix: str, *keys: str) -> Finding:
    """What doctor says of the keys."""
    settings = load_settings(redis_url=redis_url, key_prefix=prefix, vault_keys=",".join(keys))
    [finding] = CHECKS["vault keys"](settings)
    return finding


@pytest.mark.usefixtures("before")
def test_doctor_tries_what_no_look_waits_for(redis: Redis, redis_url: str, prefix: str) -> None:
    """An account without a pending event needs its key as much as any other."""
    redis.delete(f"{prefix}:oldest", f"{prefix}:outbox", f"{prefix}:dead-letters")

    finding = vault_line(redis_url, prefix, NEW)

    assert (finding.health, finding.what.split(" can")[0]) == (Health.WRONG, "2 of 2 sealed values")


@pytest.mark.usefixtures("before")
def test_doctor_says_when_an_older_key_may_go(redis_url: str, prefix: str) -> None:
    """Only once nothing at all needs it."""
    needed = vault_line(redis_url, prefix, NEW, OLD)
    ran = run(redis_url, prefix)
    free, without = vault_line(redis_url, prefix, NEW, OLD), vault_line(redis_url, prefix, NEW)

    assert (needed.health, ran.exit_code) == (Health.WARNING, 0), ran.output
    assert "5 of 5 sealed values can be opened only with an older key" in needed.what
    assert "reconciler reseal" in needed.fix
    assert free.what == "the newest opens all that is sealed (5 values): the others may go"
    assert (without.health, without.what) == (Health.OK, "they open what is sealed (5 values)")


@pytest.mark.usefixtures("before")
def test_doctor_says_so_if_it_could_count_only_a_part(
    redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then no key may go."""
    assert run(redis_url, prefix).exit_code == 0
    monkeypatch.setattr(secrets, "LONGEST_SECONDS", 0)

    finding = vault_line(redis_url, prefix, NEW, OLD)

    assert finding.health is Health.OK
    assert "the first 1 sealed value; more were not counted" in finding.what
    assert "may go" not in finding.what


def test_everything_opens_with_the_newest_key_alone(
    before: Ledger, redis: Redis, redis_url: str, prefix: str
) -> None:
    """Tokens, emails, dead letters with their times; what belongs to each other stays together."""
    token = before.account("lent").token
    kept = {letter.letter.reason: letter.at for letter in before.dead_letters}

    ran = run(redis_url, prefix, "--json")

    assert json.loads(ran.stdout) == {
        "tombstones": 0,
        "rooms": 0,
        "addresses": 0,
        "emails": 1,
        "dead_letters": 2,
        "credentials": 2,
        "channels": 0,
        "shut": 0,
        "busy": 0,
    }
    after = a_ledger(redis, prefix, NEW)
    assert after.open_credentials(after.account("acc")) == Credentials("refresh", "access")
    assert after.open_credentials(after.account("lent")) == Credentials(None, "access")
    assert token is not None
    assert after.account("lent").token == token
    mail = Outbox(after).take()
    assert mail is not None
    assert mail.message == b"the relink link"
    letters = {letter.letter.reason: letter for letter in after.dead_letters}
    assert {reason: letter.at for reason, letter in letters.items()} == kept
    assert letters["bad"].letter.kwargs == {"refresh_token": "refused"}
    parked = letters["parked"]
    assert (parked.letter.traceback, parked.letter.record) == ("Traceback", b"\x00broken")
    assert redis.hget(after.keys.letters("acc"), KEY.field.decode()) == parked.letter_id.encode()


@pytest.mark.usefixtures("before")
def test_a_second_run_has_nothing_to_do(redis_url: str, prefix: str) -> None:
    """So one that was ended is simply repeated."""
    first, second = run(redis_url, prefix), run(redis_url, prefix)

    assert (first.stdout, second.stdout) == ("5 values of 5 resealed.\n", "0 values of 5 resealed.\n")


def test_what_a_look_holds_waits_for_it(before: Ledger, redis: Redis, prefix: str) -> None:
    """The look may be refreshing the tokens, and stores them only over those that it read."""
    lease, both = claim(before), a_ledger(redis, prefix, NEW, OLD)

    held = resealing.reseal(both, timedelta(seconds=0.1), lambda _: None)
    before.keep_credentials(lease.account, Credentials("refresh-2", "access-2"))
    before.release(lease)
    after = resealing.reseal(both, timedelta(seconds=5), lambda _: None)

    assert (held["busy"], after["busy"], after["credentials"]) == (1, 0, 1)
    new = a_ledger(redis, prefix, NEW)
    assert new.open_credentials(new.account("acc")) == Credentials("refresh-2", "access-2")


def test_no_token_is_lost_beside_looks_that_refresh(
    begin: Begin, redis: Redis, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each refresh gives another refresh token, so one that was lost would lose the account."""
    monkeypatch.setattr(resealing, "PAUSE_SECONDS", 0.001)
    world = begin(vault_keys=f"{OLD},{NEW}")
    world.control.set_personality(rotate_refresh_tokens="yes")
    world.track()
    both = a_ledger(redis, prefix, NEW, OLD)
    over = threading.Event()
    resealed: Counter[str] = Counter()

    def keep_resealing() -> None:
        while not over.is_set():
            resealed.update(resealing.reseal(both, timedelta(seconds=5), lambda _: None))

    with ThreadPoolExecutor(1) as beside:
        running = beside.submit(keep_resealing)
        try:
            for _ in range(10):
                world.control.expire_access_token(world.sub)
                assert world.look()["cause"] == "generating"
        finally:
            over.set()
        running.result(30)

    assert (resealed["credentials"] > 3, resealed["busy"], resealed["shut"]) == (True, 0, 0)
    assert not world.services.ledger.account(world.sub).lost


@pytest.mark.usefixtures("before")
def test_what_no_key_opens_is_left_and_said(redis: Redis, redis_url: str, prefix: str) -> None:
    """With exit code 1, and everything else is resealed."""
    stranger = a_ledger(redis, prefix, Fernet.generate_key().decode())
    stranger.connect(Connecting("lost", Credentials("refresh"), "us", None, None))

    ran = run(redis_url, prefix)

    assert (ran.exit_code, ran.stdout) == (1, "5 values of 6 resealed.\n")
    assert "1 is opened by no key" in ran.stderr


def test_a_channels_address_is_checked_if_an_older_key_made_it(
    before: Ledger, redis: Redis, redis_url: str, prefix: str
) -> None:
    """The check then moves the channel."""
    url = "https://hooks.example.com"
    for sub, vault in (("acc", Vault([OLD])), ("lent", Vault([NEW]))):
        channel = NotificationChannel("chn", Callbacks(url, vault).of(sub))
        redis.hset(before.keys.account(sub), "channel", pack_channel(channel))

    ran = run(redis_url, prefix, webhook_url=url)

    assert "1 notification channel will move" in ran.stdout
    assert before.account("acc").channel_due is not None
    assert before.account("lent").channel_due is None


def test_connecting_again_replaces_what_cannot_be_opened(begin: Begin) -> None:
    """Even if the message is delivered twice."""
    world = begin()
    ledger = world.services.ledger
    ledger.redis.hset(ledger.keys.account(world.sub), "credentials", Fernet(OLD).encrypt(b"{}"))
    account = ConnectAccount(sub=world.sub, refresh_token="again")

    accept.connect_account(world.services, account, again=True)

    assert ledger.open_credentials(ledger.account(world.sub)) == Credentials("again")


def test_nothing_sealed_opens_elsewhere(before: Ledger, redis: Redis) -> None:
    """Not another account's tokens, not another account's email, not another task's payload."""
    keys = before.keys
    tokens: Any = redis.hget(keys.account("acc"), "credentials")
    redis.hset(keys.account("lent"), "credentials", tokens)
    redis.hset(keys.mail("m1"), "sub", "lent")
    redis.xadd(keys.dead_letters, {"letter": _of_task(redis, before, "conferencing.track")})

    with pytest.raises(VaultError):
        before.open_credentials(before.account("lent"))
    with pytest.raises(VaultError):
        Outbox(before).take()
    *_, moved = before.dead_letters
    assert moved.sealed is not None
    assert "not where it was sealed" in moved.sealed


def _of_task(redis: Redis, ledger: Ledger, task: str) -> bytes:
    """The newest letter, but of another task."""
    entries: Any = redis.xrevrange(ledger.keys.dead_letters, count=1)
    [(_, fields)] = entries
    former = b"conferencing.connect_account"
    return bytes(fields[b"letter"]).replace(b"\xbc" + former, bytes([0xA0 + len(task)]) + task.encode())


def test_the_upgrade_binds_what_was_not(redis: Redis, redis_url: str, prefix: str) -> None:
    """The same key, sealed by a release that bound nothing: doctor counts it, and `reseal` binds it."""
    ledger = a_ledger(redis, prefix, NEW)
    ledger.connect(Connecting("acc", Credentials("refresh"), "us", None, None))
    plain = json.dumps({"refresh_token": "refresh", "access_token": None}).encode()
    redis.hset(ledger.keys.account("acc"), "credentials", Fernet(NEW).encrypt(plain))

    unbound = vault_line(redis_url, prefix, NEW)
    ran = run(redis_url, prefix)

    assert (unbound.health, "binds 1 to their place" in unbound.what) == (Health.OK, True)
    assert ran.stdout == "1 value of 1 resealed.\n"
    assert "binds" not in vault_line(redis_url, prefix, NEW).what
    assert ledger.open_credentials(ledger.account("acc")) == Credentials("refresh")
