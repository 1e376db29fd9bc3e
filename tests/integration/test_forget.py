"""Forgotten means forgotten: nothing that names a person is left in the ledger, in files, or in the log."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from structlog.testing import capture_logs

from tests.acceptance.processes import environment, run_command
from tests.integration.ledgers import claim
from tests.integration.world import Begin, World
from worker.diagnosis.model import Cause
from worker.intake import accept
from worker.intake.payloads import AccountOnly, ConnectAccount
from worker.ledger.dead_letters import DeadLetter
from worker.ledger.leases import Change, EventChange, Mail
from worker.ledger.ledger import Connecting, Credentials
from worker.ledger.outcomes import Outcome, OutcomeType
from worker.ledger.records import Episode, Memo, to_ms
from worker.run import delivery

#: One of everything that names a person, or lets somebody act for them.
PLANTED = {
    "token": "refresh-dana-5c1",
    "refused token": "refused-dana-5c1",
    "email": "dana@example.org",
    "name": "Dana Dahl",
    "summary": "Interview with Dana",
    "join link": "https://zoom.example/j/dana-5c1",
    "relink link": "https://app.cronofy.com/relink/dana-5c1",
    "calendar": "cal_of_dana",
    "profile name": "dana-zoom-5c1",
}


def everything(redis: Redis, prefix: str) -> Iterator[tuple[bytes, str]]:
    """Every key of the ledger and every result, with all that can be read of it."""
    for key in [key for pattern in (f"{prefix}*", "celery-task-meta-*") for key in redis.scan_iter(pattern)]:
        readers: dict[Any, Any] = {
            b"string": redis.get,
            b"hash": redis.hgetall,
            b"set": redis.smembers,
            b"list": lambda name: redis.lrange(name, 0, -1),
            b"zset": lambda name: redis.zrange(name, 0, -1, withscores=True),
            b"stream": redis.xrange,
        }
        yield key, repr(key) + repr(readers[redis.type(key)](key))


def plant(world: World, prefix: str) -> None:
    """All that the program may know of the account, as it comes to know it."""
    services, sub = world.services, world.sub
    ledger, redis = services.ledger, services.ledger.redis
    account = ConnectAccount(
        sub=sub, refresh_token=PLANTED["token"], email=PLANTED["email"], name=PLANTED["name"]
    )
    accept.connect_account(services, account)
    world.calendar_id = PLANTED["calendar"]
    for event_id in ("pending", "parked", "settled"):
        world.track(event_id, write=False, summary=PLANTED["summary"])
    lease, now = claim(ledger, sub), ledger.now()
    stored = {each.event.key.event_id: each for each in lease.events}
    link = {"join_url": PLANTED["join link"], "provider_name": "zoom"}
    assigned = Outcome(
        OutcomeType.ASSIGNED, sub, now, PLANTED["calendar"], "settled", Cause.GENERATING, detail=link
    )
    settled = replace(stored["settled"].event, last={"join_url": PLANTED["join link"]})
    kwargs = {"sub": sub, "calendar_id": PLANTED["calendar"], "event_id": "parked"}
    letter = DeadLetter("conferencing.reconcile_event", "parked", kwargs, f"Traceback: {PLANTED['summary']}")
    asked = Outcome(OutcomeType.RELINK_REQUESTED, sub, now, detail={"mail_id": "m1", "profile_id": "pro_1"})
    memo = Memo({"pro_1": Episode(to_ms(now), 1, ("m1",), ((PLANTED["calendar"], "pending"),))})
    names = {"pro_1": PLANTED["profile name"]}
    changes = [
        EventChange(stored["settled"], settled, settle=True, outcomes=(assigned,)),
        EventChange(stored["parked"], stored["parked"].event, dead_letter=letter),
    ]
    mails = [Mail(each, _mail(each, sub)) for each in ("m1", "m2")]
    ledger.commit(lease, Change(changes, memo=memo, profile_names=names, outcomes=(asked,), mails=mails))
    # One email is kept as a file, one was refused, one still waits.
    redis.zadd(ledger.keys.outbox, {"m2": to_ms(now) + 10**9})
    assert delivery.send_mails(services) == 1
    redis.set(ledger.keys.refused("m1"), "7f0c", ex=1000)
    lease = claim(ledger, sub)
    ledger.commit(lease, Change(mails=[Mail("m3", _mail("m3", sub))]))
    redis.zadd(ledger.keys.outbox, {"m3": to_ms(now) + 10**9})
    bad = {"refresh_token": PLANTED["refused token"], "email": PLANTED["email"]}
    ledger.dead_letters.keep("conferencing.connect_account", "sub: is missing", (), bad)
    ledger.dead_letters.keep("conferencing.track", "bad", (), {"sub": sub, "event": PLANTED["summary"]})
    body = json.dumps({"event": {"calendar_id": PLANTED["calendar"]}})
    ledger.dead_letters.keep("conferencing.receive_notification", "bad", (), {"body": body, "x": 1})
    world.notify("pending", "conferencing_failing")
    answer = {
        "sub": sub,
        "calendar_id": PLANTED["calendar"],
        "event_id": "settled",
        "state": "assigned",
        "evidence": [PLANTED["summary"]],
        "join_url": PLANTED["join link"],
    }
    for task_id, result in ((f"{prefix}-1", answer), (f"{prefix}-2", [answer])):
        redis.set(f"celery-task-meta-{task_id}", json.dumps({"status": "SUCCESS", "result": result}), ex=600)


def _mail(mail_id: str, sub: str) -> bytes:
    lines = [
        "From: us@example.org",
        f"To: {PLANTED['name']} <{PLANTED['email']}>",
        f"Message-ID: <{mail_id}@example.org>",
        "Subject: Reconnect",
        "",
        f"{PLANTED['summary']}: {PLANTED['relink link']}",
        f"Account: {sub}",
    ]
    return "\n".join(lines).encode()


def found(world: World, data_dir: Path, lines: object) -> set[str]:
    """Which of the planted values can still be found, and where."""
    ledger = world.services.ledger
    keys = everything(ledger.redis, ledger.prefix)
    texts = {key.decode(errors="replace"): text for key, text in keys}
    texts |= {f"letter {each.letter_id}": repr(each) for each in ledger.dead_letters}
    files = [path for path in data_dir.rglob("*") if path.is_file()]
    texts |= {f"file {path}": path.read_text() for path in files}
    # The log may name accounts, calendars and events.
    texts["log"] = repr(lines).replace(PLANTED["calendar"], "…").replace(world.sub, "…")
    values = [*PLANTED.items(), ("sub", world.sub)]
    return {f"{name} in {place}" for place, text in texts.items() for name, value in values if value in text}


@pytest.fixture
def world(begin: Begin) -> World:
    """A world whose account is to be forgotten."""
    return begin()


def test_nothing_of_a_forgotten_account_can_be_found(world: World, prefix: str, tmp_path: Path) -> None:
    """Every key, every dead letter, every file and every line of the log is searched for what was planted."""
    with capture_logs() as lines:
        plant(world, prefix)
        before = found(world, tmp_path, lines)
        assert {hit.partition(" in ")[0] for hit in before} >= {"relink link", "join link", "email", "sub"}

        accept.forget_account(world.services, AccountOnly(sub=world.sub))

        assert found(world, tmp_path, lines) == set()


def test_nothing_of_others_is_erased(world: World, prefix: str, tmp_path: Path) -> None:
    """Their outcomes, letters, emails and results stay."""
    other = world.another()
    ledger = world.services.ledger
    other.track("kept")
    letters = [
        ledger.dead_letters.keep("conferencing.track", "bad", (), {"sub": other.sub, "event": world.sub}),
        ledger.dead_letters.keep("conferencing.track", "bad", (), {"event": "x"}),
    ]
    meta = {"status": "SUCCESS", "result": {"sub": world.sub, "of": "another application"}}
    others = f"celery-task-meta-{prefix}-x"
    ledger.redis.set(others, json.dumps(meta), ex=600)
    plant(world, prefix)

    accept.forget_account(world.services, AccountOnly(sub=world.sub))

    assert {each["sub"] for each in ledger.outcomes.newest()} == {other.sub}
    assert [each.letter_id for each in ledger.dead_letters] == letters
    assert other.stored("kept")
    assert ledger.redis.exists(others)


def test_what_an_earlier_release_kept_as_files_is_erased(world: World, tmp_path: Path) -> None:
    """Their files do not say whose they are: the address, the Message-ID or the text does."""
    mail = tmp_path / "mail"
    mail.mkdir()
    plain = _mail("m9", "acc_other").decode()
    files = {
        "by address": plain,
        "by text": plain.replace(PLANTED["email"], "operator@example.org").replace("acc_other", world.sub),
        "another's": plain.replace(PLANTED["email"], "sam@example.org"),
        "no email": "\x00\xff",
    }
    for name, text in files.items():
        (mail / f"{name}.eml").write_text(text)
    accept.connect_account(
        world.services, ConnectAccount(sub=world.sub, refresh_token="r", email=PLANTED["email"])
    )

    accept.forget_account(world.services, AccountOnly(sub=world.sub))

    assert {path.stem for path in mail.iterdir()} == {"another's", "no email"}


def test_outcomes_are_erased_in_pieces(world: World) -> None:
    """A full stream takes seconds at most, and none of its pieces holds up the server."""
    ledger, number = world.services.ledger, 20_000
    texts = [Outcome(OutcomeType.DELAYED, sub, ledger.now()).to_json() for sub in (world.sub, "acc_other")]
    with ledger.redis.pipeline(transaction=False) as pipeline:
        for n in range(number):
            pipeline.xadd(ledger.keys.outcomes, {"outcome": texts[n % 10 == 0]})
        pipeline.execute()

    began = time.monotonic()
    ledger.outcomes.erase(world.sub)

    assert ledger.redis.xlen(ledger.keys.outcomes) == number / 10
    assert time.monotonic() - began < 10


def test_erased_outcomes_leave_nothing_undelivered(world: World) -> None:
    """Otherwise each sweep would wake a delivery for nothing."""
    ledger = world.services.ledger
    for entry_id, _ in ledger.outcomes.undelivered(10):
        ledger.outcomes.delivered(entry_id)
    assert not ledger.outcomes.has_undelivered()
    accept.forget_account(world.services, AccountOnly(sub=world.sub))
    ledger.connect(Connecting("acc_next", Credentials("r"), "us", None, None))
    assert ledger.outcomes.has_undelivered()
    for entry_id, _ in ledger.outcomes.undelivered(10):
        ledger.outcomes.delivered(entry_id)

    accept.forget_account(world.services, AccountOnly(sub="acc_next"))

    assert not ledger.outcomes.has_undelivered()


def test_a_tombstone_names_nobody_and_outlives_its_vault_key(world: World) -> None:
    """It is a keyed hash; the key is sealed, and resealed with the rest."""
    ledger = world.services.ledger
    accept.forget_account(world.services, AccountOnly(sub=world.sub))

    assert (ledger.forgotten.has(world.sub), ledger.forgotten.has("acc_other")) == (True, False)
    stones: Any = ledger.redis.zrange(ledger.keys.forgotten, 0, -1, withscores=True)
    [(stone, at)] = stones
    assert len(stone) == 16
    ledger.redis.zadd(ledger.keys.forgotten, {stone: at - timedelta(days=366).total_seconds() * 1000})
    ledger.forgotten.add("acc_other", ledger.now())
    assert (ledger.forgotten.has(world.sub), ledger.forgotten.has("acc_other")) == (False, True)


def test_replaying_a_letter_of_a_forgotten_account_asks_first(
    world: World, redis_url: str, prefix: str, tmp_path: Path
) -> None:
    """It would bring the account back; if the application has done so already, nothing is asked."""
    ledger = world.services.ledger
    accept.forget_account(world.services, AccountOnly(sub=world.sub))
    payload = {"sub": world.sub, "refresh_token": "r"}
    letter_id = ledger.dead_letters.keep("conferencing.connect_account", "bad", (), payload)
    [key] = world.services.settings.vault_keys
    env = environment(REDIS_URL=redis_url, KEY_PREFIX=prefix, VAULT_KEYS=key.get_secret_value())

    def replay(*args: str) -> tuple[int, str, int]:
        # In a process of its own, since the command configures Celery's application for good.
        ran = run_command(tmp_path, env, "dead-letters", "replay", letter_id, *args)
        return ran.returncode, ran.stderr, len(ledger.dead_letters)

    asked = replay()

    assert asked[::2] == (1, 1)
    assert f"{world.sub} was forgotten" in asked[1]
    assert "--even-forgotten" in asked[1]
    accept.connect_account(world.services, ConnectAccount(sub=world.sub, refresh_token="r"))
    assert replay() == (0, "", 0)
