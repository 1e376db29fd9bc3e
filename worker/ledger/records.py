"""What the ledger holds about accounts and events, as frozen values; `worker.ledger.packing` packs them.

Times in them are milliseconds since the epoch, on the ledger's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Literal, get_args

from worker.diagnosis.causes import INDIRECT
from worker.diagnosis.model import (
    SUBSCRIBED,
    Cause,
    Diagnosis,
    Interaction,
    Notice,
    Remedy,
    Request,
    Seen,
    State,
)
from worker.diagnosis.times import EventTime, MalformedTime, parse_event_time

HISTORY_LENGTH = 20
#: What a history says of people, not of looks: the first line of each kind and the latest are kept.
MOMENTS = (
    *("escalated", "letter_written", "chosen", "choice_withdrawn", "acknowledged", "acknowledgement_over"),
    "parked",
)
#: What an `escalated` line says if the reason is the evidence.
TOLD = "a person was told"
#: The line of history of an event that a caller untracked.
UNTRACKED = ("untracked", "not watched any more")
#: What is in `TrackedEvent.notified` once an outage was published: that is news, and asks nobody for help.
DELAYED = f"{Cause.PROVIDER_OUTAGE}:"

#: Groups of incidents (`TrackedEvent.group`) besides the causes: looks were given up, looks keep failing, the
#: application owes an access token, and records that cannot be read.
PARKED, UNREAD, TOKEN_OWED, DAMAGED = "parked", "unread", "token_owed", "damaged"
#: The kind of incident of a service whose profiles lapse in number: its events wait for it together.
LAPSED = "lapsed"
#: Kinds of incidents of the whole fleet, which have no events: most calls to Cronofy fail, it refuses our
#: client, or it answers 429 again and again.
CRONOFY_FAILING, CLIENT_REFUSED, NO_BUDGET = "cronofy_failing", "client_refused", "no_budget"
FLEET = (CRONOFY_FAILING, CLIENT_REFUSED, NO_BUDGET)
#: After as many looks in a row that failed from outside, looks keep failing.
FAILING = 3

#: Where Cronofy keeps accounts (reference §1).
DataCenter = Literal["us", "au", "ca", "de", "sg", "uk"]
DATA_CENTERS: tuple[DataCenter, ...] = get_args(DataCenter)


def to_ms(moment: datetime) -> int:
    """Milliseconds since the epoch."""
    return int(moment.timestamp() * 1000)


def from_ms(ms: float) -> datetime:
    """The aware UTC datetime of a time in milliseconds since the epoch."""
    return datetime.fromtimestamp(ms / 1000, UTC)


#: (at, cause or state or word, what was done), oldest first.
History = tuple[tuple[int, str, str], ...]
#: Ends what was done in the second line of a run: how often the same was seen and done in a row. In the text,
#: so that a release before it shows it as it is.
_TIMES = " \u00d7"


def run_of(line: tuple[int, str, str]) -> tuple[str, int]:
    """What was done in a line of history, and how often in a row up to it."""
    done, found, count = line[2].rpartition(_TIMES)
    return (done, int(count)) if found and count.isdecimal() else (line[2], 1)


def began(history: History, cause: str) -> int | None:
    """Where the latest unbroken run of a cause began, between failures too; None if it has none."""
    first = None
    for place in range(len(history) - 1, -1, -1):
        what = history[place][1]
        if what == cause:
            first = place
        elif what in set(Cause):
            break
    return first


def _bounded(history: History) -> History:
    """The newest lines, and those that never go.

    These are the first and the latest of each kind of moment, and the one with which the latest cause began:
    since when is never forgotten, nor when people were told, and what they did.
    """
    if len(history) <= HISTORY_LENGTH:
        return history
    latest = next((what for _, what, _ in reversed(history) if what in set(Cause)), "")
    kept = {began(history, latest)}
    for moment in MOMENTS:
        places = [place for place, line in enumerate(history) if line[1] == moment]
        kept |= {*places[:1], *places[-1:]}
    passing = [place for place in range(len(history)) if place not in kept]
    gone = set(passing[: len(history) - HISTORY_LENGTH])
    return tuple(line for place, line in enumerate(history) if place not in gone)


@dataclass(frozen=True, slots=True)
class EventKey:
    """What identifies an event within an account: opaque strings, never interpreted."""

    calendar_id: str
    event_id: str

    @property
    def field(self) -> bytes:
        """The event's hash field; the leading length keeps the two ids apart."""
        calendar = self.calendar_id.encode()
        return b"%d:%b%b" % (len(calendar), calendar, self.event_id.encode())

    @classmethod
    def of_field(cls, field: bytes) -> EventKey:
        """The key in a hash field, or a guess if the field is damaged."""
        length, _, ids = field.partition(b":")
        end = int(length) if length.isdigit() else 0
        return cls(ids[:end].decode(errors="replace"), ids[end:].decode(errors="replace"))


@dataclass(frozen=True, slots=True)
class Write:
    """One Update Event that sets a profile on an event, recorded before it is sent."""

    at: int
    accepted: bool = False
    #: Why Cronofy refused it for good, if it did.
    refused: str | None = None
    #: It carried our subscription to both interactions.
    subscribed: bool = False


@dataclass(frozen=True, slots=True)
class TrackedEvent:
    """An event whose conferencing is awaited or, once settled, how that ended."""

    key: EventKey
    #: The exact body that the caller sent to Create or Update Event; empty if the event was adopted.
    body: Mapping[str, Any]
    provider_name: str | None
    tracked_at: int
    #: When waiting began: see `worker.diagnosis.model.Request.asked_at`.
    asked_at: int
    profile_id: str | None
    next_look: int | None
    #: The event as last seen: start, end (as on the wire), summary, event_uid.
    seen: Mapping[str, Any] = field(default_factory=dict)
    interval: float | None = None
    #: Looks in a row that failed.
    failures: int = 0
    #: When a read last showed the event.
    read_at: int | None = None
    notice: tuple[str, str | None, int] | None = None
    writes: Mapping[str, Write] = field(default_factory=dict)
    #: What a person has already been notified of.
    notified: tuple[str, ...] = ()
    #: The last diagnosis, as contract JSON without ids and next look.
    last: Mapping[str, Any] | None = None
    #: Runs of the same are two lines, the first and the latest.
    history: History = ()
    #: Attempts in a row; an event with any is looked at alone (`worker.reconcile.failure`).
    attempts: int = 0
    #: Why it is parked, in a sentence; None if it is not.
    parked: str | None = None

    @property
    def adopted(self) -> bool:
        """It was taken up from a read, so nobody gave its body: each that is given has an `event_id`."""
        return "event_id" not in self.body

    @property
    def origin(self) -> tuple[str, str]:
        """The first line of its history."""
        return ("found by a read", "adopted") if self.adopted else ("received", "tracked")

    @property
    def start(self) -> EventTime | None:
        """The start as last seen, or as the caller wrote it."""
        return _event_time(self.seen.get("start", self.body.get("start")), self.tzid)

    @property
    def starts_at(self) -> datetime | None:
        """When it starts, if known."""
        start = self.start
        return start.instant if start else None

    @property
    def end(self) -> EventTime | None:
        """The end as last seen, or as the caller wrote it."""
        return _event_time(self.seen.get("end", self.body.get("end")), self.tzid)

    @property
    def tzid(self) -> str | None:
        """The zone that the caller wrote the event in."""
        start = self.body.get("start")
        tzid = (start.get("tzid") if isinstance(start, dict) else None) or self.body.get("tzid")
        return tzid if isinstance(tzid, str) else None

    @property
    def series(self) -> bool:
        """Whether the caller wrote it as one that recurs."""
        return bool(self.body.get("recurrence"))

    @property
    def summary(self) -> str:
        """The summary as last seen, or as the caller wrote it."""
        return str(self.seen.get("summary") or self.body.get("summary") or "")

    @property
    def subscribed(self) -> bool:
        """Whether the caller or we subscribed to every interaction in `SUBSCRIBED`."""
        if any(write.accepted and write.subscribed for write in self.writes.values()):
            return True
        subscriptions = self.body.get("subscriptions")
        words = {
            interaction.get("type")
            for subscription in (subscriptions if isinstance(subscriptions, list) else ())
            if isinstance(subscription, Mapping) and isinstance(subscription.get("interactions"), list)
            for interaction in subscription["interactions"]
            if isinstance(interaction, Mapping)
        }
        return set(SUBSCRIBED) <= words

    @property
    def cause(self) -> Cause | None:
        """The cause that the last look found."""
        name = self.last.get("cause") if self.last else None
        return Cause(name) if name else None

    @property
    def was_closed(self) -> bool:
        """The last look found it past or gone; if it is pending, somebody asked about it since."""
        return self.last is not None and self.last["state"] == State.CLOSED

    @property
    def escalated(self) -> bool:
        """A person was told of it as it stands, and has to help."""
        told = (mark for mark in self.notified if mark != DELAYED)
        return self.parked is not None or any(mark.startswith(f"{self.cause or ''}:") for mark in told)

    @property
    def provider(self) -> str | None:
        """The conferencing service that the last diagnosis names, otherwise the one asked for."""
        named = service_named(self.last["detail"]) if self.last and self.last.get("detail") else None
        return named or self.provider_name

    @property
    def lacked_calendar(self) -> bool:
        """The last look found that its calendar was not connected, or only just."""
        return self.last is not None and "calendar_id" in self.last["detail"]

    @property
    def group(self) -> str | None:
        """The group of incidents that it belongs to; None if nobody has to help with it.

        Mostly its cause, with the conferencing service behind a colon; otherwise what keeps us from telling.
        """
        if self.parked is not None:
            return PARKED
        if self.cause is Cause.ACCOUNT_UNAUTHORIZED and self.last:
            # A lost account's events are told of without being escalated one by one.
            if self.last.get("remedy") == Remedy.CLOSE:
                return Cause.ACCOUNT_UNAUTHORIZED.value
            return TOKEN_OWED if self.escalated else None
        if not self.escalated:
            return None
        cause = self.cause.value if self.cause else ""
        marks = [mark for mark in self.notified if mark.startswith(f"{cause}:") and mark != DELAYED]
        if all(mark == f"{cause}:{UNREAD}" for mark in marks):
            return UNREAD if self.failures >= FAILING else None
        cause = cause or UNREAD
        return f"{cause}:{self.provider}" if self.provider else cause

    @property
    def waits_for(self) -> str | None:
        """The profile it waits for: the one that the last look blamed, or the one it asked for.

        None if it waits for a calendar that UserInfo does not list.
        """
        if self.cause is Cause.CREDENTIALS_EXPIRED and self.last:
            blamed = self.last["detail"].get("profile_id")
            if isinstance(blamed, str):
                return blamed
            if self.lacked_calendar:
                return None
        return self.profile_id if self.profile_id not in INDIRECT else None

    @property
    def first_asked(self) -> str | None:
        """What the caller itself asked for, whatever was set since: as `Request.profile_id`."""
        conferencing = self.body.get("conferencing")
        asked = conferencing.get("profile_id") if isinstance(conferencing, Mapping) else None
        return asked if isinstance(asked, str) else None

    @property
    def request(self) -> Request:
        """What the diagnosis needs from the event's record."""
        return self.request_with(self.provider_name)

    def request_with(self, provider_name: str | None, **known: Any) -> Request:
        """The same with what is `known` from elsewhere: the service, and any other fields of `Request`."""
        notice = None
        # A newer version may know other words.
        if self.notice and self.notice[0] in set(Interaction):
            interaction, subtype, at = self.notice
            notice = Notice(Interaction(interaction), subtype, from_ms(at))
        return Request(
            profile_id=self.profile_id,
            provider_name=provider_name,
            calendar_id=self.key.calendar_id,
            asked_at=from_ms(self.asked_at),
            start=self.start,
            wrote=frozenset(pid for pid, write in self.writes.items() if write.accepted or write.refused),
            notice=notice,
            first_asked=self.first_asked,
            series=self.series,
            lacked_calendar=self.lacked_calendar,
            **known,
        )

    def diagnosed(
        self, diagnosis: Diagnosis, now: datetime, interval: timedelta, next_look: datetime | None
    ) -> TrackedEvent:
        """This record after a look that ended in `diagnosis`; `next_look` is when the next one is due."""
        what = diagnosis.cause or diagnosis.state
        return replace(
            self,
            last=diagnosis.as_json,
            failures=0,
            attempts=0,
            parked=None,
            interval=interval.total_seconds(),
            next_look=to_ms(next_look) if next_look else None,
            history=self._history_with(now, what.value, diagnosis.remedy.value),
        )

    def failed(self, reason: str, now: datetime, next_look: datetime) -> TrackedEvent:
        """This record after a look that failed: nothing is concluded, only the next look moves."""
        failed = replace(self, failures=self.failures + 1, next_look=to_ms(next_look))
        return failed.noted(now, "look_failed", reason)

    def saw(self, seen: Seen, now: datetime) -> TrackedEvent:
        """This record with the event as just read."""
        wire = {
            "start": seen.start.wire if seen.start else None,
            "end": seen.end.wire if seen.end else None,
            "summary": seen.summary,
            "event_uid": seen.event_uid,
        }
        asked_at = self.asked_at
        if seen.created is not None and not self.seen:
            # Not in the future: the wait would never be over.
            asked_at = max(asked_at, min(to_ms(seen.created), to_ms(now)))
        known = {name: value for name, value in wire.items() if value is not None}
        return replace(self, seen={**self.seen, **known}, asked_at=asked_at, read_at=to_ms(now))

    @property
    def remembered(self) -> Seen:
        """The event as last seen, pending."""
        return Seen(self.start, self.end, self.seen.get("summary"))

    def asked_again(self, now: datetime) -> TrackedEvent:
        """This record with the wait restarted: another profile was set, or its own was connected again."""
        return replace(self, asked_at=to_ms(now), interval=None, notice=None, notified=())

    def reopened(self, now: datetime, seen: Seen | None = None) -> TrackedEvent:
        """This closed record, taken up again as just `seen`: its wait restarts, and it is due at once."""
        event = self.saw(seen, now) if seen else self
        return replace(event.asked_again(now), next_look=to_ms(now))

    def following(self, former: TrackedEvent, untracked_at: int = 0) -> TrackedEvent:
        """This new record, with the history of the former one, which perhaps was untracked."""
        tracked, ended = (former.tracked_at, *former.origin), (untracked_at, *UNTRACKED)
        lines = {*former.history, tracked, *([ended] if untracked_at else []), *self.history}
        return replace(self, history=_bounded(tuple(sorted(lines))))

    def noticed(self, interaction: str, subtype: str | None, at: int) -> TrackedEvent:
        """This record with what a notification said; a repeat keeps the first one's time.

        News makes the next look come soon: a read may lag behind a notification.
        """
        if self.notice and self.notice[:2] == (interaction, subtype):
            return self
        return replace(self, notice=(interaction, subtype, at), interval=None)

    def noted(self, now: datetime, what: str, done: str) -> TrackedEvent:
        """This record with one more line of history; the oldest are dropped."""
        return replace(self, history=self._history_with(now, what, done))

    def answered_for(self, given: Acknowledgement, over: str, now: datetime) -> TrackedEvent:
        """This record with an acknowledgement that is over, and why: it is dated by when it was given."""
        lines = sorted((*self.history, (given.at, "acknowledged", given.text)), key=lambda line: line[0])
        return replace(self, history=_bounded(tuple(lines))).noted(now, "acknowledgement_over", over)

    def _history_with(self, now: datetime, what: str, done: str) -> History:
        line, lines = (to_ms(now), what, done), self.history
        # A run of looks goes on over what people did meanwhile.
        places = reversed(range(len(lines)))
        place = next((n for n in places if what in MOMENTS or lines[n][1] not in MOMENTS), None)
        word, count = run_of(lines[place]) if place is not None else ("", 0)
        if place is None or (lines[place][1], word) != (what, done):
            return _bounded((*lines, line))
        # The first line of a run stays; a second one is its latest, and says how many there were.
        again = (line[0], what, f"{done}{_TIMES}{count + 1}")
        return _bounded((*(lines[:place] + lines[place + 1 :] if count > 1 else lines), again))


@dataclass(frozen=True, slots=True)
class Untracked:
    """An event that is not tracked any more, as it was, and since when."""

    event: TrackedEvent
    at: datetime


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Somebody answers for an event with this cause: nobody is told of it again while that holds."""

    at: int
    by: str
    note: str = ""
    #: When it ends, if it does not last as long as the cause.
    until: int | None = None
    #: The event's cause at the time.
    cause: str | None = None

    def holds(self, cause: Cause | None, now: datetime) -> bool:
        """Whether it still holds for the event, which has this cause now."""
        return self.cause == cause and (self.until is None or to_ms(now) < self.until)

    @property
    def text(self) -> str:
        """Who, and why."""
        return f"by {self.by}" + (f": {self.note}" if self.note else "")


def bare(key: EventKey) -> TrackedEvent:
    """A record with nothing but the ids."""
    return TrackedEvent(key, {}, None, 0, 0, None, None)


class Obstacle(StrEnum):
    """Why no relink email can be sent; in words: `worker.reconcile.relinks.OBSTACLES`."""

    NO_ADDRESS = "no_address"
    BAD_ADDRESS = "bad_address"
    NO_LINK = "no_link"
    #: The link leads to a host that emails may not link to.
    LINK_REFUSED = "link_refused"
    #: A profile was connected after the user was asked to, but it may be another person's.
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class Episode:
    """A profile's time of being disconnected, from the first relink email until it is connected again.

    Or, for a service of which no profile is left, from the first connect email until there is one.
    """

    started_at: int
    #: Emails so far, counting the first one and missed reminders; 0 if none could be sent, or none yet.
    mails: int
    mail_ids: tuple[str, ...]
    #: The events that the emails listed: (calendar_id, event_id).
    events: tuple[tuple[str, str], ...]
    #: Why no email could be sent.
    obstacle: Obstacle | None = None
    #: For a connect email: the profiles of its service that were listed when the episode began.
    before: tuple[str, ...] = ()
    #: When the user last went on to Cronofy from the connect link.
    followed_at: int | None = None
    #: The profile that they came back with; empty if Cronofy did not say which, None if they did not.
    linked: str | None = None


@dataclass(frozen=True, slots=True)
class Mailed:
    """The emails that an account's user got lately, whatever became of their episodes."""

    #: (at, key) of each, oldest first: a profile's id, `connect:SERVICE`, or `account` if that was lost.
    sent: tuple[tuple[int, str], ...] = ()
    #: The episodes that ended, by profile: one that lapses again soon goes on in the same.
    over: Mapping[str, Episode] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LastRead:
    """The size of an account's last read: pages, and days covered (None: all of time)."""

    pages: int
    days: int | None


@dataclass(frozen=True, slots=True)
class Memo:
    """What looks remember about an account for later looks."""

    episodes: Mapping[str, Episode] = field(default_factory=dict)
    #: profile_id -> provider_name of every conferencing profile ever listed.
    providers: Mapping[str, str] = field(default_factory=dict)
    last_read: LastRead | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """A person's choice of what takes the place of a removed profile."""

    profile_id: str
    to_profile_id: str
    at: int
    by: str
    #: (calendar_id, event_id) if it is for one event alone.
    event: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class NotificationChannel:
    """An account's notification channel at Cronofy, as last found."""

    #: None if there is no channel: it was refused, or could not be opened yet.
    channel_id: str | None
    callback_url: str
    #: Why Cronofy refused to open it, if it did.
    refused: str | None = None
    #: Checks in a row that failed.
    failures: int = 0


#: How long before an access token lapses the application is asked for the next: enough for one that reads its
#: outcomes every few minutes, but at most this part of the token's time, so that short ones are not asked for
#: at once.
ASKED_AHEAD, ASKED_AT_MOST = timedelta(minutes=10), 0.25


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What is known of the access token of an account whose application keeps the refresh token."""

    #: When it lapses, or was found refused.
    lapses_at: int
    #: When to ask the application for the next one; None once it was asked.
    ask_at: int | None = None

    @classmethod
    def given(cls, now: datetime, expires_in: timedelta) -> AccessToken:
        """One that was given just now."""
        lapses_at = now + expires_in
        return cls(to_ms(lapses_at), to_ms(lapses_at - min(ASKED_AHEAD, expires_in * ASKED_AT_MOST)))


@dataclass(frozen=True, slots=True)
class Account:
    """An account as a look finds it; `credentials` stay encrypted until needed."""

    sub: str
    #: None if the account was never connected.
    credentials: bytes | None
    lost: bool
    data_center: str = "us"
    email: str | None = None
    name: str | None = None
    #: How the user reads letters, as the application said: a language tag, and the zone for times.
    locale: str | None = None
    tzid: str | None = None
    memo: Memo = Memo()
    #: profile_id -> the latest name of every conferencing profile ever listed with one. Personal data.
    profile_names: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: The episodes of connect emails, by their key `connect:SERVICE`.
    connects: Mapping[str, Episode] = field(default_factory=dict)
    mailed: Mailed = Mailed()
    #: At most one about each profile, and one about each profile of each event.
    choices: tuple[Choice, ...] = ()
    #: When a notification was last about one of its events.
    last_notice_at: datetime | None = None
    #: None if never checked.
    channel: NotificationChannel | None = None
    #: When the channel was last known to be as recorded.
    channel_seen: datetime | None = None
    #: When to check the channel, whatever its events need.
    channel_due: int | None = None
    #: When to ask UserInfo for disconnected profiles, whatever its events need: a notification spoke of one.
    profiles_due: int | None = None
    #: None if we refresh its tokens ourselves.
    token: AccessToken | None = None
    #: The parts of the stored account that could not be read and count as missing.
    unreadable: tuple[str, ...] = ()

    def choice_about(self, event: TrackedEvent) -> Choice | None:
        """What a person chose instead of the event's profile: for this event, or else for all."""
        if not self.choices:
            return None
        about = {c.event: c for c in self.choices if c.profile_id == event.profile_id}
        return about.get((event.key.calendar_id, event.key.event_id)) or about.get(None)


@dataclass(frozen=True, slots=True)
class Stored:
    """A record with its next look and fingerprint, which show whether it has changed since."""

    event: TrackedEvent
    next_look: float
    fingerprint: str
    #: Its body as packed; empty if that is not known.
    body: bytes = field(default=b"", repr=False, compare=False)


def service_named(detail: Mapping[str, Any]) -> str | None:
    """The conferencing service that a diagnosis names in its detail, if it does."""
    named = detail.get("provider_name")
    return named if isinstance(named, str) and named else None


def _event_time(value: Any, tzid: str | None) -> EventTime | None:
    try:
        return parse_event_time(value, tzid)
    except MalformedTime:
        return None


def interval_of(event: TrackedEvent) -> timedelta | None:
    """The last interval between looks; None before the first."""
    return None if event.interval is None else timedelta(seconds=event.interval)
