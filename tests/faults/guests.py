"""The people of the soak: they come, connect, have events, lose and renew what connects them, and go."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from redis import Redis
from redis.exceptions import RedisError

from sandbox.control.admin import Json
from tests.acceptance.harness import INTAKE, URGENT, Fleet, Person, zoom
from worker.ledger.records import EventKey

#: Conferences come on their own; a profile was removed and can be replaced; the user has to connect it again;
#: the access token has expired; the grant was revoked, until the person authorises us again.
Kind = Literal["well", "moved", "asked", "expired", "revoked"]
KINDS: tuple[Kind, ...] = ("well", "moved", "asked", "expired", "revoked")

EVENTS_EACH = 4
PERSON_EVERY = 2.0
#: Between two events of one person.
EVENT_EVERY = 3.0
#: What nobody knows of after this, while nothing is queued, was lost on the way: what a dead worker held has
#: come back by then.
UNKNOWN_SECONDS = 25.0


@dataclass(slots=True)
class Booking:
    """One event handed over."""

    body: Json
    #: The minute it was handed over in, by its number.
    minute: int
    sent_at: float
    assigned: bool = False


@dataclass(slots=True)
class Guest:
    """One person and their events."""

    kind: Kind
    person: Person
    connected_at: float
    minute: int
    bookings: dict[str, Booking] = field(default_factory=dict)
    relinked: bool = False
    authorised: bool = False

    @property
    def profile(self) -> str:
        return "pro_old" if self.kind == "moved" else "pro_zoom"


@dataclass(frozen=True, slots=True)
class Twice:
    """What was done more than once so far."""

    #: Outcomes, and relink emails that differ.
    doubled: int = 0
    #: Update Events and emails sent again with the same content, as reliability.md allows in its moments.
    repeated: int = 0


class Guests:
    """A thread that acts for all of them; `look_around` brings in what came of it."""

    def __init__(self, fleet: Fleet, ledger_url: str, broker_url: str, seed: int) -> None:
        self._fleet = fleet
        self._dice = random.Random(seed)
        self._ledger = Redis.from_url(ledger_url, socket_timeout=2)
        self._broker = Redis.from_url(broker_url, socket_timeout=2)
        self._numbers = itertools.count()
        self.guests: list[Guest] = []
        self._by_sub: dict[str, Guest] = {}
        #: Messages by task that the broker has not taken yet.
        self._outgoing: deque[tuple[str, Mapping[str, Any]]] = deque()
        self._read_to = "0"
        self._outcomes: Counter[tuple[str, str, str | None]] = Counter()
        self.minute = 0
        #: How many messages were sent again because they were lost, by the minute of their first sending.
        self.again: Counter[int] = Counter()
        #: What made the thread end, if anything did.
        self.failure: Exception | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)

    # -- what they do, in a thread of their own ------------------------------------------------------

    def begin(self) -> None:
        self._thread.start()

    def stop_coming(self) -> None:
        """Nobody new comes; what is to be sent is still sent."""
        self._closing.set()
        self._thread.join(60)

    def _live(self) -> None:
        try:
            kinds = itertools.cycle(KINDS)
            next_person = time.monotonic()
            while not self._closing.wait(0.2):
                if time.monotonic() >= next_person:
                    next_person += PERSON_EVERY
                    self.come(next(kinds))
                for guest in self.guests[-60:]:
                    if len(guest.bookings) < EVENTS_EACH:
                        due = guest.connected_at + 1 + EVENT_EVERY * len(guest.bookings)
                        if time.monotonic() >= due:
                            self.book(guest, f"event-{len(guest.bookings)}")
                if self._dice.random() < 0.02 and self.guests:
                    sub = self._dice.choice(self.guests[-30:]).person.sub
                    self._fleet.control.expire_access_token(sub)
                self.send()
        except Exception as error:  # shown by the soak
            self.failure = error

    def come(self, kind: Kind) -> Guest:
        """Somebody new connects."""
        sub = f"acc_{kind}_{next(self._numbers)}"
        profile = zoom("pro_new" if kind == "moved" else "pro_zoom", connected=kind != "asked")
        person = Person(
            self._fleet, sub, [profile], {"removed_profiles": ["pro_old"] if kind == "moved" else []}
        )
        guest = Guest(kind, person, time.monotonic(), self.minute)
        if kind == "revoked":
            self._fleet.control.revoke_refresh_token(sub)
        if kind in ("revoked", "expired"):
            self._fleet.control.expire_access_token(sub)
        self._by_sub[sub] = guest
        self.guests.append(guest)
        self._connect(guest)
        return guest

    def book(self, guest: Guest, event_id: str) -> Booking:
        """One more event of theirs."""
        body = guest.person.write(event_id, guest.profile, timedelta(days=3))
        booking = guest.bookings[event_id] = Booking(body, self.minute, time.monotonic())
        self._track(guest, booking)
        return booking

    def _connect(self, guest: Guest) -> None:
        tokens = {"refresh_token": guest.person.refresh_token, "access_token": guest.person.access_token}
        about = {"sub": guest.person.sub, "email": guest.person.email, "name": "Dana"}
        self._outgoing.append(("connect_account", {**about, **tokens}))

    def _track(self, guest: Guest, booking: Booking) -> None:
        ids = {"sub": guest.person.sub, "calendar_id": guest.person.calendar_id}
        self._outgoing.append(("track", {**ids, "event": booking.body, "provider_name": "zoom"}))

    def send(self) -> None:
        """Hand over what waits, in order, until the broker refuses; what it took stays sent."""
        while self._outgoing:
            task, kwargs = self._outgoing[0]
            try:
                self._fleet.caller.send(task, **kwargs)
            except Exception:  # whatever it is, the same is sent again later
                return
            self._outgoing.popleft()

    # -- what came of it -----------------------------------------------------------------------------

    def look_around(self) -> None:
        """Read the new outcomes, and do what they ask of people; nothing while the ledger does not answer."""
        try:
            entries: Any = self._ledger.xrange("reconciler:outcomes", f"({self._read_to}", count=5000)
        except RedisError:
            return
        for entry, fields in entries:
            self._read_to = entry.decode()
            outcome = json.loads(fields[b"outcome"])
            kind, sub, event_id = outcome["type"], outcome["sub"], outcome["event_id"]
            guest = self._by_sub.get(sub)
            if guest is None:
                continue
            self._outcomes[kind, sub, event_id] += 1
            if kind == "assigned" and event_id in guest.bookings:
                guest.bookings[event_id].assigned = True
            if kind == "account_lost" and guest.kind == "revoked" and not guest.authorised:
                guest.authorised = True
                created = self._fleet.control.authorize(sub)
                guest.person.refresh_token = created["refresh_token"]
                guest.person.access_token = created["access_token"]
                guest.connected_at = time.monotonic()
                self._connect(guest)

    def read_mail(self) -> Counter[tuple[str, str]]:
        """Who got a relink email follows its link; returns all emails by address and Message-ID."""
        mails = Counter((mail["to"][0], mail["message_id"]) for mail in self._fleet.control.mail())
        addresses = {address for address, _ in mails}
        for guest in self.guests:
            if guest.kind == "asked" and not guest.relinked and guest.person.email in addresses:
                self._fleet.control.reconnect_profile(guest.person.sub, "pro_zoom")
                guest.relinked = True
        return mails

    def waiting(self) -> list[tuple[Guest, Booking]]:
        """The events without a conference."""
        return [
            (guest, booking)
            for guest in self.guests
            for booking in list(guest.bookings.values())
            if not booking.assigned
        ]

    def twice(self) -> Twice:
        allowed = {"account_connected": 2, "account_lost": 2}
        doubled = sum(max(0, times - allowed.get(key[0], 1)) for key, times in self._outcomes.items())
        mails = self.read_mail()
        ours = {guest.person.email for guest in self.guests}
        mails = Counter({key: times for key, times in mails.items() if key[0] in ours})
        doubled += _beyond_one(Counter(address for address, _ in mails))
        written = Counter(
            (w["sub"], w["event_id"]) for w in self._fleet.control.writes() if w["via"] != "sandbox"
        )
        return Twice(doubled, _beyond_one(mails) + _beyond_one(written))

    def unexpected(self) -> Counter[str]:
        """Outcomes that no fault of the table may lead to."""
        fine = {"assigned", "reassigned", "relink_requested", "relinked", "account_lost", "account_connected"}
        return Counter(kind for kind, _, _ in self._outcomes.elements() if kind not in fine)

    def send_again(self) -> None:
        """As a caller would, send again what the ledger does not know although nothing is queued."""
        try:
            queues: Any = [self._broker.llen(name) for name in (INTAKE, URGENT)]
            if any(queues) or self._outgoing:
                return
            lost = [each for each in self.waiting() if self._is_unknown(*each)]
            forgotten = {
                guest.person.sub: guest for guest, _ in self.waiting() if self._is_unconnected(guest)
            }
        except RedisError:
            return
        for guest, booking in lost:
            self.again[booking.minute] += 1
            booking.sent_at = time.monotonic()
            self._track(guest, booking)
        for guest in forgotten.values():
            self.again[self.minute if guest.authorised else guest.minute] += 1
            guest.connected_at = time.monotonic()
            self._connect(guest)

    def _is_unknown(self, guest: Guest, booking: Booking) -> bool:
        if time.monotonic() - booking.sent_at < UNKNOWN_SECONDS:
            return False
        name: Any = EventKey(guest.person.calendar_id, booking.body["event_id"]).field
        sub = guest.person.sub
        return not any(
            self._ledger.hexists(f"reconciler:{kind}:{sub}", name) for kind in ("events", "settled")
        )

    def _is_unconnected(self, guest: Guest) -> bool:
        if time.monotonic() - guest.connected_at < UNKNOWN_SECONDS:
            return False
        standing: Any = self._ledger.hget(f"reconciler:account:{guest.person.sub}", "standing")
        return standing is None or (guest.authorised and standing == b"lost")


def _beyond_one(counted: Mapping[Any, int]) -> int:
    return sum(times - 1 for times in counted.values())
