"""The ledger and the budget on a simulated clock: their own scripts on a real server, with another time.

The scripts take their time from one call, ``redis.call('TIME')``. Here it reads a list of the same two
numbers, which the simulation sets; nothing else of the scripts' texts is changed.

Expiries (PX, PEXPIRE) still run on the server's real clock. That is harmless here: what a simulation relies
on, calls within a minute and leases, stands in sorted sets by time. The budget's own set of calls expires 61
real seconds after the last grant, and a simulation grants many times a second. What lives by an expiry alone
(a pause after a 429, its strikes, a sweep's slot, the waking of an account) must not be simulated this way.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from redis import Redis
from redis.commands.core import Script

from worker.ledger.records import to_ms

_TIME = "redis.call('TIME')"
_CLOCK = "bench-clock"


class SimulatedRedis(Redis):
    """A client whose scripts, and whose TIME, see the clock that `set_clock` sets."""

    def set_clock(self, now: datetime) -> None:
        """From here on it is `now`, until it is set again."""
        seconds, ms = divmod(to_ms(now), 1000)
        with self.pipeline() as pipeline:
            pipeline.delete(_CLOCK)
            pipeline.rpush(_CLOCK, seconds, ms * 1000)
            pipeline.execute()

    def time(self, **_: Any) -> Any:
        """Seconds and microseconds, as the scripts see them."""
        seconds, micros = self.lrange(_CLOCK, 0, -1)
        return int(seconds), int(micros)

    def register_script(self, script: Any) -> Script:
        """The script, on the simulated clock; SystemExit where it does not ask for the time in one place."""
        if script.count(_TIME) != 1:
            raise SystemExit(
                f"A script should ask for {_TIME} in one place; this one does in {script.count(_TIME)}: "
                f"{script[:60]!r}. Its clock cannot be replaced, so nothing is simulated."
            )
        return super().register_script(script.replace(_TIME, f"redis.call('LRANGE', '{_CLOCK}', 0, -1)"))
