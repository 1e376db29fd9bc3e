"""The ledger: what is tracked, what is due, who holds it, and what came of it.

Every change is one Lua script, so one atomic step; ``scripts/common.lua`` lists the keys. All times are
the Redis server's, so no worker's clock matters.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, cast
from uuid import uuid4

import msgpack
from redis import Redis

from worker.diagnosis.model import Seen
from worker.ledger.connection import server_time
from worker.ledger.dead_letters import DeadLetters
from worker.ledger.directory import Directory, hash_with
from worker.ledger.figures import read_counters
from worker.ledger.forgotten import Tombstones
from worker.ledger.incidents import LINK_USED, Incident, Incidents
from worker.ledger.keys import Keys, Scripts
from worker.ledger.leases import Change, Committed, EventChange, Held, Lease, LeaseLost, Mail, Wakeups
from worker.ledger.lists import Lists, lists_of
from worker.ledger.mails import Mails
from worker.ledger.outgoing import Outcome, OutcomeStream, OutcomeType, erasure_requested
from worker.ledger.packing import (
    fingerprint,
    pack_acknowledgement,
    pack_channel,
    pack_choices,
    pack_connects,
    pack_event,
    pack_mailed,
    pack_memo,
    pack_profile_names,
    pack_token,
    readable_events,
    times_in,
    unpack_account,
    unpack_acknowledgement,
)
from worker.ledger.paging import part_of_hash
from worker.ledger.posts import Posts
from worker.ledger.records import (
    DATA_CENTERS,
    AccessToken,
    Account,
    Acknowledgement,
    EventKey,
    NotificationChannel,
    Stored,
    TrackedEvent,
    Untracked,
    from_ms,
    to_ms,
)
from worker.ledger.tallies import SETTLES, counted
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

    refresh_token: str | None = None
    access_token: str | None = None

    def __repr__(self) -> str:
        return "Credentials(…)"


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
    """What a sweep moved."""

    now: datetime
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
        self.forgotten = Tombstones(redis, self.keys, vault)
        self.rooms_key = KeptKey(redis, self.keys, vault, "rooms")
        self.outcomes = OutcomeStream(redis, self.keys)
        self.mails = Mails(redis, self.keys)
        self.posts = Posts(redis, self.keys, self.outcomes)
        self.lists = Lists(redis, self.keys, scripts)
        self.directory = Directory(redis, self.keys, vault, scripts)
        self.incidents = Incidents(redis, self.keys)
        self.wakeups = Wakeups(redis, self.keys, scripts)
        self.outcomes_keep = outcomes_keep
        self._keep_ms = int(history_keep.total_seconds() * 1000)

    def now(self) -> datetime:
        """The ledger's time."""
        return server_time(self.redis)

    # Intake.

    def connect(self, *accounts: Connecting) -> None:
        """Store accounts' credentials, replacing older ones; wake each that was lost or waits for them."""
        now = self.now()
        key = self.directory.address_key.take() if any(account.email for account in accounts) else b""
        self.scripts.run_each("connect", [self._connecting(account, now, key) for account in accounts])

    def _connecting(self, account: Connecting, now: datetime, address_key: bytes) -> tuple[Any, ...]:
        profile = msgpack.packb({"email": account.email, "name": account.name})
        outcome = Outcome(OutcomeType.ACCOUNT_CONNECTED, account.sub, now)
        sealed, token = self.seal_credentials(account.sub, account.credentials), b""
        if account.expires_in is not None:
            token = pack_token(AccessToken.given(now, account.expires_in), sealed)
        found_by = hash_with(address_key, account.email) if account.email else b""
        who = (account.sub, profile, account.data_center, sealed, outcome.to_json(), self.outcomes_keep)
        return (*who, token, account.locale or "", account.tzid or "", found_by)

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
            answers = self.run("track", _packed_tracking(left))
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
        replayed_ms = int(REPLAYED_AFTER.total_seconds() * 1000)
        return bool(self.run("nudge", sub, key.field, notice, heard, replayed_ms))

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

    def revive(self, sub: str, parked: Stored, event: TrackedEvent) -> bool:
        """Make a parked event due again as `event`; false if it changed meanwhile."""
        return bool(self.run("revive", sub, event.key.field, parked.fingerprint, *_value(event)))

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
        kind, cause = OutcomeType.ACKNOWLEDGED, stored.event.cause
        outcome = Outcome(kind, sub, now, key.calendar_id, key.event_id, cause, detail)
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
        event = closed.event.reopened(self.now(), seen)
        return bool(self.run("reopen", sub, key.field, closed.fingerprint, *_value(event)))

    # Reading.

    def account(self, sub: str) -> Account:
        """The account as stored; without credentials if it was never connected."""
        return unpack_account(sub, cast("dict[bytes, bytes]", self.redis.hgetall(self.keys.account(sub))))

    def accounts(self, subs: Iterable[str]) -> dict[str, Account]:
        """The same of several, in one round trip."""
        subs = list(subs)
        with self.redis.pipeline(transaction=False) as pipeline:
            for sub in subs:
                pipeline.hgetall(self.keys.account(sub))
            found = pipeline.execute() if subs else []
        return {sub: unpack_account(sub, stored) for sub, stored in zip(subs, found, strict=True)}

    def pending(self, sub: str) -> tuple[Stored, ...]:
        """The account's pending events that can be read."""
        return self._readable(self.keys.events(sub))

    def settled(self, sub: str) -> tuple[Stored, ...]:
        """The account's settled events that can be read."""
        return self._readable(self.keys.settled(sub))

    def newest_settled(self, sub: str, most: int) -> tuple[tuple[Stored, ...], bool]:
        """Up to `most` of the account's settled events, the latest first.

        And whether there are more than were read for it (`PART`): then these are the latest of some only.
        """
        more, values = part_of_hash(self.redis, self.keys.settled(sub))
        # Their next look is when they may be deleted.
        newest = heapq.nlargest(most, values.items(), key=lambda item: times_in(item[1])[0])
        return readable_events(newest)[0], more != 0

    def pending_count(self, sub: str) -> int:
        """How many pending events the account has."""
        return self.redis.hlen(self.keys.events(sub))

    def find(self, sub: str, key: EventKey) -> Stored | None:
        """An event of the account, pending or settled; None if it is not tracked."""
        return self.find_pending(sub, key) or self._find(self.keys.settled(sub), key)

    def find_pending(self, sub: str, key: EventKey) -> Stored | None:
        """A pending event of the account; None if it is settled or not tracked."""
        return self._find(self.keys.events(sub), key)

    def find_untracked(self, sub: str, key: EventKey) -> Untracked | None:
        """An event that was untracked within `history_keep`; None if there is none."""
        value = self._value(self.keys.untracked(sub), key)
        readable = () if value is None else readable_events([(key.field, value)])[0]
        return Untracked(readable[0].event, from_ms(readable[0].next_look)) if readable else None

    def find_closed(self, sub: str, key: EventKey) -> Stored | None:
        """A closed event of the account; None if it is assigned, pending or not tracked."""
        settled = None if self.find_pending(sub, key) else self._find(self.keys.settled(sub), key)
        return settled if settled and settled.event.was_closed else None

    def acknowledgement(self, sub: str, key: EventKey) -> Acknowledgement | None:
        """Who answers for a pending event, if anybody."""
        packed = self._value(self.keys.acknowledged(sub), key)
        return unpack_acknowledgement(packed) if packed else None

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
        now, due, expired, ready = self.run("promote", most, *DATA_CENTERS)
        return Promotion(from_ms(now), due, expired, dict(zip(DATA_CENTERS, ready, strict=True)))

    def note_trouble(self, kind: str, center: str, *, is_on: bool) -> bool:
        """Note whether this keeps the fleet from its work in a data centre; returns whether that is new."""
        return bool(self.run("fleet", f"{kind}@{center}", "1" if is_on else ""))

    def outages(self) -> dict[str, datetime]:
        """What is going on for many at once, and since when: CAUSE:PROVIDER@CENTER, or KIND@CENTER."""
        stored = cast("dict[bytes, bytes]", self.redis.hgetall(self.keys.outages))
        return {name.decode(): from_ms(float(at)) for name, at in stored.items() if at[:1] != b"-"}

    def see_to_outages(self, most: int, canaries_every: timedelta) -> int:
        """Make canaries due, and up to `most` events of outages that are over; returns how many of these."""
        return cast("int", self.run("outages", most, int(canaries_every.total_seconds() * 1000)))

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
        token, answer = self._claim(lease, b"", str(int(soon.total_seconds() * 1000)), *data_centers)
        return self._lease(token, answer) if answer else None

    def claim_account(self, sub: str, lease: timedelta) -> Lease | Held:
        """Lease this account, due or not; Held if someone else holds it."""
        token, answer = self._claim(lease, sub.encode(), "0")
        if len(answer) == 1:
            return Held(timedelta(milliseconds=answer[0]))
        return self._lease(token, answer)

    def wait_until_freed(self, sub: str, timeout: timedelta) -> None:
        """After `claim_account` returned Held: wait until the lease may be free, or for `timeout`."""
        # At least 0.01 s: 0 would wait forever.
        self.redis.blpop([self.keys.freed(sub)], timeout=max(0.01, timeout.total_seconds()))

    def release(self, lease: Lease) -> None:
        """Give an account back untouched; does nothing if the lease was lost."""
        self.run("release", lease.sub, lease.token)

    def hand_over(self, lease: Lease, wait: timedelta) -> None:
        """Give an account back untouched, for a task to claim by name; after `wait`, for anyone."""
        self.run("hand_over", lease.sub, lease.token, int(wait.total_seconds() * 1000))

    def commit(self, lease: Lease, change: Change, done: bool = True) -> Committed:
        """Write everything a look changed in one step, and end the lease (unless not `done`).

        Returns what was not written. Raises LeaseLost, with nothing written at all.
        """
        credentials = lease.account.credentials or b""
        packed = msgpack.packb(
            {
                "done": done,
                "events": [self._changed(lease, event) for event in change.events],
                "memo": pack_memo(change.memo) if change.memo else False,
                "profile_names": (
                    False if change.profile_names is None else pack_profile_names(change.profile_names)
                ),
                "connects": False if change.connects is None else pack_connects(change.connects),
                "mailed": pack_mailed(change.mailed) if change.mailed else False,
                "choices": False if change.choices is None else pack_choices(change.choices),
                "about": fingerprint(credentials) if change.lost or change.token else False,
                "lost": change.lost,
                "token": pack_token(change.token, credentials) if change.token else False,
                "outcomes": _packed(change.outcomes),
                "mails": [
                    [
                        mail.mail_id,
                        self.vault.seal(mail.message, *place_of_mail(mail.mail_id, lease.sub)),
                        to_ms(mail.due) if mail.due else False,
                        mail.parts is not None
                        and self.vault.seal(mail.parts, *place_of_parts(mail.mail_id, lease.sub)),
                        mail.kind,
                    ]
                    for mail in change.mails
                ],
                "reconnects": list(change.reconnects),
                "cancel": list(change.cancel),
                "reports": sorted({each.report for each in change.events if each.report}),
                "works": sorted({*change.works, *(each.works for each in change.events if each.works)}),
                "check_channel": change.check_channel,
                "profiles_due": (
                    [lease.account.profiles_due, change.ask_again.at or ""] if change.ask_again else False
                ),
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
        # Seldom any.
        fields = {event.field: event.before.event.key for event in change.events} if changed else {}
        return Committed(
            frozenset(fields[field] for field in changed),
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
            _packed(event.outcomes),
            lease.notices.get(field, b"") if event.notice_taken else False,
            event.dead_letter.packed(self.vault) if event.dead_letter else False,
            SETTLES.entry(to_ms(lease.now) - event.after.tracked_at) if is_first else False,
            lists_of(event.after, event.held) if verb == "keep" else (),
            lease.acknowledged.get(field, False) if event.unacknowledged else False,
            event.news or False,
            *counted(event, lease.now),
        ]

    def keep_channel(
        self, lease: Lease, channel: NotificationChannel | None, again: timedelta | None
    ) -> None:
        """Record what was found about the account's channel (None: nothing), and end the lease.

        `again` is the wait until it must be checked even without the events (None: never). Raises
        LeaseLost, with nothing written.
        """
        claimed = lease.account.channel_due
        kept = self.run(
            "channel",
            lease.sub,
            lease.token,
            "" if claimed is None else claimed,
            pack_channel(channel) if channel else b"",
            "" if again is None else int(again.total_seconds() * 1000),
        )
        if not kept:
            raise LeaseLost("The lease of this account expired before its channel was recorded.")

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
        sealed = self.vault.seal(mail.message, *place_of_mail(mail.mail_id, "")) if mail else b""
        return bool(
            self.run(
                "tell",
                incident.incident_id,
                verb,
                incident.total,
                max(0, int(again.total_seconds() * 1000)),
                mail.mail_id if mail else "",
                sealed,
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
        sealed = self.vault.seal(mail.message, *place_of_mail(mail.mail_id, "")) if mail else b""
        return bool(self.run("report", month, mail.mail_id if mail else "", sealed))

    # Credentials.

    def open_credentials(self, account: Account) -> Credentials | None:
        """The account's tokens, decrypted; None if it was never connected."""
        if account.credentials is None:
            return None
        return Credentials(
            **json.loads(self.vault.open(account.credentials, *place_of_credentials(account.sub)))
        )

    def keep_credentials(self, account: Account, credentials: Credentials) -> bytes | None:
        """Store refreshed tokens; returns them sealed; None if the account was connected again meanwhile."""
        sealed = self.seal_credentials(account.sub, credentials)
        kept = self.run("credentials", account.sub, fingerprint(account.credentials or b""), sealed)
        return sealed if kept else None

    def seal_credentials(self, sub: str, credentials: Credentials) -> bytes:
        """The account's tokens, encrypted by the vault."""
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
        """Add one to this counter."""
        self.redis.hincrby(self.keys.counters, name, 1)

    def counters(self) -> Mapping[str, int]:
        """All gauges and totals."""
        stored = cast("dict[bytes, bytes]", self.redis.hgetall(self.keys.counters))
        return read_counters(stored.items())

    def _readable(self, events: str) -> tuple[Stored, ...]:
        values = cast("dict[bytes, bytes]", self.redis.hgetall(events))
        return readable_events(values.items())[0]

    def _find(self, events: str, key: EventKey) -> Stored | None:
        value = self._value(events, key)
        readable = () if value is None else readable_events([(key.field, value)])[0]
        return readable[0] if readable else None

    def _value(self, events: str, key: EventKey) -> bytes | None:
        return cast("bytes | None", self.redis.hget(events, cast("str", key.field)))

    def _claim(self, lease: timedelta, sub: bytes, soon_ms: str, *data_centers: str) -> tuple[str, Any]:
        token = uuid4().hex
        return token, self.run("claim", int(lease.total_seconds() * 1000), token, sub, soon_ms, *data_centers)

    def _lease(self, token: str, answer: Any) -> Lease:
        now, sub_bytes, account, events, notices, claims, closed, acknowledged, outages = answer
        sub = sub_bytes.decode()
        stored = unpack_account(sub, dict(_pairs(account)))
        pending, damaged = readable_events(_pairs(events))
        past, _ = readable_events(_pairs(closed))
        noticed = dict(_pairs(notices))
        return Lease(
            sub,
            token,
            from_ms(now),
            stored,
            pending,
            noticed,
            claims - 1,
            damaged,
            past,
            dict(_pairs(acknowledged)),
            # Those that are over begin with "-".
            {group.decode(): float(since) for group, since in _pairs(outages) if since[:1] != b"-"},
        )


def _pairs(flat: Sequence[bytes]) -> Iterable[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _value(event: TrackedEvent) -> tuple[bytes, bytes]:
    """An event's value, and the lists that it is in."""
    return pack_event(event), msgpack.packb(lists_of(event))


def _packed_tracking(events: Iterable[tuple[str, TrackedEvent, TrackedEvent, str]]) -> bytes:
    packed = []
    for sub, _, written, former in events:
        value = pack_event(written)
        packed.append([sub, written.key.field, value, lists_of(written), former])
    return bytes(msgpack.packb(packed, use_bin_type=False))


def _following(event: TrackedEvent, value: bytes, untracked_at: int) -> tuple[TrackedEvent, str]:
    """The event with the history of its former record, and what tells that record from others."""
    readable, damaged = readable_events([(event.key.field, value)])
    if readable:
        return event.following(readable[0].event, untracked_at), readable[0].fingerprint
    return event, damaged[0].stored.fingerprint


def _packed(outcomes: Sequence[Outcome]) -> list[list[str]]:
    return [[outcome.type.value, outcome.to_json()] for outcome in outcomes]
