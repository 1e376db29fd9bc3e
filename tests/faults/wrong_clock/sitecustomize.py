# mypy: ignore-errors
"""Python loads this at its start if it is on the path: the host's clock is off by what a file says.

The monotonic clock is right, as it is on a host whose clock is set.
"""

import datetime
import os
import time
from pathlib import Path

FILE = Path(os.environ["CLOCK_OFF_BY"])
_right = time.time
_datetime = datetime.datetime


def _off() -> float:
    return float(FILE.read_text())


class _Wrong(_datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls):
        return cls.fromtimestamp(time.time(), datetime.UTC).replace(tzinfo=None)


time.time = lambda: _right() + _off()
time.time_ns = lambda: int(time.time() * 1e9)
datetime.datetime = _Wrong
