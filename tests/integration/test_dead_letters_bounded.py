"""Whoever may send tasks cannot fill the ledger with dead letters."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from config.logging import MASK, Redaction
from tasks import payload
from tests.integration.ledgers import an_event, claim, later
from tests.integration.world import Begin
from worker.intake.forget import _erase_letters
from worker.intake.payloads import AccountOnly, BadPayload
from worker.intake.replay import as_json
from worker.ledger import dead_letters
from worker.ledger.dead_letters import HEAD, HEAD_LENGTH, LARGEST, DeadLetter, Full
from worker.ledger.leases import Change, EventChange
from worker.ledger.ledger import Ledger

TRACK, CONNECT = "conferencing.track", "conferencing.connect_account"
TASK: Any = SimpleNamespace(name="conferencing.forget_account", request=SimpleNamespace(id="1", headers=None))


def keep(ledger: Ledger, kwargs: dict[str, Any], *args: str, task: str = TRACK) -> dict[str, Any]:
    """A refused payload as the commands show it, and its size."""
    found = ledger.dead_letters.find(ledger.dead_letters.keep(task, "bad", args, kwargs))
    assert found
    assert found.obstacle == f"its payload is {found.letter.cut} bytes long, and only the head of it is kept"
    return {**as_json(found, Redaction(()))["kwargs"], "bytes": found.letter.cut}


def test_a_payload_that_nobody_may_send_is_kept_as_its_head_and_size(ledger: Ledger) -> None:
    """It could not be sent again anyway."""
    kept = keep(ledger, {"sub": "acc", "event": {"description": "x" * 1_000_000}})

    assert kept["bytes"] > 1_000_000
    assert kept[HEAD].startswith('{"sub": "acc", "event": {"description": "xxx')
    assert len(kept[HEAD]) == HEAD_LENGTH
    assert cast("int", ledger.redis.memory_usage(ledger.keys.dead_letters)) < 5 * HEAD_LENGTH


def test_a_head_goes_with_the_account_that_it_names(ledger: Ledger) -> None:
    """Others stay."""
    long = {"event": {"description": "x" * LARGEST}}
    for sub in ("acc", "acc2"):
        ledger.dead_letters.keep(TRACK, "bad", (), {"sub": sub, **long})

    _erase_letters(ledger, "acc", {"acc"})

    assert ['"sub": "acc2"' in kept.letter.kwargs[HEAD] for kept in ledger.dead_letters] == [True]


def test_the_head_shows_no_secret(ledger: Ledger) -> None:
    """Neither a token by its name, wherever it was sent, nor an argument without a name."""
    secret, long = "planted-token", {"sub": "x" * LARGEST}

    tracked = keep(ledger, {"refresh_token": secret, **long})
    connected = keep(ledger, {"refreshtoken": secret, **long}, task=CONNECT)
    positional = keep(ledger, long, secret)

    assert tracked[HEAD].startswith(f'{{"refresh_token": "{MASK}", "sub": "xx')
    assert connected[HEAD] == MASK
    assert secret not in str([tracked, connected, positional])


def test_the_oldest_letters_are_kept_and_what_comes_then_is_counted(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under why it came; once some are gone there is room again."""
    letters = ledger.dead_letters
    monkeypatch.setattr(dead_letters, "MOST", 3)
    ids = [letters.keep(TRACK, "bad", (), {"n": n}) for n in range(3)]

    for failed in (False, False, True):
        with pytest.raises(Full):
            letters.keep(TRACK, "bad", (), {}, failed=failed)

    assert [kept.letter_id for kept in letters] == ids
    counters = ledger.counters()
    assert (counters["letters-dropped:refused"], counters["letters-dropped:failed"]) == (2, 1)
    letters.remove(ids[0])
    assert letters.keep(TRACK, "bad", (), {})


def test_a_parked_event_has_its_letter_however_many_there_are(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the way back, and an event has one at most."""
    monkeypatch.setattr(dead_letters, "MOST", 0)
    ledger.track("acc", an_event())
    lease = claim(ledger)
    [stored] = lease.events

    ledger.commit(lease, Change([EventChange(stored, later(stored), dead_letter=DeadLetter("t", "parked"))]))

    assert [kept.letter.reason for kept in ledger.dead_letters] == ["parked"]


def test_a_refused_payload_that_finds_no_room_is_logged_and_answered(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller has its reason, and the message does not come back."""
    world = begin()
    monkeypatch.setattr(payload, "services", lambda: world.services)
    monkeypatch.setattr(dead_letters, "MOST", 0)

    with capture_logs() as lines, pytest.raises(BadPayload):
        payload.handle(TASK, AccountOnly, lambda *_: True, (), {"colour": "x"})

    reason = "sub: is missing"
    assert [(line["event"], line["reason"]) for line in lines] == [
        ("payload.dropped", reason),
        ("payload.refused", reason),
    ]
