"""Pages of a sorted set or a stream, by a cursor that stays good while entries come and go.

A page comes with the cursor of the next one, None if it is the last. It may hold fewer entries than there
are, even none, since it ends once a number of them were checked.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar, cast

import msgpack
from redis import Redis

from worker.ledger.records import from_ms

#: How many entries are read in one step.
STEP = 100
#: After checking this many entries, a page ends, however few of them fit.
MOST_CHECKED = 1000
#: A hash has no order, so one with more entries than this is read in parts that are not in order.
PART = 2500

_ENTRY = re.compile(r"[0-9]{1,15}-[0-9]{1,15}")

#: A place in a sorted set: a score and what stands there; or a place within that, too.
Position = tuple[Any, ...]
#: What a position in a sorted set is made of.
IN_SET: tuple[type, ...] = (float, bytes)

T = TypeVar("T")


class BadCursor(Exception):
    """This is not where a page of such a list ended."""

    def __init__(self) -> None:
        super().__init__("The cursor is not one that a page of this list ended with.")


def entries(redis: Redis, key: str, rank: int, step: int = STEP) -> Iterator[Sequence[tuple[bytes, float]]]:
    """A sorted set from this rank on, in steps."""
    while True:
        some = redis.zrange(key, rank, rank + step - 1, withscores=True)
        if some:
            yield cast("list[tuple[bytes, float]]", some)
        if len(cast("list[Any]", some)) < step:
            return
        rank += step


def of_each(redis: Redis, items: Iterable[T], ask: Callable[[Any, T], object]) -> list[Any]:
    """The answers to one command for each of these, which `ask` puts into a pipeline; one round trip."""
    with redis.pipeline(transaction=False) as pipeline:
        for item in items:
            ask(pipeline, item)
        return pipeline.execute()


def rank_after(redis: Redis, key: str, start: Position | None) -> int:
    """The rank of what comes after a position, which may be gone by now."""
    if start is None:
        return 0
    score, member = start[:2]
    rank = cast("int | None", redis.zrank(key, member))
    if rank is not None and redis.zscore(key, member) == score:
        return rank + 1
    low = redis.zcount(key, "-inf", f"({score!r}")
    high = redis.zcount(key, "-inf", repr(score))
    # Those of the same score are in the order of their bytes.
    while low < high:
        middle = (low + high) // 2
        [found] = cast("list[bytes]", redis.zrange(key, middle, middle)) or [b""]
        low, high = (middle + 1, high) if found <= member else (low, middle)
    return low


def part_of_hash(redis: Redis, key: str, part: int = 0) -> Any:
    """The number of the next part of a hash, 0 if there is none; and what is in this one.

    The first part of a hash of up to `PART` entries is all of it.
    """
    # Servers before 7.2 count names and values, later ones pairs.
    return redis.hscan(key, part, count=2 * PART)


def newest_of_stream(
    redis: Redis,
    key: str,
    most: int,
    after: str | None,
    read: Callable[[bytes, Mapping[bytes, bytes]], T | None],
    fits: Callable[[T], bool],
    *,
    checked: int = MOST_CHECKED,
    step: int = STEP,
) -> tuple[list[T], str | None]:
    """A page of up to `most` of what `read` makes of a stream's entries (None: left out), the newest first.

    Only those that fit. It begins behind the entry `after`; BadCursor if that is no entry.
    """
    if after is not None and not _ENTRY.fullmatch(after):
        raise BadCursor
    found: list[T] = []
    for _ in range(checked // step):
        end = "+" if after is None else f"({after}"
        page = cast("list[Any]", redis.xrevrange(key, end, count=step))
        for entry_id, fields in page:
            after = entry_id.decode()
            if (each := read(entry_id, fields)) is not None and fits(each):
                found.append(each)
            if len(found) == most:
                return found, after
        if len(page) < step:
            return found, None
    return found, after


def whole_stream(redis: Redis, key: str, step: int, start: str = "-", end: str = "+") -> Iterator[list[Any]]:
    """A stream's entries in this range, the oldest first, in steps."""
    while page := cast("list[Any]", redis.xrange(key, start, end, count=step)):
        yield page
        start = f"({page[-1][0].decode()}"


def place_in_stream(entry_id: bytes) -> tuple[int, int]:
    """What entries are in the order of: when it was added, in milliseconds, and a number."""
    ms, _, number = entry_id.partition(b"-")
    return int(ms), int(number)


def added_at(entry_id: bytes) -> datetime:
    return from_ms(place_in_stream(entry_id)[0])


def texts(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    """The fields of an entry that are all text."""
    return {name.decode(): value.decode(errors="replace") for name, value in fields.items()}


def encoded(position: Position) -> str:
    """The cursor of a position."""
    return base64.urlsafe_b64encode(msgpack.packb(position)).decode().rstrip("=")


def decoded(cursor: str | None, kinds: tuple[type, ...] = IN_SET) -> Position | None:
    """The position of a cursor, if one is given; BadCursor if it is not one that is made of these."""
    if not cursor:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        position = tuple(msgpack.unpackb(base64.b64decode(padded, "-_", validate=True)))
    except (ValueError, TypeError, msgpack.UnpackException):
        raise BadCursor from None
    if tuple(map(type, position)) != kinds:
        raise BadCursor
    for each in position:
        if (isinstance(each, float) and not math.isfinite(each)) or (isinstance(each, int) and each < 0):
            raise BadCursor
    return position
