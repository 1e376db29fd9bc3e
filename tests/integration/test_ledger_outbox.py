"""What the ledger keeps for later: emails, dead letters, sealed secrets."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from redis import Redis

from tests.integration.ledgers import an_event, claim, dump, outcome, outcome_count
from tests.waiting import wait_until
from worker.ledger.dead_letters import DeadLetter, KeptLetter
from worker.ledger.leases import Change, EventChange, Mail
from worker.ledger.ledger import Connecting, Credentials, Ledger
from worker.ledger.outbox import Outbox
from worker.ledger.outcomes import OutcomeType
from worker.ledger.vault import Vault, VaultError

SECRET = "planted-secret-token"


@pytest.fixture
def outbox(ledger: Ledger) -> Outbox:
    """The outbox of the ledger."""
    return Outbox(ledger)


def put(ledger: Ledger, *mail_ids: str, cancel: tuple[str, ...] = ()) -> None:
    """Commit emails as a look does."""
    ledger.track("acc", an_event())
    mails = [Mail(mail_id, f"mail {mail_id} {SECRET}".encode()) for mail_id in mail_ids]
    ledger.commit(claim(ledger), Change(mails=mails, cancel=cancel))


def test_an_email_is_claimed_whole_and_once(ledger: Ledger, outbox: Outbox) -> None:
    """While one process has it, no other gets it; the longest waiting goes first."""
    assert (outbox.take(), outbox.has_due()) == (None, False)
    put(ledger, "z-first")
    put_at = ledger.now()
    wait_until(lambda: ledger.now() > put_at + timedelta(milliseconds=1), what="the next millisecond")
    put(ledger, "a-second")
    assert outbox.has_due()

    mails = [mail for mail in iter(outbox.take, None) if mail]

    assert [(mail.mail_id, mail.message, mail.sub, mail.attempts) for mail in mails] == [
        (mail_id, f"mail {mail_id} {SECRET}".encode(), "acc", 1) for mail_id in ("z-first", "a-second")
    ]
    assert not outbox.has_due()
    assert SECRET not in repr((mails, Mail("m1", SECRET.encode()), Credentials(SECRET, SECRET)))


@pytest.mark.parametrize("how", ["put off", "its sender died"])
def test_an_unsent_email_is_claimed_again(
    ledger: Ledger, outbox: Outbox, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """After its wait, or after the lease; not before, and each attempt counts."""
    put(ledger, "m2")
    outbox.take()
    outbox.later("m2", timedelta(hours=1))
    put(ledger, "m1")
    if how == "its sender died":
        monkeypatch.setattr("worker.ledger.outbox.SEND_LEASE", timedelta(milliseconds=30))
    outbox.take()
    if how == "put off":
        outbox.later("m1", timedelta(milliseconds=30))

    again = wait_until(outbox.take, what="the wait to pass")

    assert again is not None
    assert (again.mail_id, again.attempts) == ("m1", 2)
    assert outbox.take() is None


@pytest.mark.parametrize("how", ["sent", "refused"])
def test_a_finished_email_is_removed_and_counted(ledger: Ledger, outbox: Outbox, how: str) -> None:
    """Only a count of it remains; a refusal is published in the same step, and remembered."""
    put(ledger, "m1")
    outbox.take()
    assert (outbox.holds("m1"), outbox.was_refused("m1")) == (True, False)

    if how == "sent":
        outbox.sent("m1")
    else:
        outbox.refused("m1", "dana@example.org", "no such user", [outcome(kind=OutcomeType.ESCALATED)])

    escalated = ["escalated"] if how == "refused" else []
    assert [each["type"] for each in ledger.outcomes.newest()] == escalated
    assert ledger.counters()[f"mail:{how}"] == 1
    assert ledger.counters().get("outcome:escalated", 0) == len(escalated)
    assert (outbox.take(), outbox.holds("m1"), outbox.was_refused("m1")) == (None, False, how == "refused")


@pytest.mark.parametrize("how", ["sent", "later", "refused"])
def test_an_email_cancelled_while_being_sent_does_not_come_back(
    ledger: Ledger, outbox: Outbox, how: str
) -> None:
    """However sending it ended: nothing is counted, published or kept."""
    put(ledger, "m1")
    outbox.take()
    put(ledger, cancel=("m1",))

    arguments = {"sent": (), "later": (timedelta(0),), "refused": ("dana@example.org", "no", [outcome()])}[
        how
    ]
    getattr(outbox, how)("m1", *arguments)

    assert (outbox.take(), ledger.redis.zcard(ledger.keys.outbox)) == (None, 0)
    assert not any(name.startswith("mail:") for name in ledger.counters())
    assert ledger.outcomes.newest() == []


def test_a_cancelled_email_is_not_claimed(ledger: Ledger, outbox: Outbox) -> None:
    """The profile is connected again: its reminder is not sent."""
    put(ledger, "m1", "m2")

    put(ledger, cancel=("m1", "unknown"))

    assert [mail.mail_id for mail in iter(outbox.take, None)] == ["m2"]


@pytest.mark.parametrize(
    ("args", "kwargs", "kept"),
    [
        pytest.param((), {"odd": [None, 1.5, {"ü": "\ud800"}]}, None, id="odd JSON"),
        pytest.param(["acc"], {"sub": 1}, {"sub": 1, "*": ["acc"]}, id="positional"),
        pytest.param((), {"when": timedelta(1)}, {"when": "datetime.timedelta(days=1)"}, id="no JSON"),
        pytest.param((), {"n": float("inf")}, None, id="no number"),
        pytest.param((), {"text": "ü" * 32_000}, None, id="as long as may be sent"),
        pytest.param((), {"deep": json.loads("[" * 800 + "]" * 800)}, None, id="as deep as can be read"),
    ],
)
def test_a_dead_letter_is_kept_whole(
    ledger: Ledger, args: list[Any], kwargs: dict[str, Any], kept: dict[str, Any] | None
) -> None:
    """A refused payload can be read, corrected and replayed; what is not JSON is kept as text."""
    letters = ledger.dead_letters

    letter_id = letters.keep("conferencing.track", "event: Field required", args, kwargs)

    letter = KeptLetter(letter_id, DeadLetter("conferencing.track", "event: Field required", kept or kwargs))
    assert list(letters) == [letters.find(letter_id)] == [letter]


@pytest.mark.parametrize("letter_id", ["", "1", "1-x", "0-1", "latest", "1-1-1"])
def test_unknown_dead_letter_ids_are_not_found(ledger: Ledger, letter_id: str) -> None:
    """Any id gets an answer."""
    ledger.dead_letters.keep("conferencing.track", "bad", (), {})

    assert ledger.dead_letters.find(letter_id) is None


def test_a_damaged_dead_letter_does_not_hide_the_others(ledger: Ledger) -> None:
    """Somebody else wrote to the stream, or damaged an entry."""
    letters = ledger.dead_letters
    for field, stray in (("something", b"else"), ("letter", b"\xc1 no msgpack"), ("letter", b"\x01")):
        ledger.redis.xadd(ledger.keys.dead_letters, {field: stray})
    good = letters.keep("conferencing.track", "good", (), {})

    kept = list(letters)

    assert [each.sealed is None for each in kept] == [False, False, False, True]
    assert kept[-1].letter_id == good
    assert len(letters) == 4
    assert letters.remove(kept[0].letter_id)
    assert not letters.remove(kept[0].letter_id)


def test_more_dead_letters_than_a_page_come_in_order(ledger: Ledger) -> None:
    """None is missed between two pages, and the newest are last."""
    letters = ledger.dead_letters
    ids = [letters.keep("conferencing.track", "many", (), {"n": n}) for n in range(120)]

    assert [kept.letter_id for kept in letters] == ids
    assert [kept.letter_id for kept in letters.newest(3)] == ids[-3:]


def test_no_secret_stands_in_redis_unsealed(ledger: Ledger) -> None:
    """Tokens, emails with relink URLs and dead payloads: a dump of all values contains none of them."""
    ledger.connect(
        Connecting("acc", Credentials(f"{SECRET}-r", f"{SECRET}-a"), "us", "dana@example.org", None)
    )
    ledger.keep_credentials(ledger.account("acc"), Credentials(f"{SECRET}-r2", f"{SECRET}-a2"))
    put(ledger, "m1")
    ledger.dead_letters.keep("conferencing.connect_account", "bad", (), {"refresh_token": SECRET})

    holding = [key for key, value in dump(ledger).items() if SECRET.encode() in (value or b"")]

    assert holding == []
    # The dump would show it: unsealed values are found this way.
    ledger.track("acc", an_event(SECRET))
    assert any(SECRET.encode() in (value or b"") for value in dump(ledger).values())


def test_vault_keys_rotate(redis: Redis, prefix: str) -> None:
    """Values sealed with an old key still open; new ones need the new key."""
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    before = _ledger(redis, prefix, old)
    before.connect(Connecting("acc", Credentials("refresh-1"), "us", None, None))

    during = _ledger(redis, prefix, new, old)
    account = during.account("acc")
    assert during.open_credentials(account) == Credentials("refresh-1")
    during.keep_credentials(account, Credentials("refresh-2"))

    after = _ledger(redis, prefix, new)
    assert after.open_credentials(after.account("acc")) == Credentials("refresh-2")
    with pytest.raises(VaultError):
        before.open_credentials(before.account("acc"))


def test_a_lost_vault_key_is_named_in_one_sentence_without_secrets(redis: Redis, prefix: str) -> None:
    """The message says which setting to correct, and contains neither a key nor the sealed value."""
    key, other = (Fernet.generate_key().decode() for _ in range(2))
    ledger = _ledger(redis, prefix, key)
    ledger.connect(Connecting("acc", Credentials(SECRET), "us", None, None))
    stranger = _ledger(redis, prefix, other)

    with pytest.raises(VaultError) as caught:
        stranger.open_credentials(stranger.account("acc"))

    text = f"{caught.value} {caught.value!r}"
    assert "RECONCILER_VAULT_KEYS" in text
    assert caught.value.__suppress_context__
    sealed = (stranger.account("acc").credentials or b"").decode()
    assert not [secret for secret in (SECRET, key, other, sealed) if secret in text]


def test_outcomes_are_trimmed_to_what_is_kept(redis: Redis, prefix: str, vault: Vault) -> None:
    """The stream does not grow forever; the newest stay."""
    ledger = Ledger(redis, prefix, vault, timedelta(days=1), outcomes_keep=10)
    ledger.track("acc", an_event())

    for _ in range(3):
        lease = claim(ledger)
        many = tuple(outcome() for _ in range(150))
        ledger.commit(lease, Change([EventChange(lease.events[0], lease.events[0].event, outcomes=many)]))

    # Trimmed in whole nodes of a hundred, which is cheap for Redis.
    assert 10 <= outcome_count(ledger) <= 200


def _ledger(redis: Redis, prefix: str, *keys: str) -> Ledger:
    return Ledger(redis, prefix, Vault(keys), timedelta(days=1), 1000)
