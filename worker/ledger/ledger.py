"""The ledger: what is tracked, what is due, who holds it, and what came of it.

Every change is one Lua script, so one atomic step; ``scripts/common.lua`` lists the keys. All times are
the Redis server's, so no worker's clock matters.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, cast
from uuid import uuid4

import msgpack
from redis import Redis

from worker.diagnosis.model import Seen
from worker.ledger.connection import server_time
from worker.ledger.dead_letters import DeadLetters
from worker.ledger.directory import Directory, Tombstones, hash_with
from worker.ledger.incidents import LINK_USED, Incident, Incidents
from worker.ledger.keys import Keys, Scripts
from worker.ledger.leases import Change, Committed, EventChange, Held, Lease, LeaseLost, Mail, Wakeups
from worker.ledger.lists import Lists, lists_of
from worker.ledger.mails import Mails
from worker.ledger.outcomes import Outcome, OutcomeStream, OutcomeType, erasure_requested, typed
from worker.ledger.packing import (
    PACKED_PARTS,
    fingerprint,
    pack_acknowledgement,
    pack_event,
    pack_token,
    readable_event,
    readable_events,
    times_in,
    unpack_account,
    unpack_acknowledgement,
)
from worker.ledger.paging import of_each, part_of_hash
from worker.ledger.posts import Posts
from worker.ledger.records import (
    DATA_CENTERS,
    AccessToken,
    Account,
    Acknowledgement,
    EventKey,
    Stored,
    TrackedEvent,
    from_ms,
    in_ms,
    to_ms,
)
from worker.ledger.tallies import SETTLES, counted, read_counters
from worker.ledger.vault import KeptKey, Vault, place_of_credentials, place_of_mail, place_of_parts

#: A notification that came before, longer ago than this, says nothing new: somebody replays it.
REPLAYED_AFTER = timedelta(days=1)
#: A meeting that starts within this goes before all news; `YEAR` of ``common.lua``, in milliseconds.
SOON = timedelta(minutes=15)
YEAR_MS = 365 * 86_400_000


@dataclass(frozen=True, slots=True)
class Credentials:
    """An account's OAuth tokens.

    Without a given access token, it is None until the first refresh. Without a refresh token, the application
    gives the access tokens (`Account.token`).
    """

    refresh_token: str | None = field(default=None, repr=False)
    access_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Connecting:
    """An account to connect; an `email`, `name`, `locale` or `tzid` of None keeps the earlier one."""

    sub: str
    credentials: Credentials
    data_center: str
    email: str | None
    name: str | None
    #: Needed without a refresh token.
    expires_in: timedelta | None = None
    locale: str | None = None
    tzid: str | None = None


@dataclass(frozen=True, slots=True)
class Promotion:
    due: int
    expired: int
    #: How many accounts of each data centre are ready now.
    ready: Mapping[str, int]


class Ledger:
    """Everything we store, in one Redis."""

    def __init__(
        self, redis: Redis, prefix: str, vault: Vault, history_keep: timedelta, outcomes_keep: int
    ) -> None:
        self.redis = redis
        self.prefix = prefix
        self.keys = Keys(prefix)
        self.vault = vault
        self.scripts = scripts = Scripts(redis, self.keys)
        self.run = scripts.run
        self.dead_letters = DeadLetters(redis, self.keys, vault)
        self.forgotten = Tombstones(redis, self.keys, KeptKey(redis, self.keys, vault, "tombstones"))
        self.rooms_key = KeptKey(redis, self.keys, vault, "rooms")
        self.outcomes = OutcomeStream(redis, self.keys)
        self.mails = Mails(redis, self.keys)
        self.posts = Posts(redis, self.keys, self.outcomes)
        self.lists = Lists(redis, self.keys, scripts)
        self.directory = Directory(redis, self.keys, scripts, KeptKey(redis, self.keys, vault, "addresses"))
        self.incidents = Incidents(redis, self.keys)
        self.wakeups = Wakeups(redis, self.keys, scripts)
        self.outcomes_keep = outcomes_keep
        self._keep_ms = in_ms(history_keep)

    def now(self) -> datetime:
        """The ledger's time."""
        return server_time(self.redis)

    # Intake.

    def connect(self, *accounts: Connecting) -> None:
        """Store accounts' credentials, replacing older ones; wake each that was lost or waits for them."""
        now = self.now()
        address_key = self.directory.address_key.take() if any(each.email for each in accounts) else b""
        calls = []
        for each in accounts:
            sealed = self.seal_credentials(each.sub, each.credentials)
            token = b""
            if each.expires_in is not None:
                token = pack_token(AccessToken.given(now, each.expires_in), sealed)
            calls.append(
                (
                    each.sub,
                    msgpack.packb({"email": each.email, "name": each.name}),
                    each.data_center,
                    sealed,
                    Outcome(OutcomeType.ACCOUNT_CONNECTED, each.sub, now).to_json(),
                    self.outcomes_keep,
                    token,
                    each.locale or "",
                    each.tzid or "",
                    hash_with(address_key, each.email) if each.email else b"",
                )
            )
        self.scripts.run_each("connect", calls)

    def forget(self, sub: str, outcome: str = "") -> None:
        """Erase an account with its credentials, events and unsent mail; `outcome` (JSON) reports it."""
        self.run("forget", sub, outcome, self.outcomes_keep)

    def report_erasure(self, sub: str, channel_id: str) -> None:
        """Report, once, that the account's erasure was requested over this channel, and not carried out."""
        outcome = erasure_requested(sub, self.now(), forgotten=False)
        self.run("erasure", sub, channel_id, outcome.to_json(), self.outcomes_keep)

    def track(self, sub: str, event: TrackedEvent) -> None:
        """Start watching an event; tracking it again replaces the record, whose history goes on."""
        self.track_all([(sub, event)])

    def track_all(self, events: Sequence[tuple[str, TrackedEvent]]) -> None:
        """The same for several, of any accounts, one after the other."""
        # What is to be written, and the former record that its history goes on from.
        left = [(sub, event, event, "") for sub, event in events]
        while left:
            packed = [
                [sub, written.key.field, pack_event(written), lists_of(written), former]
                for sub, _, written, former in left
            ]
            answers = self.run("track", msgpack.packb(packed, use_bin_type=False))
            left = [
                (sub, event, *_following(event, *answer))
                for (sub, event, *_), answer in zip(left, answers, strict=True)
                if answer
            ]

    def adopt(self, sub: str, events: Sequence[TrackedEvent]) -> int:
        """Start watching those of these events that nobody tracked; returns how many.

        Left alone are those that are pending, settled, or were untracked within `history_keep`.
        """
        packed = [[event.key.field, pack_event(event)] for event in events]
        return len(self.run("adopt", sub, msgpack.packb(packed, use_bin_type=False)))

    def adopted_up_to(self) -> str | None:
        """The account that an unended run of `adopt` read last, within a day; None if there is none."""
        sub = cast("bytes | None", self.redis.get(self.keys.adopting))
        return sub.decode() if sub else None

    def keep_adopted_up_to(self, sub: str | None) -> None:
        """Note how far a run of `adopt` came; None: it ended."""
        if sub is None:
            self.redis.delete(self.keys.adopting)
        else:
            self.redis.set(self.keys.adopting, sub, ex=timedelta(days=1))

    def untrack(self, sub: str, key: EventKey) -> bool:
        """Stop watching an event; returns whether it was known."""
        return bool(self.run("untrack", sub, key.field, self._keep_ms))

    def nudge(self, sub: str, key: EventKey, notice: bytes = b"", body: str = "") -> bool:
        """Make a pending event due now; returns whether it is. A parked one stays parked.

        `notice` is what a notification said about it (`pack_notice`), kept for the look, unless the same
        `body` first came more than `REPLAYED_AFTER` ago. That the service fails is no news, and if the event
        is held, it is known.
        """
        heard = fingerprint(body.encode())[:16]
        return bool(self.run("nudge", sub, key.field, notice, heard, in_ms(REPLAYED_AFTER)))

    def take_notification(
        self, sub: str, channel_id: str | None = None, *, due: bool = True, ask_profiles: bool = False
    ) -> bool:
        """Take a notification about a whole account; with `due`, all its pending events become due now.

        `channel_id` is the channel it came over. With `ask_profiles`, UserInfo is asked for the account, even
        if it has no event. Returns whether anything became due.
        """
        flags = ("1" if flag else "" for flag in (due, ask_profiles))
        return bool(self.run("notification", sub, channel_id or "", *flags))

    def check_channel(self, sub: str) -> None:
        """Have the account's notification channel checked next, even if it has no event."""
        self.run("check_channel", sub)

    def take_up(self, sub: str, former: Stored, event: TrackedEvent) -> bool:
        """Make a parked or closed event due again as `event`; false if it changed meanwhile."""
        lists = msgpack.packb(lists_of(event))
        return bool(self.run("take_up", sub, event.key.field, former.fingerprint, pack_event(event), lists))

    def acknowledge(self, sub: str, stored: Stored, given: Acknowledgement | None) -> bool:
        """Acknowledge a pending event, or with None withdraw that; false if it changed meanwhile.

        One that this replaces or withdraws stays in the event's history.
        """
        key, now = stored.event.key, self.now()
        former, noted = self.acknowledgement(sub, key), b""
        if former and former != given:
            over = "it was withdrawn" if given is None else "it was acknowledged again"
            noted = pack_event(stored.event.answered_for(former, over, now))
        detail: dict[str, Any] = {"withdrawn": True}
        if given is not None:
            until = None if given.until is None else from_ms(given.until).isoformat(timespec="milliseconds")
            detail = {"by": given.by, "note": given.note, "until": until}
        ids = (key.calendar_id, key.event_id)
        outcome = Outcome(OutcomeType.ACKNOWLEDGED, sub, now, *ids, stored.event.cause, detail)
        return bool(
            self.run(
                "acknowledge",
                sub,
                key.field,
                stored.fingerprint,
                pack_acknowledgement(given) if given else b"",
                "" if given is None or given.until is None else given.until,
                msgpack.packb(lists_of(stored.event)),
                outcome.to_json(),
                self.outcomes_keep,
                noted,
            )
        )

    def reopen(self, sub: str, key: EventKey, seen: Seen | None = None) -> bool:
        """Take up a closed event again, as just `seen`, due at once; false if it is not closed."""
        closed = self.find_closed(sub, key)
        if closed is None:
            return False
        return self.take_up(sub, closed, closed.event.reopened(self.now(), seen))

    # Reading.

    def account(self, sub: str) -> Account:
        """The account as stored; without credentials if it was never connected."""
        return unpack_account(sub, cast("dict[bytes, bytes]", self.redis.hgetall(self.keys.account(sub))))

    def accounts(self, subs: Iterable[str]) -> dict[str, Account]:
        """The same of several, in one round trip."""
        subs = list(subs)
        found = of_each(self.redis, subs, lambda pipe, sub: pipe.hgetall(self.keys.account(sub)))
        return {sub: unpack_account(sub, stored) for sub, stored in zip(subs, found, strict=True)}

    def pending(self, sub: str) -> tuple[Stored, ...]:
        """The account's pending events that can be read."""
        values = cast("dict[bytes, bytes]", self.redis.hgetall(self.keys.events(sub)))
        return readable_events(values.items())[0]

    def newest_settled(self, sub: str, most: int) -> tuple[tuple[Stored, ...], bool]:
        """Up to `most` of the account's settled events, the latest first.

        And whether there are more than were read for it (`PART`): then these are the latest of some only.
        """
        more, values = part_of_hash(self.redis, self.keys.settled(sub))
        # Their next look is when they may be deleted.
        newest = heapq.nlargest(most, values.items(), key=lambda item: times_in(item[1])[0])
        return readable_events(newest)[0], more != 0

    def pending_count(self, sub: str) -> int:
        return self.redis.hlen(self.keys.events(sub))

    def find(self, sub: str, key: EventKey) -> Stored | None:
        """An event of the account, pending or settled; None if it is not tracked."""
        return self.find_pending(sub, key) or self._find(self.keys.settled(sub), key)

    def find_pending(self, sub: str, key: EventKey) -> Stored | None:
        """A pending event of the account; None if it is settled or not tracked."""
        return self._find(self.keys.events(sub), key)

    def find_untracked(self, sub: str, key: EventKey) -> Stored | None:
        """An event that was untracked within `history_keep`, at its `next_look`; None if there is none."""
        return self._find(self.keys.untracked(sub), key)

    def find_closed(self, sub: str, key: EventKey) -> Stored | None:
        """A closed event of the account; None if it is assigned, pending or not tracked."""
        settled = None if self.find_pending(sub, key) else self._find(self.keys.settled(sub), key)
        return settled if settled and settled.event.was_closed else None

    def acknowledgement(self, sub: str, key: EventKey) -> Acknowledgement | None:
        """Who answers for a pending event, if anybody."""
        return unpack_acknowledgement(self._value(self.keys.acknowledged(sub), key))

    def stored_value(self, sub: str, key: EventKey) -> bytes | None:
        """A pending event's stored value, readable or not."""
        return self._value(self.keys.events(sub), key)

    def accounts_of(self, calendar_id: str) -> tuple[str, ...]:
        """The accounts that have pending events in this calendar."""
        members = cast("set[bytes]", self.redis.smembers(self.keys.calendar(calendar_id)))
        return tuple(sorted(member.decode() for member in members))

    # Leases.

    def promote(self, most: int) -> Promotion:
        """Move what is due to ready, and give back what expired leases held, `most` of each at a time."""
        due, expired, ready = self.run("promote", most, *DATA_CENTERS)
        return Promotion(due, expired, dict(zip(DATA_CENTERS, ready, strict=True)))

    def note_trouble(self, kind: str, center: str, *, is_on: bool) -> None:
        """Note whether this keeps the fleet from its work in a data centre."""
        self.run("fleet", f"{kind}@{center}", "1" if is_on else "")

    def outages(self) -> dict[str, datetime]:
        """What is going on for many at once, and since when: CAUSE:PROVIDER@CENTER, or KIND@CENTER."""
        return _going_on(cast("dict[bytes, bytes]", self.redis.hgetall(self.keys.outages)).items())

    def see_to_outages(self, most: int, canaries_every: timedelta) -> int:
        """Make canaries due, and up to `most` events of outages that are over; returns how many of these."""
        return cast("int", self.run("outages", most, in_ms(canaries_every)))

    def ready_before(self, center: str, within: timedelta) -> int:
        """How many ready accounts of a data centre have a due event that starts within this time."""
        now = self.now()
        # Those with news have their turn a year earlier (`common.lua`).
        return sum(
            self.redis.zcount(self.keys.ready(center), to_ms(now) - news, to_ms(now + within) - news)
            for news in (0, YEAR_MS)
        )

    def claim(
        self, lease: timedelta, data_centers: Iterable[str] = DATA_CENTERS, soon: timedelta = SOON
    ) -> Lease | None:
        """Lease the ready account of these data centres whose turn is next; None if none is ready.

        The order is in ``common.lua``: meetings that start `soon` first, then news, then what merely waits.
        """
        return cast("Lease | None", self._claim(lease, "", in_ms(soon), *data_centers))

    def claim_account(self, sub: str, lease: timedelta) -> Lease | Held:
        """Lease this account, due or not; Held if someone else holds it."""
        return cast("Lease | Held", self._claim(lease, sub, 0))

    def wait_until_freed(self, sub: str, timeout: timedelta) -> None:
        """After `claim_account` returned Held: wait until the lease may be free, or for `timeout`."""
        # At least 0.01 s: 0 would wait forever.
        self.redis.blpop([self.keys.freed(sub)], timeout=max(0.01, timeout.total_seconds()))

    def release(self, lease: Lease) -> None:
        """Give an account back untouched; does nothing if the lease was lost."""
        self.run("give_back", lease.sub, lease.token, "")

    def hand_over(self, lease: Lease, wait: timedelta) -> None:
        """Give an account back untouched, for a task to claim by name; after `wait`, for anyone."""
        self.run("give_back", lease.sub, lease.token, in_ms(wait))

    def commit(self, lease: Lease, change: Change, done: bool = True) -> Committed:
        """Write everything a look changed in one step, and end the lease (unless not `done`).

        Returns what was not written. Raises LeaseLost, with nothing written at all.
        """
        credentials = lease.account.credentials or b""
        packed = msgpack.packb(
            {
                "done": done,
                "events": [self._changed(lease, event) for event in change.events],
                "parts": {
                    name: pack(part)
                    for name, pack in PACKED_PARTS.items()
                    if (part := getattr(change, name)) is not None
                },
                "about": fingerprint(credentials) if change.lost or change.token else False,
                "lost": change.lost,
                "token": pack_token(change.token, credentials) if change.token else False,
                "outcomes": typed(change.outcomes),
                "mails": [self._sealed(mail, lease.sub) for mail in change.mails],
                "reconnects": list(change.reconnects),
                "cancel": list(change.cancel),
                "reports": sorted({each.report for each in change.events if each.report}),
                "works": sorted({*change.works, *(each.works for each in change.events if each.works)}),
                "check_channel": change.check_channel,
                "profiles_due": change.ask_again is not None
                and [lease.account.profiles_due, change.ask_again or ""],
                "channel_due": change.check_again is not None
                and [lease.account.channel_due, change.check_again or ""],
                "keep_ms": self._keep_ms,
                "outcomes_keep": self.outcomes_keep,
                "figures": dict(change.figures),
            },
            # Lua's msgpack reader knows only one kind of string.
            use_bin_type=False,
        )
        answer = self.run("commit", lease.sub, lease.token, packed)
        if answer is None:
            raise LeaseLost("The lease of this account expired before its look was committed.")
        changed, void, begun, ended = answer
        return Committed(
            frozenset(event.before.event.key for event in change.events if event.field in changed),
            tuple(each.decode() for each in begun),
            tuple(each.decode() for each in ended),
            bool(void),
        )

    def _changed(self, lease: Lease, event: EventChange) -> list[Any]:
        """What ``commit.lua`` needs of the change to one event."""
        field, before = event.field, event.before
        verb = "drop" if event.dropped else "settle" if event.settle else "keep"
        is_first = event.settle and not before.event.was_closed
        return [
            field,
            before.next_look,
            before.fingerprint,
            verb,
            event.value,
            typed(event.outcomes),
            lease.notices.get(field, b"") if event.notice_taken else False,
            event.dead_letter.packed(self.vault) if event.dead_letter else False,
            SETTLES.entry(to_ms(lease.now) - event.after.tracked_at) if is_first else False,
            lists_of(event.after, event.held) if verb == "keep" else (),
            lease.acknowledged.get(field, False) if event.unacknowledged else False,
            event.news or False,
            *counted(event, lease.now),
        ]

    # Incidents.

    def tell(
        self,
        incident: Incident,
        verb: Literal["tell", "close", "later"],
        again: timedelta,
        mail: Mail | None = None,
        named: Iterable[str] = (),
        outcome: Outcome | None = None,
    ) -> bool:
        """Mark an incident as told or closed, with the email that says so; or have it seen to `again` later.

        `named` are the accounts that the email names. Does nothing, and returns false, if something joined
        the incident since it was read, or it was told or closed meanwhile.
        """
        return bool(
            self.run(
                "tell",
                incident.incident_id,
                verb,
                incident.total,
                max(0, in_ms(again)),
                *(self._sealed(mail)[:2] if mail else ("", b"")),
                msgpack.packb(sorted(set(named)), use_bin_type=False),
                outcome.to_json() if outcome else "",
                self.outcomes_keep,
                self._keep_ms,
            )
        )

    def note_about(self, incident_id: str, by: str, what: str) -> None:
        """Keep in an incident's history what somebody did about it."""
        said = json.dumps({"by": by, "what": what})
        self.run("note", incident_id, f"note:{to_ms(self.now())}:{uuid4().hex[:8]}", said)

    def use_link(self, incident_id: str, by: str) -> bool:
        """Use up the link with which an incident can be decided; false if it was used, or is forgotten."""
        return bool(self.run("note", incident_id, LINK_USED, json.dumps([to_ms(self.now()), by])))

    def give_link_back(self, incident_id: str) -> None:
        """The link was used in vain: it may be used again."""
        self.redis.hdel(self.keys.incident(incident_id), LINK_USED)

    def put_report(self, month: str, mail: Mail | None) -> bool:
        """Note that this month (YYYY-MM) has its report, and queue the email; false if it had, or without."""
        return bool(self.run("report", month, *(self._sealed(mail)[:2] if mail else ("", b""))))

    # Credentials.

    def open_credentials(self, account: Account) -> Credentials | None:
        """The account's tokens, decrypted; None if it was never connected."""
        if account.credentials is None:
            return None
        plain = self.vault.open(account.credentials, *place_of_credentials(account.sub))
        return Credentials(**json.loads(plain))

    def keep_credentials(self, account: Account, credentials: Credentials) -> bytes | None:
        """Store refreshed tokens; returns them sealed; None if the account was connected again meanwhile."""
        sealed = self.seal_credentials(account.sub, credentials)
        key, former = self.keys.account(account.sub), fingerprint(account.credentials or b"")
        return sealed if self.run("replace_sealed", key, "credentials", former, sealed, "") else None

    def seal_credentials(self, sub: str, credentials: Credentials) -> bytes:
        plain = {"refresh_token": credentials.refresh_token, "access_token": credentials.access_token}
        if credentials.refresh_token is None:
            # Releases that know only refresh tokens take this for damaged: they neither refresh nor lose it.
            del plain["refresh_token"]
        return self.vault.seal(json.dumps(plain).encode(), *place_of_credentials(sub))

    # Steering.

    def set_paused(self, paused: bool) -> None:
        """Stop all of the fleet's calls to Cronofy and emails, or resume them (contract §6)."""
        if paused:
            # Pausing again keeps the first pause's time.
            self.redis.set(self.keys.paused, to_ms(self.now()), nx=True)
        else:
            self.redis.delete(self.keys.paused)

    def paused_since(self) -> datetime | None:
        """When an operator paused the fleet; None if it is not paused."""
        since = cast("bytes | None", self.redis.get(self.keys.paused))
        return None if since is None else from_ms(float(since))

    # Counting.

    def count(self, name: str) -> None:
        self.redis.hincrby(self.keys.counters, name, 1)

    def counters(self) -> Mapping[str, int]:
        """All gauges and totals."""
        stored = cast("dict[bytes, bytes]", self.redis.hgetall(self.keys.counters))
        return read_counters(stored)

    def _sealed(self, mail: Mail, sub: str = "") -> list[Any]:
        """An email to an account's user, or to the operator, as scripts take it."""
        return [
            mail.mail_id,
            self.vault.seal(mail.message, *place_of_mail(mail.mail_id, sub)),
            to_ms(mail.due) if mail.due else False,
            mail.parts is not None and self.vault.seal(mail.parts, *place_of_parts(mail.mail_id, sub)),
            mail.kind,
        ]

    def _find(self, events: str, key: EventKey) -> Stored | None:
        return readable_event(key.field, self._value(events, key))

    def _value(self, events: str, key: EventKey) -> bytes | None:
        return cast("bytes | None", self.redis.hget(events, cast("str", key.field)))

    def _claim(self, lease: timedelta, sub: str, soon_ms: int, *data_centers: str) -> Lease | Held | None:
        token = uuid4().hex
        answer = self.run("claim", in_ms(lease), token, sub, soon_ms, *data_centers)
        if len(answer) < 2:
            return Held(timedelta(milliseconds=answer[0])) if answer else None
        now, sub_bytes, account, events, notices, claims, closed, acknowledged, outages = answer
        sub = sub_bytes.decode()
        pending, damaged = readable_events(_pairs(events))
        return Lease(
            sub,
            token,
            from_ms(now),
            unpack_account(sub, dict(_pairs(account))),
            pending,
            dict(_pairs(notices)),
            claims - 1,
            damaged,
            readable_events(_pairs(closed))[0],
            dict(_pairs(acknowledged)),
            _going_on(_pairs(outages)),
        )


def _pairs(flat: Sequence[bytes]) -> Iterable[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _going_on(outages: Iterable[tuple[bytes, bytes]]) -> dict[str, datetime]:
    # Those that are over begin with "-".
    return {group.decode(): from_ms(float(since)) for group, since in outages if since[:1] != b"-"}


def _following(event: TrackedEvent, value: bytes, untracked_at: int) -> tuple[TrackedEvent, str]:
    """The event with the history of its former record, and what tells that record from others."""
    readable, damaged = readable_events([(event.key.field, value)])
    if readable:
        return event.following(readable[0].event, untracked_at), readable[0].fingerprint
    return event, damaged[0].stored.fingerprint
