"""Where accounts and events are found: accounts in order, those in one state, and by an email or event id.

Each is a sorted set that the scripts keep, so finding costs the same however much is tracked. No address is
stored for it: an email is found by a keyed hash, whose key is random and sealed by the vault. An older
version writes none of this: sweeps enter what it left (`catch_up`), and readers check each entry.

Of accounts that were forgotten a keyed hash is left, a tombstone: without the key nobody can try ids.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import cast

from redis import Redis

from worker.ledger.keys import Keys, Scripts
from worker.ledger.packing import unpack_account
from worker.ledger.paging import MOST_CHECKED, decoded, encoded, entries, of_each, rank_after
from worker.ledger.records import DATA_CENTERS, EventKey, from_ms, to_ms
from worker.ledger.vault import KeptKey

#: How many keys one step of `catch_up` looks at.
SCANNED = 10_000
#: The field of `Keys.about` that says how far it came, and what it says at the end.
PROGRESS, DONE = "directory", b"done"
TOMBSTONES_KEPT = timedelta(days=365)
#: How much of the hash of an event's id is in the key, and how much in the entry.
_IN_KEY, _IN_ENTRY = 4, 8


class Standing(StrEnum):
    """What accounts can be listed by."""

    #: With pending events, those first that wait longest.
    PENDING = "pending"
    DUE = "due"
    LEASED = "leased"
    #: The application owes the next access token.
    OWING = "owing"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Brief:
    """An account in a list."""

    sub: str
    is_connected: bool
    data_center: str
    pending: int
    #: Cronofy refuses it; since when may not be known.
    is_lost: bool
    lost_since: datetime | None
    owing_since: datetime | None
    #: When its lease expires; it may have.
    leased_until: datetime | None
    due_since: datetime | None
    next_look: datetime | None
    #: When its oldest pending event was tracked, and when the soonest to come starts.
    oldest: datetime | None
    soonest: datetime | None

    @property
    def state(self) -> str:
        """What is to be known of it first."""
        if not self.is_connected:
            return "never connected"
        if self.is_lost:
            return "lost"
        return "waits for an access token" if self.owing_since else "connected"


@dataclass(frozen=True, slots=True)
class Directory:
    redis: Redis
    keys: Keys
    scripts: Scripts
    #: What addresses are hashed with.
    address_key: KeptKey

    def size(self, standing: Standing | None = None) -> int:
        """How many accounts there are, or are listed as this."""
        return self.redis.zcard(self._key(standing))

    def page(
        self,
        most: int,
        after: str | None = None,
        *,
        standing: Standing | None = None,
        data_center: str | None = None,
        beginning: str = "",
    ) -> tuple[list[Brief], str | None]:
        """A page of up to `most` accounts whose ids have this beginning, from `after` on. Raises BadCursor.

        By id, or in the order of their `standing`.
        """
        key, head = self._key(standing), beginning.encode()
        start = decoded(after)
        if start is None and head and standing is None:
            rank = self.redis.zlexcount(key, "-", b"(" + head)
        else:
            rank = rank_after(self.redis, key, start)
        found: list[Brief] = []
        checked = 0
        for some in entries(self.redis, key, rank, most):
            fitting = [sub.decode() for sub, _ in some if sub.startswith(head)]
            briefs = {each.sub: each for each in self.briefs(self._in(fitting, data_center))}
            for member, score in some:
                if standing is None and not member.startswith(head) and member > head:
                    return found, None
                checked += 1
                each = briefs.get(member.decode())
                # An older version connects an account again, and leaves it here.
                if each and (standing is not Standing.LOST or each.is_lost):
                    found.append(each)
                if len(found) == most or checked == MOST_CHECKED:
                    last = rank + checked >= self.redis.zcard(key)
                    return found, None if last else encoded((score, member))
        return found, None

    def briefs(self, subs: Sequence[str]) -> list[Brief]:
        """These accounts, but for those of which nothing is stored."""
        keys = self.keys
        with self.redis.pipeline(transaction=False) as pipeline:
            for sub in subs:
                pipeline.hmget(keys.account(sub), "credentials", "data_center", "standing")
                pipeline.hlen(keys.events(sub))
                pipeline.exists(keys.settled(sub))
                # In the order of the times in `Brief`.
                pipeline.zscore(keys.lost, sub)
                pipeline.zscore(keys.owing, sub)
                pipeline.zscore(keys.leased, sub)
                pipeline.zscore(keys.due, sub)
                pipeline.zscore(keys.waiting, sub)
                pipeline.zscore(keys.oldest, sub)
                pipeline.zscore(keys.starts, sub)
            answers = iter(pipeline.execute())
        found = []
        for sub in subs:
            (credentials, center, stands), pending, settled, *scores = islice(answers, 10)
            times = (None if score is None else from_ms(score) for score in scores)
            if credentials or pending or settled:
                known = (credentials is not None, _center(center), pending, stands == b"lost")
                found.append(Brief(sub, *known, *times))
        return found

    def _in(self, subs: Sequence[str], data_center: str | None) -> list[str]:
        """Those of these accounts that are in the data centre, if one is given."""
        if data_center is None:
            return list(subs)
        accounts = map(self.keys.account, subs)
        centers = of_each(self.redis, accounts, lambda pipe, key: pipe.hget(key, "data_center"))
        return [sub for sub, each in zip(subs, centers, strict=True) if _center(each) == data_center]

    def with_event(self, event_id: str, most: int) -> list[tuple[str, EventKey]]:
        """Up to `most` events with this id, pending or settled, of any accounts."""
        digest = hashlib.sha1(event_id.encode(), usedforsecurity=False).hexdigest()
        head = digest[_IN_KEY : _IN_KEY + _IN_ENTRY].encode()
        members = cast("list[bytes]", self.redis.zrevrange(self.keys.ids(digest[:_IN_KEY]), 0, -1))
        subs = [each[_IN_ENTRY:].decode() for each in members if each.startswith(head)][:most]
        hashes = (key(sub) for sub in subs for key in (self.keys.events, self.keys.settled))
        answers = of_each(self.redis, hashes, lambda pipe, key: pipe.hkeys(key))
        ends = event_id.encode()
        found = (
            (sub, key)
            for sub, *fields in zip(subs, answers[::2], answers[1::2], strict=True)
            for field in dict.fromkeys([*fields[0], *fields[1]])
            if field.endswith(ends) and (key := EventKey.of_field(field)).event_id == event_id
        )
        return list(islice(found, most))

    def around(self, sub: str, most: int) -> list[str]:
        """Up to `most` accounts on either side of an id, by their ids."""
        key, here = self.keys.accounts, b"(" + sub.encode()
        after = cast("list[bytes]", self.redis.zrangebylex(key, here, "+", 0, most))
        before = cast("list[bytes]", self.redis.zrevrangebylex(key, here, "-", 0, most))
        return [each.decode() for each in (*after, *before)]

    def with_email(self, email: str, most: int) -> list[str]:
        """Up to `most` accounts that were connected with this address."""
        key = self.address_key.find()
        if key is None:
            return []
        head = hash_with(key, email)
        found = self.redis.zrangebylex(self.keys.emails, b"[" + head, b"[" + head + b"\xff" * 8, 0, most)
        subs = [each[len(head) :].decode() for each in cast("list[bytes]", found)]
        # An older version may have changed the address since.
        return [sub for sub, now in self.emails_of(subs).items() if _same(now) == _same(email)]

    def emails_of(self, subs: Sequence[str]) -> dict[str, str]:
        """The addresses of these accounts' users, where known."""
        accounts = map(self.keys.account, subs)
        profiles = of_each(self.redis, accounts, lambda pipe, key: pipe.hget(key, "profile"))
        found = zip(subs, profiles, strict=True)
        emails = {sub: unpack_account(sub, {b"profile": each}).email for sub, each in found if each}
        return {sub: email for sub, email in emails.items() if email}

    def catch_up(self) -> bool:
        """Enter some of what an older version wrote, with what is new; false once all is entered."""
        progress = cast("bytes | None", self.redis.hget(self.keys.about, PROGRESS)) or b"0:0"
        if progress == DONE:
            return False
        kinds = (self.keys.account, self.keys.events, self.keys.settled)
        at, cursor = (int(each) for each in progress.split(b":"))
        head = kinds[at]("")
        cursor, found = self.redis.scan(cursor, match=f"{head}*", count=SCANNED)
        for key in cast("list[bytes]", found):
            sub = key.decode().removeprefix(head)
            email = self.emails_of([sub]).get(sub) if at == 0 else None
            self.scripts.run("index", sub, hash_with(self.address_key.take(), email) if email else b"")
        at += cursor == 0
        value = DONE if at == len(kinds) else f"{at}:{int(cursor)}"
        self.redis.hset(self.keys.about, PROGRESS, value)
        return at < len(kinds)

    def _key(self, standing: Standing | None) -> str:
        keys = self.keys
        return {
            Standing.PENDING: keys.oldest,
            Standing.DUE: keys.due,
            Standing.LEASED: keys.leased,
            Standing.OWING: keys.owing,
            Standing.LOST: keys.lost,
            None: keys.accounts,
        }[standing]


def _center(stored: bytes | None) -> str:
    return stored.decode() if stored else DATA_CENTERS[0]


@dataclass(frozen=True, slots=True)
class Tombstones:
    """Which accounts were forgotten, without saying who they were."""

    redis: Redis
    keys: Keys
    key: KeptKey

    def add(self, sub: str, now: datetime) -> None:
        """Note that this account was forgotten now, and remove what is older than `TOMBSTONES_KEPT`."""
        with self.redis.pipeline() as pipeline:
            pipeline.zadd(self.keys.forgotten, {_hash(self.key.take(), sub.encode()): to_ms(now)})
            pipeline.zremrangebyscore(self.keys.forgotten, "-inf", to_ms(now - TOMBSTONES_KEPT))
            pipeline.execute()

    def has(self, sub: str) -> bool:
        """Whether this account was forgotten; false, too, if no vault key can tell any more."""
        key = self.key.find()
        return (
            key is not None and self.redis.zscore(self.keys.forgotten, _hash(key, sub.encode())) is not None
        )


def hash_with(key: bytes, email: str) -> bytes:
    """What stands for an address, whatever its case, hashed with this key."""
    return _hash(key, _same(email))


def _hash(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")[:16]


def _same(email: str | None) -> bytes:
    return (email or "").strip().casefold().encode(errors="surrogatepass")
