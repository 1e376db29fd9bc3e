"""Emails for people to see: those in the outbox, and those that left it. No text, no address, no link."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from redis import Redis

from worker.ledger.keys import Keys
from worker.ledger.paging import (
    MOST_CHECKED,
    added_at,
    decoded,
    encoded,
    entries,
    newest_of_stream,
    of_each,
    rank_after,
    texts,
    whole_stream,
)
from worker.ledger.records import from_ms

#: What an email is that has not left the outbox.
WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Known:
    mail_id: str
    #: Whose user it is for; None if it is for the operator.
    sub: str | None
    #: Which letter (contract §7), incident or report; empty if an older version wrote it.
    kind: str
    #: WAITING, or how it left: sent, owed (to the application), kept (as a file), refused.
    state: str
    attempts: int
    #: When it is tried next, or left.
    at: datetime


Fits = Callable[[Known], bool]


@dataclass(frozen=True, slots=True)
class Mails:
    redis: Redis
    keys: Keys

    def waiting(self, most: int, after: str | None, fits: Fits) -> tuple[list[Known], str | None]:
        """Those in the outbox, the next one first. Raises BadCursor."""
        key, found, checked = self.keys.outbox, list[Known](), 0
        rank = rank_after(self.redis, key, decoded(after))
        for some in entries(self.redis, key, rank):
            for each, (member, score) in zip(self._read(some), some, strict=True):
                checked += 1
                if each is not None and fits(each):
                    found.append(each)
                if len(found) == most or checked == MOST_CHECKED:
                    return found, encoded((score, member))
        return found, None

    def gone(self, most: int, after: str | None, fits: Fits) -> tuple[list[Known], str | None]:
        """Those that left it, the newest first."""
        return newest_of_stream(self.redis, self.keys.mails, most, after, _gone, fits)

    def count(self) -> int:
        return self.redis.zcard(self.keys.outbox)

    def of(self, mail_ids: Sequence[str]) -> list[Known]:
        """Those of these that are in the outbox."""
        scores = of_each(self.redis, mail_ids, lambda pipe, each: pipe.zscore(self.keys.outbox, each))
        there = [(i.encode(), s) for i, s in zip(mail_ids, scores, strict=True) if s is not None]
        return [each for each in self._read(there) if each is not None]

    def erase(self, sub: str) -> None:
        """Erase what is known of an account's that left the outbox."""
        for page in whole_stream(self.redis, self.keys.mails, MOST_CHECKED):
            ours = [entry_id for entry_id, fields in page if fields.get(b"sub") == sub.encode()]
            if ours:
                self.redis.xdel(self.keys.mails, *ours)

    def _read(self, some: Sequence[tuple[bytes, float]]) -> list[Known | None]:
        with self.redis.pipeline(transaction=False) as pipeline:
            for member, _ in some:
                key = self.keys.mail(member.decode())
                pipeline.hmget(key, "sub", "kind", "attempts")
                pipeline.hexists(key, "parts")
            answers = pipeline.execute()
        return [
            _waiting(member, score, known, is_letter)
            for (member, score), known, is_letter in zip(some, answers[::2], answers[1::2], strict=True)
        ]


def _waiting(member: bytes, score: float, known: Sequence[bytes | None], is_letter: bool) -> Known | None:
    sub, kind, attempts = known
    if sub is None:
        return None
    whose = sub.decode() if is_letter else None
    return Known(member.decode(), whose, (kind or b"").decode(), WAITING, int(attempts or 0), from_ms(score))


def _gone(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Known:
    text = texts(fields)
    attempts = int(text.get("attempts", 0))
    return Known(text["id"], text["sub"] or None, text["kind"], text["how"], attempts, added_at(entry_id))
