"""Planted secrets: after a run with every remedy and every fault, none is in plain text anywhere."""

from __future__ import annotations

import zlib
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from cryptography.fernet import Fernet

from tests.acceptance.harness import CLIENT_SECRET, Fleet, zoom
from tests.faults.fleets import fleet_of_roles
from tests.faults.population import Population
from tests.faults.server import running_server
from tests.waiting import wait_until


def _planted(what: str) -> str:
    return f"planted-{what}-{uuid4().hex}"


def _in_clear(secret: str) -> list[bytes]:
    """Every form it could take: as it is, in a URL, and inside anything base64-encoded."""
    raw = secret.encode()
    forms = [raw, quote(secret, safe="").encode()]
    for shift in range(3):
        # Only the characters that depend on the secret alone.
        padded = b"\0" * shift + raw
        first, last = (shift * 8 + 5) // 6, len(padded) * 8 // 6
        forms += [encode(padded)[first:last] for encode in (b64encode, urlsafe_b64encode)]
    return forms


def _values(redis: Any) -> Iterator[tuple[str, bytes]]:
    """Every key's values with the key's name: dumped, read by type, and decompressed."""
    for key in redis.scan_iter(count=1000):
        name = key.decode()
        yield name, key
        yield name, redis.dump(key) or b""
        for part in _parts(redis, key):
            yield name, part
            yield from ((name, inflated) for inflated in _inflated(part))


def _parts(redis: Any, key: bytes) -> Iterator[bytes]:
    kind = redis.type(key).decode()
    if kind == "string":
        yield redis.get(key) or b""
    elif kind == "hash":
        yield from (part for pair in redis.hgetall(key).items() for part in pair)
    elif kind == "list":
        yield from redis.lrange(key, 0, -1)
    elif kind == "set":
        yield from redis.smembers(key)
    elif kind == "zset":
        yield from redis.zrange(key, 0, -1)
    elif kind == "stream":
        yield from (part for _, fields in redis.xrange(key) for pair in fields.items() for part in pair)
    else:
        assert kind == "none", f"{key!r} is a {kind}"


def _inflated(value: bytes) -> Iterator[bytes]:
    """The decompressed data in it, wherever that begins."""
    for offset in range(min(len(value), 24)):
        for bits in (-zlib.MAX_WBITS, zlib.MAX_WBITS):
            try:
                yield zlib.decompressobj(bits).decompress(value[offset:])
            except zlib.error:
                continue


def _from_cronofy(fleet: Fleet) -> dict[str, str]:
    """Everything secret that Cronofy has issued so far."""
    secrets = {}
    for account in fleet.control.accounts():
        sub = account["sub"]
        secrets[f"access token of {sub}"] = account["access_token"]
        secrets[f"refresh token of {sub}"] = account["refresh_token"]
        for profile in account["conferencing_profiles"]:
            secrets[f"relink URL of {profile['profile_id']} of {sub}"] = profile["relink_token"]
    return {name: secret for name, secret in secrets.items() if secret}


def _malformed(fleet: Fleet) -> dict[str, str]:
    """Send many malformed connect_account calls, each with a token."""
    planted = {kind: _planted(kind) for kind in ("unknown-kwarg", "type", "argument", "nested", "size")}
    fail = fleet.caller.failure
    fail("connect_account", sub="acc_x", refresh_token=planted["unknown-kwarg"], colour="red")
    fail("connect_account", sub="acc_x", refresh_token=[planted["type"]])
    fail("connect_account", ["acc_x", planted["argument"]])
    fail("connect_account", sub="acc_x", refresh_token={"a": [{"b": planted["nested"]}]})
    fail("connect_account", sub="acc_x", refresh_token=planted["size"] + "x" * 70_000)
    fail("track", sub="acc_x", calendar_id="c", event={"refresh_token": planted["nested"]})
    # Not a Celery message, or for an unknown task.
    for kind in ("raw", "half", "unknown-task"):
        planted[kind] = _planted(kind)
    fleet.redis.lpush("reconciler.intake", planted["raw"], '{"body": "' + planted["half"])
    fleet.caller.send("no_such_task", refresh_token=planted["unknown-task"])
    return planted


def test_no_planted_secret_is_found_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens, client secrets, vault keys, relink URLs, passwords: in no Redis value, log line or output."""
    password, smtp_password = _planted("redis-password"), _planted("smtp-password")
    crash_token = _let_a_look_crash(tmp_path / "crash", monkeypatch)
    keys, old_secret = [Fernet.generate_key().decode() for _ in range(2)], _planted("client-secret")
    with (
        running_server(tmp_path / "redis", password=password) as server,
        fleet_of_roles(
            tmp_path / "fleet",
            ledger=server.url,
            VAULT_KEYS=",".join(keys),
            CRONOFY_CLIENT_SECRET=f"{CLIENT_SECRET},{old_secret}",
            ESCALATE_AFTER="2",
            RELINK_REMINDERS="2,4,6",
            LOG_LEVEL="debug",
            smtp_login=f"mailer:{smtp_password}",
        ) as fleet,
    ):
        secrets = {
            **{f"vault key {number}": key for number, key in enumerate(keys)},
            "client secret": CLIENT_SECRET,
            "old client secret": old_secret,
            "Redis password": password,
            "SMTP password": smtp_password,
            "token in a traceback": crash_token,
            **_malformed(fleet),
        }
        outputs = _live_through_everything(fleet, secrets)
        secrets |= _from_cronofy(fleet)

        values = list(_values(server.client))
        log = fleet.log.read_bytes()
        assert fleet.redis.keys("reconciler:mail:*")
        families = {name.split(":")[1] for name, _ in values if name.startswith("reconciler:")}
        assert families >= {"account", "events", "settled", "outbox", "mail", "outcomes", "dead-letters"}
        assert b"look.crashed" in log
        for event in ("payload.refused", "message.dropped", "token.refreshed", "mail.refused", "mail.sent"):
            assert event.encode() in log, event

    lines = [("log", line) for line in log.splitlines()]
    shown = [*values, *lines, *(("output", output.encode()) for output in outputs)]
    everything = b"\n".join(text for _, text in shown)
    found = [
        (name, place, text[:200])
        for name, secret in secrets.items()
        for form in _in_clear(secret)
        if form in everything
        for place, text in shown
        if form in text
    ]
    assert found == []
    assert len(secrets) > 40


def _live_through_everything(fleet: Fleet, secrets: dict[str, str]) -> list[str]:
    """Every remedy, a refreshed token, a lost account, a crash, a refused and a waiting email.

    Returns what commands printed.
    """
    population = Population.of(fleet, 3, 2)
    for _, person in population.people:
        secrets[f"first access token of {person.sub}"] = person.access_token
        fleet.control.expire_access_token(person.sub)
    list(population.track())
    population.relink()
    past = fleet.person(zoom("pro_zoom"))
    past.write_and_track("past", "pro_zoom", timedelta(hours=-1))
    past.outcome("closed", "past", 40)
    stuck = fleet.person(zoom("pro_zoom"))
    stuck.stick("stuck")
    stuck.write_and_track("stuck", "pro_zoom")
    stuck.outcome("escalated", "stuck", 40)
    lost = fleet.person(zoom("pro_zoom"))
    fleet.control.expire_access_token(lost.sub)
    fleet.control.revoke_refresh_token(lost.sub)
    secrets["refresh token of a lost account"] = lost.refresh_token
    lost.write_and_track("lost", "pro_zoom")
    lost.outcome("account_lost", None, 40)
    fleet.person(zoom("pro_zoom")).write_and_track("crash", "pro_zoom")
    wait_until(lambda: b"look.crashed" in fleet.log.read_bytes(), 40, what="a crash")
    fleet.control.set_mailbox(refuse_status=550, refuse_times=1)
    unreachable = fleet.person(zoom("pro_zoom", connected=False))
    unreachable.write_and_track("unreachable", "pro_zoom")
    wait_until(lambda: b"mail.refused" in fleet.log.read_bytes(), 40, what="a refused email")
    fleet.control.set_mailbox(refuse_status=451)
    waiting = fleet.person(zoom("pro_zoom", connected=False))
    waiting.write_and_track("waiting", "pro_zoom")
    wait_until(lambda: b"mail.put_off" in fleet.log.read_bytes(), 40, what="an email that waits")
    assert population.settle(120).lost == 0
    wait_until(fleet.drained, 40, what="the queues to drain")
    return [
        _printed(fleet, "explain", "--json", waiting.sub, waiting.calendar_id, "waiting"),
        _printed(fleet, "explain", "--offline", lost.sub, lost.calendar_id, "lost"),
    ]


#: Python runs this at the start of each process: looking at one event raises an unexpected error.
CRASHING = """
import os
from worker.reconcile import look

observe = look.observe

def crash(session, due, *args):
    if any(event.key.event_id == "crash" for event in due):
        token = os.environ["PLANTED_TOKEN"]
        raise RuntimeError(f"not foreseen, with Authorization: Bearer {token}")
    return observe(session, due, *args)

look.observe = crash
"""


def _let_a_look_crash(home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make the look at an event called "crash" fail with a token at hand; returns the token."""
    home.mkdir()
    (home / "sitecustomize.py").write_text(CRASHING)
    token = _planted("crash")
    monkeypatch.setenv("PYTHONPATH", str(home))
    monkeypatch.setenv("PLANTED_TOKEN", token)
    return token


def _printed(fleet: Fleet, *args: str) -> str:
    done = fleet.run(*args)
    return done.stdout + done.stderr
