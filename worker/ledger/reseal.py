"""Everything that the vault sealed: which keys it needs, and resealing it with the newest one.

A value is replaced only if it is still the one that was read, so a running fleet loses nothing. An account's
tokens are left alone while a look holds it, which may be refreshing them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, cast

import msgpack

from worker.ledger.dead_letters import PAGE, SEALED_PARTS
from worker.ledger.ledger import Ledger
from worker.ledger.lookup import accounts
from worker.ledger.packing import fingerprint
from worker.ledger.paging import of_each, place_in_stream, whole_stream
from worker.ledger.records import EventKey
from worker.ledger.vault import (
    Fit,
    place_in_letter,
    place_of_credentials,
    place_of_kept_key,
    place_of_mail,
    place_of_parts,
)

#: How many accounts' or emails' values are read at a time.
STEP = 500
#: Between two tries at an account that a look holds.
PAUSE_SECONDS = 0.2


class SealedKind(StrEnum):
    #: The ledger's own keys, by their names.
    TOMBSTONES = "tombstones"
    ROOMS = "rooms"
    ADDRESSES = "addresses"
    MAILS = "emails"
    LETTERS = "dead_letters"
    CREDENTIALS = "credentials"


@dataclass(frozen=True, slots=True)
class Sealed:
    """One thing as it is stored: an account's tokens, an email or a dead letter."""

    kind: SealedKind
    #: The account, the email or the letter.
    name: str
    #: Each sealed value of it, with its place, by its field.
    values: dict[str, tuple[bytes, tuple[str, ...]]]
    #: A letter as it is packed.
    letter: dict[str, Any] | None = None

    def fit(self, ledger: Ledger) -> Fit:
        """How it stands to the vault's keys: as its worst value does."""
        return max(ledger.vault.fit(value, *place) for value, place in self.values.values())


def sealed_values(ledger: Ledger) -> Iterator[list[Sealed]]:
    """Everything sealed, in steps like those of `accounts`, which come last."""
    for kind in (SealedKind.TOMBSTONES, SealedKind.ROOMS, SealedKind.ADDRESSES):
        key = cast("bytes | None", ledger.redis.hget(ledger.keys.about, kind.value))
        if key is not None:
            yield [Sealed(kind, "", {kind.value: (key, place_of_kept_key(kind.value))})]
    ids = [each.decode() for each in cast("list[bytes]", ledger.redis.zrange(ledger.keys.outbox, 0, -1))]
    for at in range(0, len(ids), STEP):
        yield _mails(ledger, ids[at : at + STEP])
    yield from _letters(ledger)
    for subs in accounts(ledger):
        for at in range(0, max(1, len(subs)), STEP):
            yield _credentials(ledger, subs[at : at + STEP])


def reseal(ledger: Ledger, patience: timedelta, advance: Callable[[list[Sealed]], None]) -> Counter[str]:
    """Seal everything with the newest key and for its place; returns how many of each kind were.

    Also counted are "shut" (no key opens it, or not there) and "busy" (the account was held by looks, or
    changed, for all of `patience`): those are left. What is done already is skipped, so a run that was ended
    can simply be repeated. `advance` is told of each step.
    """
    done: Counter[str] = Counter()
    busy: set[str] = set()
    for step in sealed_values(ledger):
        busy |= {each.name for each in step if not _settle(ledger, each, done)}
        advance(step)
    end = time.monotonic() + patience.total_seconds()
    while busy and time.monotonic() < end:
        time.sleep(PAUSE_SECONDS)
        # One that was forgotten meanwhile is not among them.
        again = _credentials(ledger, list(busy))
        busy = {each.name for each in again if not _settle(ledger, each, done)}
    done["busy"] += len(busy)
    return done


def _settle(ledger: Ledger, each: Sealed, done: Counter[str]) -> bool:
    """Reseal it if need be; false if that has to be tried again."""
    fit = each.fit(ledger)
    if fit is Fit.SHUT:
        done["shut"] += 1
    elif fit is not Fit.CURRENT:
        if not _replace(ledger, each):
            # Anything else is gone: only credentials are held, or change.
            return each.kind is not SealedKind.CREDENTIALS
        done[each.kind] += 1
    return True


def _replace(ledger: Ledger, each: Sealed) -> bool:
    """Reseal it; false if it is held, changed or gone."""
    resealed = {
        field: ledger.vault.seal(ledger.vault.open(value, *place), *place)
        for field, (value, place) in each.values.items()
    }
    if each.letter is not None:
        return _replace_letter(ledger, each.name, {**each.letter, **resealed})
    key = {SealedKind.CREDENTIALS: ledger.keys.account, SealedKind.MAILS: ledger.keys.mail}.get(each.kind)
    sub = each.name if each.kind is SealedKind.CREDENTIALS else ""
    where = key(each.name) if key else ledger.keys.about
    done = [
        ledger.run("replace_sealed", where, field, fingerprint(each.values[field][0]), value, sub)
        for field, value in resealed.items()
    ]
    return all(done)


def _replace_letter(ledger: Ledger, letter_id: str, letter: dict[str, Any]) -> bool:
    """Put the letter back at the end of the stream, since an entry cannot be changed; its time stays."""
    letter.setdefault("at", place_in_stream(letter_id.encode())[0])
    packed = msgpack.packb(letter, unicode_errors="surrogatepass")
    # A parked event names its letter.
    opened = ledger.dead_letters.find(letter_id)
    kwargs = opened.letter.kwargs if opened else {}
    event = kwargs.get("event")
    event_id = event.get("event_id") if isinstance(event, dict) else kwargs.get("event_id")
    match kwargs.get("sub"), kwargs.get("calendar_id"), event_id:
        case str(sub), str(calendar_id), str(event_id):
            about = sub, EventKey(calendar_id, event_id).field
        case _:
            about = "", b""
    return bool(ledger.run("reseal_letter", letter_id, packed, *about))


def _credentials(ledger: Ledger, subs: list[str]) -> list[Sealed]:
    accounts = map(ledger.keys.account, subs)
    found = of_each(ledger.redis, accounts, lambda pipe, key: pipe.hget(key, "credentials"))
    return [
        Sealed(SealedKind.CREDENTIALS, sub, {"credentials": (value, place_of_credentials(sub))})
        for sub, value in zip(subs, found, strict=True)
        if value is not None
    ]


def _mails(ledger: Ledger, ids: list[str]) -> list[Sealed]:
    keys, mails = map(ledger.keys.mail, ids), []
    found = of_each(ledger.redis, keys, lambda pipe, key: pipe.hmget(key, "sub", "message", "parts"))
    for mail_id, (sub, message, parts) in zip(ids, found, strict=True):
        if sub is not None and message:
            values = {"message": (message, place_of_mail(mail_id, sub.decode()))}
            if parts is not None:
                values["parts"] = parts, place_of_parts(mail_id, sub.decode())
            mails.append(Sealed(SealedKind.MAILS, mail_id, values))
    return mails


def _letters(ledger: Ledger) -> Iterator[list[Sealed]]:
    """The dead letters that there are now: what is put back goes to the end."""
    newest = cast("list[Any]", ledger.redis.xrevrange(ledger.keys.dead_letters, count=1))
    if not newest:
        return
    last = newest[0][0].decode()
    for page in whole_stream(ledger.redis, ledger.keys.dead_letters, PAGE, end=last):
        yield [each for each in map(_letter, page) if each is not None]


def _letter(entry: tuple[bytes, dict[bytes, bytes]]) -> Sealed | None:
    letter_id, fields = entry
    try:
        packed = msgpack.unpackb(fields[b"letter"], unicode_errors="surrogatepass")
        values = {
            part: (bytes(packed[part]), place_in_letter(packed["task"], part))
            for part in SEALED_PARTS
            if part in packed
        }
    except (KeyError, TypeError, ValueError, msgpack.UnpackException):
        return None
    return Sealed(SealedKind.LETTERS, letter_id.decode(), values, packed) if values else None
