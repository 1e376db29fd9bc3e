"""The order of due accounts, as ``worker/ledger/scripts/common.lua`` has it, for simulations without Redis.

A test compares the two (tests/integration/test_benchmark_order.py).
"""

from __future__ import annotations

DAY = 86_400.0
YEAR = 365 * DAY
FAR = 9e12


def turn(soonest: float, since: float) -> float:
    """When it is the turn of an account due `since` (s) whose soonest due meeting starts then (or FAR)."""
    if soonest >= FAR:
        return since + DAY
    beyond = soonest - since - DAY
    return soonest if beyond <= 0 else since + DAY + DAY * beyond / (beyond + 30 * DAY)


def rank(its_turn: float, news: bool, now: float, soon: float) -> float:
    """Its place in the order of all: the least comes first."""
    return its_turn + YEAR * (0 if its_turn <= now + soon else 1 if news else 2)
