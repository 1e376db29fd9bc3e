"""Everything Cronofy knows, in memory, and how it changes over time.

All of it lives on one event loop: nothing here is thread-safe, and nothing blocks.
"""

from __future__ import annotations

import heapq
import itertools
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.options import SandboxOptions
from sandbox.personality import InteractionShape
from sandbox.world.accounts import Account, CalendarProfile, ConferencingProfile
from sandbox.world.conferencing import attempt
from sandbox.world.events import PENDING, Event, render, write
from sandbox.world.moments import Moment, utc_text
from sandbox.world.registry import Registry, Unknown

#: How many entries the logs keep; older ones are dropped.
LOG_LENGTH = 200_000

#: Sends a notification: takes the callback's address and the body.
Notify = Callable[[str, dict[str, Any]], None]


def utc_now() -> datetime:
    return datetime.now(UTC)


def interaction_body(interaction: dict[str, str], shape: InteractionShape) -> dict[str, Any]:
    """Return a callback's body about this interaction, without the event (§6a)."""
    kind = {"type": "event_subscription"}
    subscription = {"type": "webhook", "interactions": [interaction]}
    bodies: dict[InteractionShape, dict[str, Any]] = {
        "array": {"notification": {**kind, "interactions": [interaction]}},
        "object": {"notification": {**kind, "interactions": interaction}},
        "singular": {"notification": {**kind, "interaction": interaction}},
        "type": {"notification": interaction},
        "top": {"notification": kind, "interactions": [interaction]},
        "subscription": {"notification": kind, "subscription": subscription},
    }
    return bodies[shape]


@dataclass(slots=True)
class Channel:
    """A push notification channel of an account (§6b)."""

    channel_id: str
    sub: str
    callback_url: str
    filters: dict[str, Any]

    def described(self) -> dict[str, Any]:
        return {"channel_id": self.channel_id, "callback_url": self.callback_url, "filters": self.filters}


class World:
    """Accounts, tokens, events and channels, and a schedule of what Cronofy does next.

    `options` is read at each use, since the control plane may change them; `clock` returns aware UTC.
    """

    def __init__(
        self, options: Callable[[], SandboxOptions], notify: Notify, clock: Callable[[], datetime]
    ) -> None:
        self._options = options
        self._notify = notify
        self._clock = clock
        self._agenda: list[tuple[datetime, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.registry = Registry(options, clock)
        self._events: dict[str, dict[str, Event]] = {}
        self._managed: dict[tuple[str, str], Event] = {}
        self.channels: dict[str, Channel] = {}
        #: Conferencing authorisations in progress, by token: account, provider, redirect address (§7).
        self.authorizations: dict[str, tuple[str, str, str]] = {}
        #: Events, by calendar and event id, that stay pending and whose failure is not notified.
        self.stuck: set[tuple[str, str]] = set()
        #: Names of the providers that are down.
        self.outages: set[str] = set()
        #: Accepted writes, and what attendees were sent, oldest first.
        self.writes: deque[dict[str, Any]] = deque(maxlen=LOG_LENGTH)
        self.invitations: deque[dict[str, Any]] = deque(maxlen=LOG_LENGTH)

    # -- time ---------------------------------------------------------------------------------------

    def now(self) -> datetime:
        return self._clock()

    def advance(self) -> None:
        """Do everything scheduled up to now, in order of due time."""
        while self._agenda and self._agenda[0][0] <= self.now():
            heapq.heappop(self._agenda)[2]()

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        if seconds <= 0:
            action()
            return
        due = self.now() + timedelta(seconds=seconds / self._options().speed)
        heapq.heappush(self._agenda, (due, next(self._order), action))

    # -- events -------------------------------------------------------------------------------------

    def event(self, calendar_id: str, event_id: str) -> Event:
        """Return the application's event, or raise `Unknown`."""
        if (calendar_id, event_id) not in self._managed:
            raise Unknown(f"event {event_id} in {calendar_id}")
        return self._managed[calendar_id, event_id]

    def events(self, calendar_id: str) -> Iterator[Event]:
        """Yield every event of the calendar, managed or not, including deleted ones."""
        yield from self._events.get(calendar_id, {}).values()

    def upsert(self, account: Account, calendar_id: str, body: dict[str, Any], via: str = "event") -> None:
        """Accept a valid Create or Update Event; reads show it after `visibility_seconds` (§4).

        `via` says for the log how it came: "event", "batch" or "sandbox".
        """
        what = {"sub": account.sub, "action": "upsert", "via": via, "body": body}
        self._log(self.writes, calendar_id, body["event_id"], **what)
        self._later(self._options().visibility_seconds, lambda: self._upsert(account, calendar_id, body))

    def delete(self, account: Account, calendar_id: str, event_id: str, via: str = "event") -> None:
        """Accept a Delete Event of the application; deleting what does not exist is no error."""
        what = {"sub": account.sub, "action": "delete", "via": via, "body": {"event_id": event_id}}
        self._log(self.writes, calendar_id, event_id, **what)

        def act() -> None:
            if event := self._managed.get((calendar_id, event_id)):
                event.deleted, event.updated = True, self.now()

        self._later(self._options().visibility_seconds, act)

    def add_external(self, sub: str, calendar_id: str, summary: str, start: object, end: object) -> Event:
        account = self.registry.account(sub)
        now = self.now()
        first, last = Moment.parse(start, account.zoneinfo), Moment.parse(end, account.zoneinfo)
        event = Event(sub, calendar_id, None, summary, first, last, now, now)
        self._events.setdefault(calendar_id, {})[event.event_uid] = event
        self._notify_change(event)
        return event

    def move(self, calendar_id: str, event_id: str, **changes: object) -> Event:
        """The person changes `start`, `end` or `summary`; a pending conference is tried again."""
        given = {name: value for name, value in changes.items() if value is not None}
        tzid = self.event(calendar_id, event_id).start.tzid
        times = {name: Moment.parse(given[name], tzid) for name in ("start", "end") if name in given}
        summary = {"summary": str(given["summary"])} if given.get("summary") else {}
        return self._change(calendar_id, event_id, **times, **summary)

    def delete_by_owner(self, calendar_id: str, event_id: str) -> Event:
        return self._change(calendar_id, event_id, deleted=True)

    def cancel(self, calendar_id: str, event_id: str) -> Event:
        return self._change(calendar_id, event_id, cancelled=True)

    def restore(self, calendar_id: str, event_id: str) -> Event:
        return self._change(calendar_id, event_id, deleted=False, cancelled=False)

    def _change(self, calendar_id: str, event_id: str, **fields: object) -> Event:
        """The person changes an event; a pending conference is tried again."""
        event = self.event(calendar_id, event_id)
        for name, value in fields.items():
            setattr(event, name, value)
        event.updated = self.now()
        if event.pending and not (event.deleted or event.cancelled):
            self._request_conference(event)
        self._notify_change(event)
        return event

    def set_stuck(self, calendar_id: str, event_id: str, stuck: bool) -> None:
        """Keep an event, even a future one, pending without a reason or a notification; or stop doing so."""
        key = (calendar_id, event_id)
        (self.stuck.add if stuck else self.stuck.discard)(key)
        event = self._managed.get(key)
        if event is not None and event.pending:
            self._request_conference(event)

    def _log(self, log: deque[dict[str, Any]], calendar_id: str, event_id: str, **what: Any) -> None:
        ts = self.now().timestamp()
        log.append({"ts": ts, "calendar_id": calendar_id, "event_id": event_id, **what})

    def _upsert(self, account: Account, calendar_id: str, body: dict[str, Any]) -> None:
        now = self.now()
        key = (calendar_id, str(body["event_id"]))
        event = self._managed.get(key)
        if event is None or event.deleted:
            # Also after a deletion: the application's id is free again, and the old entry stays deleted.
            nowhere = Moment(now, "Etc/UTC")
            event = Event(account.sub, calendar_id, key[1], "", nowhere, nowhere, now, now)
            self._managed[key] = event
            self._events.setdefault(calendar_id, {})[event.event_uid] = event
        event.updated = now
        for action, email in write(event, body, self._options().personality):
            self._log(self.invitations, calendar_id, key[1], email=email, action=action)
        block = body.get("conferencing")
        if block is None:
            return  # Omitted: the event's conferencing stays as it is (§3).
        event.profile_id = block["profile_id"]
        if event.profile_id == "explicit":
            event.generation += 1
            link = {"provider_name": block["provider_description"], "join_url": block["join_url"]}
            event.conferencing = link
        elif event.profile_id == "none":
            event.generation += 1
            event.conferencing = None
        else:
            self._request_conference(event)

    # -- conferencing -------------------------------------------------------------------------------

    def _request_conference(self, event: Event) -> None:
        event.generation += 1
        event.notified = set()
        event.conferencing = dict(PENDING)
        generation = event.generation
        self._later(self._options().generation_seconds, lambda: self._attempt(event, generation))

    def _attempt(self, event: Event, generation: int) -> None:
        key = (event.calendar_id, event.event_id or "")
        if event.generation != generation or event.deleted or event.cancelled or key in self.stuck:
            return
        result = attempt(event, self.registry.account(event.sub), self.outages, self.now())
        if result.conferencing is not None:
            event.conferencing, event.updated = result.conferencing, self.now()
            self._notify_subscribers(event, {"type": "conferencing_assigned"})
            return
        if not result.retry and self._options().personality.after_failure == "absent":
            event.conferencing = None
        if result.disconnected:
            self._notify_disconnected(event.sub, result.disconnected)
        failure = result.subtype or "outage"
        if result.failing and failure not in event.notified:
            event.notified.add(failure)
            subtype = {"subtype": result.subtype} if result.subtype else {}
            self._notify_subscribers(event, {"type": "conferencing_failing", **subtype})
        if result.retry:
            self._later(self._options().retry_seconds, lambda: self._attempt(event, generation))

    # -- notifications ------------------------------------------------------------------------------

    def open_channel(self, account: Account, callback_url: str, filters: dict[str, Any]) -> Channel:
        """Open a channel; its receiver gets one `verification` (§6b)."""
        channel = Channel("chn_" + secrets.token_hex(8), account.sub, callback_url, filters)
        self.channels[channel.channel_id] = channel
        self._notify_channel(channel, {"type": "verification"})
        return channel

    def close_channel(self, channel_id: str) -> None:
        """Close a channel if it is open; nobody is notified."""
        self.channels.pop(channel_id, None)

    def _notify_subscribers(self, event: Event, interaction: dict[str, str]) -> None:
        account = self.registry.account(event.sub)
        personality = self._options().personality
        said = interaction_body(interaction, personality.interactions)
        body = {**said, "event": render(event, account, personality)}
        for subscription in event.subscriptions:
            if any(i.get("type") == interaction["type"] for i in subscription.get("interactions") or []):
                self._notify(str(subscription.get("uri")), body)

    def _notify_disconnected(self, sub: str, profile: CalendarProfile | ConferencingProfile) -> None:
        # Sent when Cronofy next uses the profile, once per disconnection (§6b).
        if profile.disconnection_notified:
            return
        profile.disconnection_notified = True
        prefix = "conferencing_" if isinstance(profile, ConferencingProfile) else ""
        for channel in self._channels_of(sub):
            self._notify_channel(channel, {"type": f"{prefix}profile_disconnected"})

    def _notify_change(self, event: Event) -> None:
        # Only for people's changes: the application is not notified of its own writes (§4).
        for channel in self._channels_of(event.sub):
            calendars = channel.filters.get("calendar_ids") or [event.calendar_id]
            unmanaged_wanted = not channel.filters.get("only_managed")
            if event.calendar_id in calendars and (event.event_id or unmanaged_wanted):
                since = utc_text(event.updated)
                self._notify_channel(channel, {"type": "change", "changes_since": since})

    def _notify_channel(self, channel: Channel, notification: dict[str, str]) -> None:
        self._notify(channel.callback_url, {"notification": notification, "channel": channel.described()})

    def _channels_of(self, sub: str) -> list[Channel]:
        return [c for c in self.channels.values() if c.sub == sub]
