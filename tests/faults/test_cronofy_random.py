"""Three of ten calls fail at random, in every possible way: all events still end correctly."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sandbox.options import SandboxOptions
from sandbox.server import RunningSandbox
from tests.faults.mixed_accounts import MixedAccounts
from tests.faults.record import Record
from tests.faults.stage import Stage
from tests.faults.trouble import EVENTS, USERINFO

SHARE = 0.3
#: Far more than needed: a look takes about four calls, each of which may fail.
ROUNDS = 120

ANY: dict[str, Any] = {}
#: Only faults that say nothing about the request itself: a 403, for example, is believed.
FAULTS: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("status", ANY, {"status": 500}),
    ("status", ANY, {"status": 502}),
    ("status", ANY, {"status": 503, "retry_after": 1}),
    ("status", ANY, {"status": 504}),
    ("status", ANY, {"status": 429}),
    ("status", ANY, {"status": 429, "retry_after": 20}),
    ("status", ANY, {"status": 401}),
    ("status", ANY, {"status": 423}),
    ("html", ANY, {}),
    ("html", ANY, {"status": 200}),
    ("reset", ANY, {}),
    ("truncated", ANY, {}),
    ("wrong_shape", ANY, {"body": []}),
    # A 2xx with an object accepts a write: Cronofy documents no body for it.
    ("wrong_shape", {"method": "GET"}, {"body": {"pages": 7, "batch": []}}),
    ("hang", ANY, {}),
    ("drip", ANY, {}),
    ("slow", ANY, {"seconds": 0.5}),
    ("page_loop", EVENTS, {}),
    ("foreign_next_page", EVENTS, {}),
    ("empty_userinfo", USERINFO, {}),
    ("batch_entry", {"path_prefix": "/v1/batch"}, {"status": 503}),
)


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSandbox]:
    """One sandbox for the module, without rate limits."""
    with RunningSandbox(SandboxOptions(per_second=0, per_minute=0)) as sandbox:
        yield sandbox


@pytest.fixture
def stage(stage_with: Callable[..., Stage]) -> Stage:
    """Services with short timeouts."""
    return stage_with(http_timeout=0.2)


def test_all_end_right_while_three_of_ten_calls_fail(
    stage: Stage, long: bool, seed: int, record: Record
) -> None:
    """Each outcome comes once, no email twice, and a write whose answer was lost is seen in effect."""
    calls = hits = 0
    for number in range(20 if long else 2):
        mixed = MixedAccounts(stage)
        _lay(mixed, random.Random(seed + number))

        rounds = 0
        while rounds < ROUNDS and not mixed.requested():
            mixed.round()
            rounds += 1
        mixed.relink()
        while rounds < ROUNDS and mixed.lacking():
            mixed.round()
            rounds += 1
        failed = sum(fault["hits"] for fault in mixed.control.faults())
        hits, calls = hits + failed, calls + len(mixed.control.requests())
        mixed.control.clear_faults()
        mixed.round()

        lacking, again = mixed.lacking(), mixed.doubled_writes()
        record(
            "Three of ten calls to Cronofy fail at random",
            injected=failed,
            events=mixed.events,
            lost=len(lacking),
            doubled=again,
            mails=len(mixed.control.mail()),
        )
        assert lacking == [], f"after {rounds} rounds, from seed {seed + number}"
        assert again == 0

    assert hits / calls == pytest.approx(SHARE, abs=0.15)


def _lay(mixed: MixedAccounts, dice: random.Random) -> None:
    """All faults, equally likely; together they hit this share of the calls."""
    faults = list(FAULTS)
    dice.shuffle(faults)
    left = 1.0
    for kind, match, fields in faults:
        # A fault is only considered if none before it applied.
        probability = SHARE / len(faults) / left
        left -= SHARE / len(faults)
        mixed.control.add_fault(
            kind, match=match, probability=probability, seed=dice.randrange(2**31), **fields
        )
