"""Outcomes on their way to a receiver: what it has yet to take, and what it never took.

`RECONCILER_OUTCOME_URL` is one; each of `RECONCILER_ESCALATION_URLS` is another, and wants only some.

A cursor goes through the stream once. What was not taken is owed: it is tried again, and later outcomes of
the same event wait behind it. After many tries it is given up, and kept until it is replayed or dropped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import takewhile
from typing import Any, cast

from redis import Redis

from worker.ledger.connection import server_time
from worker.ledger.keys import Keys
from worker.ledger.outcomes import READ_AT_A_TIME, OutcomeStream
from worker.ledger.paging import place_in_stream
from worker.ledger.records import from_ms, to_ms

#: The receiver at `RECONCILER_OUTCOME_URL`.
URL = "url"
#: A receiver that wants only some outcomes begins with those that are no older.
NEW = timedelta(hours=1)
#: With this many owed, no other outcome is tried: the receiver is away, and the stream keeps them.
MOST_OWED = 1000
#: With this many given up, none is kept any more; the stream may still have it.
MOST_DEAD = 5000


@dataclass(frozen=True)
class Post:
    """An outcome that the receiver has to take."""

    #: Its id in the stream.
    entry_id: str
    #: As JSON.
    text: str
    tries: int = 0
    #: When to try it, in milliseconds.
    due: int = 0
    #: It was never tried: the cursor is right before it.
    is_new: bool = False

    @cached_property
    def outcome(self) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads(self.text))

    @property
    def lane(self) -> tuple[Any, ...]:
        """What it is about: outcomes with the same lane go out in order."""
        ids = tuple(self.outcome.get(name) for name in ("sub", "calendar_id", "event_id"))
        return (*ids, self.outcome["detail"].get("incident"))


@dataclass(frozen=True, slots=True)
class DeadPost:
    entry_id: str
    outcome: dict[str, Any]
    reason: str
    tries: int
    at: datetime

    @property
    def as_json(self) -> dict[str, Any]:
        """As in the contract (§6)."""
        at = self.at.isoformat(timespec="milliseconds")
        return {"outcome": self.outcome, "reason": self.reason, "tries": self.tries, "given_up_at": at}


@dataclass(frozen=True, slots=True)
class Posts:
    """A ledger's outcomes as one receiver knows them."""

    redis: Redis
    keys: Keys
    stream: OutcomeStream
    to: str = URL
    #: The types that it wants; None: all. Then nothing is kept of what it never took, and it begins with what
    #: is new.
    wants: frozenset[str] | None = None

    def take_turn(self, length: timedelta) -> bool:
        """Take the turn to post, until `end_turn` or for `length`; false if someone else has it."""
        return bool(self.redis.set(self.keys.outcomes_posting(self.to), 1, nx=True, px=length))

    def end_turn(self, rest: timedelta | None = None) -> None:
        """Let others post, at once or after a `rest`."""
        if rest is None:
            self.redis.delete(self.keys.outcomes_posting(self.to))
        else:
            self.redis.set(self.keys.outcomes_posting(self.to), 1, px=rest)

    def has_due(self, now: datetime) -> bool:
        """Whether there is something to post now, and nobody has the turn."""
        if self.redis.exists(self.keys.outcomes_posting(self.to)):
            return False
        if self.redis.zcount(self.keys.outcomes_owed(self.to), "-inf", to_ms(now)):
            return True
        return next(self._new(1), None) is not None

    def waiting(self, most: int) -> list[Post]:
        """What is owed, due or not, and then up to `most` new ones: oldest first."""
        owed = self._owed()
        return owed if len(owed) >= MOST_OWED else [*owed, *self._new(most)]

    def taken(self, post: Post) -> None:
        with self.redis.pipeline() as pipeline:
            self._leave(pipeline, post)
            pipeline.hdel(self.keys.outcomes_dead(self.to), post.entry_id)
            pipeline.execute()

    def later(self, post: Post, due: int, tries: int) -> None:
        """Try it (again) at `due`."""
        with self.redis.pipeline() as pipeline:
            self._leave(pipeline, post)
            pipeline.zadd(self.keys.outcomes_owed(self.to), {post.entry_id: due})
            pipeline.hset(self.keys.outcomes_tries(self.to), post.entry_id, str(tries))
            pipeline.execute()

    def give_up(self, post: Post, tries: int, reason: str, now: datetime) -> bool:
        """Try it no more; returns whether it is kept: not if there is no room, or it was erased meanwhile."""
        kept = self.redis.hlen(self.keys.outcomes_dead(self.to)) < MOST_DEAD
        kept = kept and self.wants is None and bool(self._texts([post.entry_id.encode()]))
        dead = {"outcome": post.outcome, "reason": reason, "tries": tries, "at": to_ms(now)}
        with self.redis.pipeline() as pipeline:
            self._leave(pipeline, post)
            if kept:
                pipeline.hset(
                    self.keys.outcomes_dead(self.to), post.entry_id, json.dumps(dead, ensure_ascii=False)
                )
            pipeline.execute()
        return kept

    def note_when_due(self) -> None:
        """Note when to try again what is owed, for `any_due`."""
        owed: Any = self.redis.zrange(self.keys.outcomes_owed(self.to), 0, 0, withscores=True)
        if owed:
            self.redis.zadd(self.keys.outcomes_again, {self.to: owed[0][1]})
        else:
            self.redis.zrem(self.keys.outcomes_again, self.to)

    def counts(self) -> tuple[int, int]:
        """How many outcomes are owed, and how many were given up."""
        owed = self.redis.zcard(self.keys.outcomes_owed(self.to))
        return owed, self.redis.hlen(self.keys.outcomes_dead(self.to))

    def dead(self) -> list[DeadPost]:
        """What was given up, in the order of the stream."""
        kept = cast("dict[bytes, bytes]", self.redis.hgetall(self.keys.outcomes_dead(self.to)))
        return [_dead(entry_id, kept[entry_id]) for entry_id in sorted(kept, key=place_in_stream)]

    def replay(self, entry_ids: Iterable[bytes]) -> int:
        """Post these again, at once, as often as new ones; returns how many.

        Those left alone are the stream's newest, which were never posted and will be.
        """
        cursor = self._cursor()
        if cursor is None:
            return 0
        last = place_in_stream(cursor)
        again = [each.decode() for each in entry_ids if place_in_stream(each) <= last]
        if again:
            with self.redis.pipeline() as pipeline:
                pipeline.zadd(self.keys.outcomes_owed(self.to), dict.fromkeys(again, 0))
                pipeline.hdel(self.keys.outcomes_tries(self.to), *again)
                pipeline.execute()
        return len(again)

    def drop(self, entry_ids: Iterable[str]) -> int:
        """Forget what was given up; returns how many there were."""
        ids = list(entry_ids)
        return self.redis.hdel(self.keys.outcomes_dead(self.to), *ids) if ids else 0

    def erase(self, sub: str) -> None:
        """Erase what was given up of an account; what is owed goes with the stream."""
        self.drop(each.entry_id for each in self.dead() if each.outcome.get("sub") == sub)

    def _owed(self) -> list[Post]:
        owed: Any = self.redis.zrange(self.keys.outcomes_owed(self.to), 0, -1, withscores=True)
        if not owed:
            return []
        dues = dict(cast("list[tuple[bytes, float]]", owed))
        ids = sorted(dues, key=place_in_stream)
        tries = cast("list[bytes | None]", self.redis.hmget(self.keys.outcomes_tries(self.to), ids))
        texts = self._texts(ids)
        gone = [entry_id for entry_id in ids if entry_id not in texts]
        if gone:
            # Trimmed, or erased with its account.
            self.redis.zrem(self.keys.outcomes_owed(self.to), *gone)
            self.redis.hdel(self.keys.outcomes_tries(self.to), *gone)
        return [
            Post(entry_id.decode(), texts[entry_id], int(tried or 0), int(dues[entry_id]))
            for entry_id, tried in zip(ids, tries, strict=True)
            if entry_id in texts
        ]

    def _texts(self, ids: list[bytes]) -> dict[bytes, str]:
        """What they say: from the stream, or from what was given up."""
        texts = self.stream.find(ids)
        missing = [entry_id for entry_id in ids if entry_id not in texts]
        if missing:
            kept = cast("list[bytes | None]", self.redis.hmget(self.keys.outcomes_dead(self.to), missing))
            for entry_id, value in zip(missing, kept, strict=True):
                if value is not None:
                    texts[entry_id] = json.dumps(_dead(entry_id, value).outcome, ensure_ascii=False)
        return texts

    def _new(self, most: int) -> Iterator[Post]:
        cursor = self._cursor()
        if self.wants is not None:
            cursor = self._pass_unwanted(cursor)
        for entry_id, text in self.stream.after(cursor, most):
            post = Post(entry_id.decode(), text, is_new=True)
            if self.wants is None or post.outcome["type"] in self.wants:
                yield post

    def _pass_unwanted(self, cursor: bytes | None) -> bytes | None:
        """Move the cursor up to the next outcome that is wanted; returns it."""
        if cursor is None:
            cursor = f"{to_ms(server_time(self.redis) - NEW)}-0".encode()
        while page := list(self.stream.after(cursor, READ_AT_A_TIME)):
            unwanted = takewhile(lambda entry: json.loads(entry[1])["type"] not in (self.wants or ()), page)
            passed = [entry_id for entry_id, _ in unwanted]
            cursor = passed[-1] if passed else cursor
            if len(passed) < len(page):
                break
        self.redis.set(self.keys.outcomes_posted(self.to), cursor)
        return cursor

    def _leave(self, pipeline: Any, post: Post) -> None:
        if post.is_new:
            pipeline.set(self.keys.outcomes_posted(self.to), post.entry_id)
        else:
            pipeline.zrem(self.keys.outcomes_owed(self.to), post.entry_id)
            pipeline.hdel(self.keys.outcomes_tries(self.to), post.entry_id)

    def _cursor(self) -> bytes | None:
        return cast("bytes | None", self.redis.get(self.keys.outcomes_posted(self.to)))


def _dead(entry_id: bytes, value: bytes) -> DeadPost:
    kept = json.loads(value)
    return DeadPost(entry_id.decode(), kept["outcome"], kept["reason"], kept["tries"], from_ms(kept["at"]))


def any_due(redis: Redis, keys: Keys, now: datetime) -> bool:
    """Whether it is time to try again what is owed to a receiver other than the URL."""
    return bool(redis.zcount(keys.outcomes_again, "-inf", to_ms(now)))
