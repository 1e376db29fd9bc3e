"""What is secret: after all that the shared fleet did, none of it stands anywhere in clear."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from tests.acceptance.harness import CLIENT_SECRET, Fleet, zoom
from tests.waiting import wait_until


def _values(fleet: Fleet) -> Iterator[tuple[str, bytes]]:
    """Every value in Redis with the name of its key, read as what it is: a dump would be compressed."""
    redis: Any = fleet.redis
    for key in redis.scan_iter():
        kind, name = redis.type(key), key.decode()
        if kind == b"string":
            yield name, redis.get(key) or b""
        elif kind == b"hash":
            yield from ((name, part) for pair in redis.hgetall(key).items() for part in pair)
        elif kind == b"list":
            yield from ((name, item) for item in redis.lrange(key, 0, -1))
        elif kind == b"set":
            yield from ((name, item) for item in redis.smembers(key))
        elif kind == b"zset":
            yield from ((name, item) for item in redis.zrange(key, 0, -1))
        elif kind == b"stream":
            yield from ((name, part) for _, f in redis.xrange(key) for pair in f.items() for part in pair)
        else:
            assert kind == b"none", f"{name} is a {kind}"


def _secrets(fleet: Fleet) -> dict[str, str]:
    """Everything secret that Cronofy gave out, and our own keys."""
    secrets = {"client secret": CLIENT_SECRET, "vault key": fleet.env["RECONCILER_VAULT_KEYS"]}
    for account in fleet.control.accounts():
        sub = account["sub"]
        secrets[f"access token of {sub}"] = account["access_token"]
        if account["refresh_token"]:
            secrets[f"refresh token of {sub}"] = account["refresh_token"]
        for profile in (*account["calendar_profiles"], *account["conferencing_profiles"]):
            secrets[f"relink URL of {profile['profile_id']} of {sub}"] = profile["relink_token"]
    return secrets


def test_no_secret_stands_anywhere_in_clear(fleet: Fleet) -> None:
    """No token, key or relink URL is in any value of Redis, or in what the processes printed."""
    planted = f"planted-refresh-token-{uuid4().hex}"
    fleet.caller.failure("connect_account", sub="acc_letter", refresh_token=planted, colour="red")
    person = fleet.person(zoom("pro_expired", connected=False))
    handed_over = {"refresh token": person.refresh_token, "access token": person.access_token}
    fleet.control.expire_access_token(person.sub)  # So that a refreshed one is kept as well.
    fleet.control.set_mailbox(refuse_status=451)
    try:
        # The mail server refuses for now, so the mail with the relink URL stays in the outbox.
        person.write_and_track("kept", "pro_expired")
        person.outcome("relink_requested", None)
        wait_until(lambda: b"mail.put_off" in fleet.log.read_bytes(), 10, what="a mail that waits")
        wait_until(fleet.drained, 30, what="no message under way")
        assert fleet.redis.keys("reconciler:mail:*")
        secrets = {**_secrets(fleet), "dead letter": planted, **handed_over}
        values = list(_values(fleet))
    finally:
        fleet.control.set_mailbox()
    log = fleet.log.read_bytes()

    assert fleet.control.account(person.sub)["access_token"] != person.access_token
    assert len(log) > 1000
    kinds = {key.split(":")[1] for key, _ in values if key.startswith("reconciler:")}
    assert kinds >= {"account", "outbox", "mail", "outcomes", "dead-letters", "counters"}
    for name, secret in secrets.items():
        assert len(secret) >= 16, name
        assert [key for key, value in values if secret.encode() in value] == [], name
        assert secret.encode() not in log, name
