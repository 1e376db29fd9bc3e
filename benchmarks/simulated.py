"""The ledger and the budget on a simulated clock: their own scripts on a real server, with a different time.

The scripts get the time from one call, ``redis.call('TIME')``. Here it reads a list of the same two numbers,
set by the simulation; the scripts are otherwise unchanged.

Expiries (PX, PEXPIRE) still run on the server's real clock. That is harmless here: what a simulation relies
on, calls within a minute and leases, is in sorted sets by time. The budget's own set of calls expires 61
real seconds after the last grant, and a simulation grants many times a second. What depends only on an expiry
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
    """A client whose scripts, and whose TIME, use the clock set by `set_clock`."""

    def set_clock(self, now: datetime) -> None:
        """Set the time; it stands still until set again."""
        seconds, ms = divmod(to_ms(now), 1000)
        with self.pipeline() as pipeline:
            pipeline.delete(_CLOCK)
            pipeline.rpush(_CLOCK, seconds, ms * 1000)
            pipeline.execute()

    def time(self, **_: Any) -> Any:
        """Seconds and microseconds, as the scripts read them."""
        seconds, micros = self.lrange(_CLOCK, 0, -1)
        return int(seconds), int(micros)

    def register_script(self, script: Any) -> Script:
        """The script on the simulated clock; SystemExit if it does not read the time in exactly one place."""
        if script.count(_TIME) != 1:
            raise SystemExit(
                f"A script should ask for {_TIME} in one place; this one does in {script.count(_TIME)}: "
                f"{script[:60]!r}. Its clock cannot be replaced, so nothing is simulated."
            )
        return super().register_script(script.replace(_TIME, f"redis.call('LRANGE', '{_CLOCK}', 0, -1)"))
