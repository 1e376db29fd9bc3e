"""Durations as settings spell them: seconds (``90``, ``0.5``) or ISO 8601 (``PT1M30S``, ``P1D``)."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Any

_ISO = re.compile(
    r"P(?=[\dT])(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?",
    re.IGNORECASE,
)


def parse_duration(value: Any) -> timedelta:
    """Return `value` as a non-negative timedelta; ValueError says how to write a duration.

    Years and months are refused: they have no fixed length.
    """
    if isinstance(value, timedelta):
        duration = value
    else:
        text = str(value).strip()
        iso = _ISO.fullmatch(text)
        try:
            if iso:
                duration = timedelta(**{unit: float(n) for unit, n in iso.groupdict().items() if n})
            else:
                seconds = float(text)
                if not math.isfinite(seconds):
                    raise ValueError(text)
                duration = timedelta(seconds=seconds)
        except (ValueError, OverflowError):
            raise ValueError("must be a duration: seconds such as 90, or ISO 8601 such as PT1M30S") from None
    if duration < timedelta(0):
        raise ValueError("must be a duration of 0 or more")
    return duration
