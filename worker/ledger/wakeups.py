"""Wake-ups that several processes would send at once: decides which one does, and when.

Losing one costs little, since the next sweep does the same, so short-lived keys are enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from redis import Redis

from worker.ledger.keys import Keys

#: Notifications about an account within this time share their looks.
WAKE_WINDOW = timedelta(seconds=1.5)
#: An urgent look that the budget refused is retried at least this often.
LONGEST_WAKE = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Wakeups:
    """The wake-ups of a fleet."""

    redis: Redis
    keys: Keys

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

    def _is_first(self, key: str, window: timedelta) -> bool:
        """Whether nobody took this key within the last `window`, which is at least a millisecond."""
        window_ms = max(1, int(window.total_seconds() * 1000))
        return bool(self.redis.set(key, 1, nx=True, px=window_ms))
