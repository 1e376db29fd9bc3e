"""Wake-ups that several processes would send at once: decides which one does, and when.

Losing one costs little, since the next sweep does the same, so short-lived keys are enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from redis import Redis

from worker.ledger.connection import server_time
from worker.ledger.keys import Keys, Scripts
from worker.ledger.records import to_ms

#: Notifications about an account within this time share their looks.
WAKE_WINDOW = timedelta(seconds=1.5)
#: The longest that a wake-up waits. An urgent look that the budget refused is retried at least this often.
LONGEST_WAKE = timedelta(seconds=5)
#: The header that says until when a wake-up is of use, in ms of the server's clock.
VALID_UNTIL = "reconciler_valid_until"


@dataclass(frozen=True, slots=True)
class Wakeups:
    """The wake-ups of a fleet."""

    redis: Redis
    keys: Keys
    scripts: Scripts

    def after_notification(self, sub: str) -> timedelta | None:
        """When to look at an account that a notification is about: now, soon, or None (already planned).

        A burst of notifications costs two looks: one at the first, and one that sees all the rest.
        """
        if self.redis.exists(self.keys.waking(sub)):
            return None
        if self._is_first(self.keys.woken(sub), WAKE_WINDOW):
            return timedelta(0)
        return WAKE_WINDOW if self._is_first(self.keys.waking(sub), WAKE_WINDOW) else None

    def after_refusal(self, sub: str, rest: timedelta) -> timedelta | None:
        """When to look again after the budget refused a look; None if already planned."""
        wait = min(rest, LONGEST_WAKE)
        return wait if self._is_first(self.keys.waking(sub), wait) else None

    def take_sweep(self, every: timedelta) -> bool:
        """Whether no other sweep took this tick; ticks are `every` apart."""
        # A little less than the interval, since ticks are never exactly regular.
        return self._is_first(self.keys.slot, every * 0.9)

    def take_resumption(self, after: timedelta) -> bool:
        """Whether to wake the looks that the budget broke off in `after`; false if someone else will."""
        return self._is_first(self.keys.resuming, after)

    def valid_for(self, time: timedelta) -> dict[str, str]:
        """The headers of a wake-up that is useless after this time, by the server's clock.

        Celery's own expiry would compare the clocks of two hosts.
        """
        return {VALID_UNTIL: str(to_ms(server_time(self.redis) + time))}

    def is_late(self, headers: Mapping[str, Any]) -> bool:
        """Whether a wake-up with these headers came too late to be of use."""
        until = str(headers.get(VALID_UNTIL, ""))
        return until.isdecimal() and to_ms(server_time(self.redis)) > int(until)

    def _is_first(self, key: str, window: timedelta) -> bool:
        """Whether nobody took this key within the last `window`, which is at least a millisecond."""
        window_ms = max(1, int(window.total_seconds() * 1000))
        return bool(self.scripts.run("take_slot", key, window_ms))
