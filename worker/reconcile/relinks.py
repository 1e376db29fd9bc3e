"""Relink episodes: from the email that asks a user to connect a profile again, until they do. Pure.

So are the episodes of connect emails, which ask a user to connect a service of which no profile is left.
One email per account and profile or service, not per event, and before any event waits if that is wanted.
Reminders are timed from the first email; none is sent once it is connected, or without an upcoming event.
However often profiles come and go, their user gets few emails (contract §2 and §6).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from worker.addresses import address as mail_address
from worker.diagnosis.causes import INDIRECT
from worker.diagnosis.model import Cause, Profile, Profiles
from worker.ledger.outcomes import Outcome, OutcomeType
from worker.ledger.records import (
    Account,
    Choice,
    Episode,
    EventKey,
    Mailed,
    Memo,
    Obstacle,
    TrackedEvent,
    from_ms,
    to_ms,
)
from worker.mail.letters import Meeting, Reader, RelinkEmail
from worker.mail.relink_links import refusal
from worker.reconcile.emails import meeting_of
from worker.reconcile.episodes import (
    CONNECT_OBSTACLES,
    OBSTACLES,
    connect_key,
    is_of_service,
    is_postponed,
    next_reminder,
    service_of,
)

#: How many emails a user gets within `RelinkRules.apart`, about all profiles.
MOST_EMAILS = 3

TOO_MANY = "The user got as many emails as we send in a day, so this event starts before the next one."

#: How long a user may take at Cronofy before what came meanwhile counts as having come some other way.
AWAY = timedelta(minutes=10)

#: Who chose what they connected, in outcomes and evidence.
THE_USER = "the user"

#: What emails to the user of a lost account are counted as, among those about profiles.
_ACCOUNT = "account"

_NOT_BEGUN = Episode(0, 0, (), ())


@dataclass(frozen=True, slots=True)
class RelinkRules:
    """The settings that relink emails depend on (contract §4)."""

    reminders: tuple[timedelta, ...]
    hosts: tuple[str, ...]
    #: The configured API URL; links to its host are allowed too.
    trusted_origin: str | None
    #: A profile that lapses again within this of its last email goes on in the same episode.
    again: timedelta = timedelta(days=1)
    #: A user is asked once a profile is disconnected, before an event waits for it.
    early: bool = False
    #: The application's page for users whose account was lost; `{sub}` stands for the account's id.
    reconnect_url: str | None = None

    @property
    def apart(self) -> timedelta:
        """How far apart emails about one profile are: a day, unless reminders are set closer together."""
        steps = (later - earlier for earlier, later in pairwise((timedelta(0), *self.reminders)))
        return min([timedelta(days=1), *steps])

    def refusal(self, url: str) -> str | None:
        """Why emails may not link to a URL that Cronofy gave, in a sentence; None if they may."""
        return refusal(url, self.hosts, self.trusted_origin)


@dataclass(frozen=True, slots=True)
class Affected:
    """What emails to users need to know about an event."""

    key: EventKey
    #: The profile that it waits for, or the key of the episode that is to bring one.
    profile_id: str | None
    starts_at: datetime | None
    meeting: Meeting
    #: This look found its profile disconnected, or removed.
    found: bool = False

    @property
    def ids(self) -> tuple[str, str]:
        """As in `Episode.events`."""
        return self.key.calendar_id, self.key.event_id


def affected(event: TrackedEvent, *, found: bool = False) -> Affected:
    """The event for emails to users; `found`: this look found its profile disconnected, or removed."""
    waits_for = connect_key(event.last) or event.waits_for
    return Affected(event.key, waits_for, event.starts_at, meeting_of(event), found)


def arrived(connects: Mapping[str, Episode], profiles: Profiles) -> dict[str, tuple[str, ...]]:
    """The episodes whose service was connected since they began, each with the profiles that came."""
    new = {
        key: tuple(
            p.profile_id
            for p in profiles.conferencing
            if p.connected and p.provider_name == service_of(key) and p.profile_id not in episode.before
        )
        for key, episode in connects.items()
    }
    return {key: profile_ids for key, profile_ids in new.items() if profile_ids}


def chosen_by_user(
    account: Account, events: Iterable[TrackedEvent], profiles: Profiles, now: datetime
) -> tuple[Choice, ...]:
    """The account's choices, and those that the user made by connecting a profile through our link.

    One for each removed profile of that service that one of the `events` asks for, unless a person chose.
    Of any other profile, the name has to show whose it is.
    """
    choices = {(choice.profile_id, choice.event): choice for choice in account.choices}
    for key, new in arrived(account.connects, profiles).items():
        linked = account.connects[key].linked
        theirs = new if linked == "" and len(new) == 1 else tuple(each for each in new if each == linked)
        if not theirs:
            continue
        for event in events:
            removed = event.profile_id
            if removed is None or removed in INDIRECT or profiles.conferencing_profile(removed):
                continue
            provider_name = event.provider_name or account.memo.providers.get(removed)
            if provider_name == service_of(key) and account.choice_about(event) is None:
                choices.setdefault((removed, None), Choice(removed, theirs[0], to_ms(now), THE_USER))
    return tuple(choices.values())


@dataclass(frozen=True, slots=True)
class RelinkNote:
    """What a plan means for one event that waits for a disconnected profile."""

    #: Why its user cannot be asked, if that is escalated now.
    obstacle: str | None = None
    #: Its user cannot be asked, whether or not that is escalated now.
    unsendable: bool = False
    #: Why a person is notified of the event: it came after all reminders, or no email may go in time.
    late: str | None = None
    #: Looks send the reminders, so one must come by then.
    look_by: datetime | None = None
    #: Which letter its user is written, that lists it.
    letter: str | None = None


@dataclass(frozen=True, slots=True)
class RelinkPlan:
    """What to send, report and remember."""

    episodes: Mapping[str, Episode] = field(default_factory=dict)
    mailed: Mailed = field(default_factory=Mailed)
    #: The episodes of connect emails.
    connects: Mapping[str, Episode] = field(default_factory=dict)
    #: Each with its id, and when to send it; None for now.
    emails: tuple[tuple[str, RelinkEmail, datetime | None], ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    #: Emails not to send any more.
    cancel: tuple[str, ...] = ()
    notes: Mapping[EventKey, RelinkNote] = field(default_factory=dict)
    #: When to see again how the profiles stand for which no event waits.
    ask_again: datetime | None = None


def reconnected(memo: Memo, profiles: Profiles | None) -> frozenset[str]:
    """The profiles that users connected again after we asked; none without UserInfo."""
    if profiles is None:
        return frozenset()
    connected = {p.profile_id for p in profiles.listed_anywhere if p.connected}
    return frozenset((connected - set(profiles.disconnected)) & set(memo.episodes))


def plan_relinks(
    account: Account,
    events: Sequence[Affected],
    profiles: Profiles,
    address: str | None,
    now: datetime,
    rules: RelinkRules,
    *,
    back: Collection[str],
    dry_run: bool,
    undelivered: Collection[str] = (),
    early: bool = False,
    wanted: Collection[str] = (),
) -> RelinkPlan:
    """Decide on emails and episodes once the events are judged.

    `events`: all of the account's pending ones. `address`: the user's, if known. `back`: the profiles that
    are `reconnected`. `undelivered`: emails that another address refused for good. `early`: also about a
    conferencing profile for which no event waits yet. `wanted`: the keys of connect episodes that events
    still need.
    """
    episodes, connects = dict(account.memo.episodes), dict(account.connects)
    new = arrived(connects, profiles)
    ended = {pid: episodes.pop(pid) for pid in account.memo.episodes if pid not in profiles.disconnected}
    # A release before that obstacle could not read it.
    ended |= {key: _sure(connects.pop(key)) for key in account.connects if key not in wanted}
    answered = [*ended.values(), *(connects[key] for key in new if key in connects)]
    cancel = tuple(mail_id for episode in answered for mail_id in episode.mail_ids)
    mailed = lately(replace(account.mailed, over={**account.mailed.over, **ended}), now, rules)
    draft = _Draft(account, address, now, rules, undelivered, list(mailed.sent))
    for kind, keys, begun in (
        (OutcomeType.RELINKED, sorted(back), account.memo.episodes),
        (OutcomeType.CONNECTED, [key for key in sorted(new) if key not in wanted], account.connects),
    ):
        for key in keys:
            if not is_postponed(begun[key]):
                draft.add_outcome(kind, key, begun[key].events)
    if dry_run:
        return RelinkPlan(episodes, mailed, connects, outcomes=tuple(draft.outcomes), cancel=cancel)
    over, again = dict(mailed.over), list[datetime]()
    # Whose first email had to wait comes before the reminders of others.
    postponed = {key for key, each in (*episodes.items(), *connects.items()) if is_postponed(each)}
    asked = draft.asked_for(events, profiles, early=early)
    for profile in sorted(asked, key=lambda each: each.profile_id not in postponed):
        pid = profile.profile_id
        kept = connects if is_of_service(pid) else episodes
        waiting = [event for event in events if event.profile_id == pid]
        found = [event for event in waiting if event.found]
        if found and pid in new:
            kept[pid] = draft.unsure(kept[pid], found)
            continue
        episode = kept.get(pid) or over.pop(pid, _NOT_BEGUN)
        if is_of_service(pid) and pid not in kept:
            before = tuple(p.profile_id for p in profiles.conferencing if p.provider_name == service_of(pid))
            episode = replace(episode, before=before, followed_at=None, linked=None)
        may_at = may_mail_at(draft.sent, pid, now, rules)
        # If it was in doubt whose the profile is that came: it is gone again.
        episode = kept[pid] = draft.step(profile, waiting, _sure(episode), may_at)
        look_by = may_at if is_postponed(episode) else next_reminder(episode, rules.reminders)
        if not found:
            times = (from_ms(episode.started_at) + after for after in rules.reminders)
            again += [may_at] if is_postponed(episode) else [at for at in times if at > now]
        elif look_by:
            draft.note(found, look_by=max(look_by, may_mail_at(draft.sent, pid, now, rules)))
    return RelinkPlan(
        episodes,
        Mailed(tuple(draft.sent), over),
        connects,
        tuple(draft.emails),
        tuple(draft.outcomes),
        cancel,
        draft.notes,
        min(again, default=None),
    )


def _sure(episode: Episode) -> Episode:
    return replace(episode, obstacle=None) if episode.obstacle is Obstacle.UNSURE else episode


def lately(mailed: Mailed, now: datetime, rules: RelinkRules) -> Mailed:
    """What still counts: emails that others must keep apart from, and episodes that may go on.

    Emails to the user of a lost account are counted ahead, and cancelled when it is connected again.
    """
    sent = [(at, pid) for at, pid in mailed.sent if from_ms(at) <= now]
    latest = {pid: from_ms(at) for at, pid in sent}
    over = {
        pid: episode
        for pid, episode in mailed.over.items()
        if now - latest.get(pid, _last_due(episode, rules)) < rules.again
    }
    longest = max(rules.apart, rules.again)
    return Mailed(tuple((at, pid) for at, pid in sent if now - from_ms(at) < longest), over)


def _last_due(episode: Episode, rules: RelinkRules) -> datetime:
    """When its last email was due: close to when it was sent, if nobody noted that."""
    waits = (timedelta(0), *rules.reminders)
    return from_ms(episode.started_at) + waits[max(0, min(episode.mails, len(waits)) - 1)]


def may_mail_at(
    sent: Sequence[tuple[int, str]], profile_id: str, now: datetime, rules: RelinkRules
) -> datetime:
    """When the user may get an email about this profile: now, or once earlier ones are long enough ago."""
    latest = [at for at, pid in sent if pid == profile_id][-1:]
    if len(sent) >= MOST_EMAILS:
        latest.append(sent[-MOST_EMAILS][0])
    return max([now, *(from_ms(at) + rules.apart for at in latest)])


@dataclass(slots=True)
class _Draft:
    """A plan in the making. Users are asked for profiles; the id of one of a service is its episode's key."""

    account: Account
    address: str | None
    now: datetime
    rules: RelinkRules
    undelivered: Collection[str]
    #: As `Mailed` has them.
    sent: list[tuple[int, str]]
    outcomes: list[Outcome] = field(default_factory=list)
    emails: list[tuple[str, RelinkEmail, datetime | None]] = field(default_factory=list)
    notes: dict[EventKey, RelinkNote] = field(default_factory=dict)

    def asked_for(self, events: Sequence[Affected], profiles: Profiles, *, early: bool) -> list[Profile]:
        """What the user is to be asked for."""
        found = {event.profile_id for event in events if event.found}
        services = sorted(pid for pid in found if pid and is_of_service(pid))
        return [
            # What cannot be mailed can wait until an event does.
            profile
            for pid, profile in profiles.disconnected.items()
            if pid in found or (early and not profile.is_calendar and self._obstacle(profile) is None)
        ] + [Profile(key, service_of(key), None, connected=False) for key in services]

    def note(self, events: Iterable[Affected], **known: Any) -> None:
        """Note what is `known` now of these events."""
        for event in events:
            self.notes[event.key] = replace(self.notes.get(event.key, RelinkNote()), **known)

    def unsure(self, episode: Episode, found: Sequence[Affected]) -> Episode:
        """Nothing shows yet whose the profile is that came: a person chooses.

        Unless the user is on their way back from Cronofy, with what says which one is theirs.
        """
        if episode.followed_at is not None and self.now < from_ms(episode.followed_at) + AWAY:
            self.note(found, look_by=from_ms(episode.followed_at) + AWAY)
            return episode
        self.note(found, late=CONNECT_OBSTACLES[Obstacle.UNSURE])
        return replace(episode, obstacle=Obstacle.UNSURE)

    def step(
        self, profile: Profile, waiting: Sequence[Affected], episode: Episode, may_at: datetime
    ) -> Episode:
        """The first email, once more to another address, a reminder, an escalation, or nothing yet."""
        pid, now, reminders = profile.profile_id, self.now, self.rules.reminders
        found = [event for event in waiting if event.found]
        upcoming = [event for event in waiting if event.starts_at is None or event.starts_at > now]
        listed = tuple(event.ids for event in upcoming)
        begun = replace(episode, started_at=to_ms(now), mails=0, mail_ids=(), events=(), obstacle=None)
        obstacle = self._obstacle(profile)
        if obstacle:
            self.note(found, unsendable=True)
            if not is_postponed(episode):
                return episode
            # Escalated once per profile, like the email it stands for; the operator's email lists the events.
            reason = self._reason(profile, obstacle)
            self.note(found, obstacle=reason)
            self.add_outcome(OutcomeType.ESCALATED, pid, listed, reason=reason)
            return replace(begun, events=listed, obstacle=obstacle)
        if not episode.mails:
            if now >= may_at:
                return self._mail(profile, begun, upcoming, 0)
            soon = [event for event in found if event.starts_at is not None and event.starts_at < may_at]
            self.note(soon, late=TOO_MANY)
            return begun
        # Ones missed during a pause are skipped.
        number = sum(now >= from_ms(episode.started_at) + after for after in reminders)
        if episode.mail_ids and episode.mail_ids[-1] in self.undelivered:
            latest = next((each for each in reversed(self.sent) if each[1] == pid), None)
            if latest:
                # Nobody got that one.
                self.sent.remove(latest)
            # A reminder that is due now has nothing to remind of.
            return self._mail(profile, episode, upcoming, max(episode.mails - 1, number))
        due = next_reminder(episode, reminders)
        if found and due is None:
            what = profile.provider_name if is_of_service(pid) else "the profile again"
            reason = f"The user was asked to connect {what}, and reminded, before this event came."
            self.note((e for e in found if e.ids not in episode.events), late=reason)
        # A reminder is about events that wait.
        if not found or due is None or now < max(due, may_at):
            return episode
        return self._mail(profile, episode, upcoming, number, is_reminder=True)

    def _mail(
        self,
        profile: Profile,
        episode: Episode,
        upcoming: Sequence[Affected],
        number: int,
        *,
        is_reminder: bool = False,
    ) -> Episode:
        """Write an email, after which `number` reminders count as written."""
        mail_id, pid = uuid4().hex, profile.profile_id
        is_connect, listed = is_of_service(pid), tuple(event.ids for event in upcoming)
        email = RelinkEmail(
            reader=reader_of(self.account, self.address or ""),
            provider_name=profile.provider_name,
            profile_name=profile.name,
            relink_url=profile.relink_url or "",
            meetings=tuple(event.meeting for event in upcoming),
            reminder=number if is_reminder else 0,
            is_calendar=profile.is_calendar,
            kind="connect" if is_connect else "relink",
            first=next(iter(episode.mail_ids), None) if is_reminder else None,
        )
        self.emails.append((mail_id, email, None))
        self.sent.append((to_ms(self.now), pid))
        self.note((event for event in upcoming if event.found), letter=email.title)
        if not is_reminder:
            kind = OutcomeType.CONNECT_REQUESTED if is_connect else OutcomeType.RELINK_REQUESTED
            self.add_outcome(kind, pid, listed, mail_id=mail_id)
        events = tuple(dict.fromkeys((*episode.events, *listed)))
        return replace(episode, mails=number + 1, mail_ids=(*episode.mail_ids, mail_id), events=events)

    def add_outcome(
        self, kind: OutcomeType, key: str, events: Iterable[tuple[str, str]], **detail: str
    ) -> None:
        """Add an outcome about a profile or service as a whole, with the events it concerns."""
        is_connect = is_of_service(key)
        named = {"provider_name": service_of(key)} if is_connect else {"profile_id": key}
        cause = Cause.PROFILE_REMOVED if is_connect else Cause.CREDENTIALS_EXPIRED
        about = {**detail, **named, "event_ids": [event_id for _, event_id in events]}
        self.outcomes.append(Outcome(kind, self.account.sub, self.now, cause=cause, detail=about))

    def _obstacle(self, profile: Profile) -> Obstacle | None:
        """Why no email can be sent, or None."""
        if not self.address:
            return Obstacle.NO_ADDRESS
        if not deliverable(self.address):
            return Obstacle.BAD_ADDRESS
        if is_of_service(profile.profile_id):
            return None
        if not profile.relink_url:
            return Obstacle.NO_LINK
        return Obstacle.LINK_REFUSED if self.rules.refusal(profile.relink_url) else None

    def _reason(self, profile: Profile, obstacle: Obstacle) -> str:
        if obstacle is Obstacle.LINK_REFUSED:
            return f"{OBSTACLES[obstacle]} {self.rules.refusal(profile.relink_url or '')}"
        return (CONNECT_OBSTACLES if is_of_service(profile.profile_id) else OBSTACLES)[obstacle]


def reader_of(account: Account, address: str) -> Reader:
    """The account's user as who gets a letter at this address."""
    return Reader(address, account.name, account.locale, account.tzid)


def deliverable(address: str) -> bool:
    """Whether an email can be sent to this address."""
    try:
        mail_address(address)
    except ValueError:
        return False
    return True


def plan_reconnect(
    account: Account, events: Sequence[Affected], now: datetime, rules: RelinkRules
) -> RelinkPlan:
    """The emails that ask the user of an account that was just lost to connect it again.

    None without a page to lead to, an address that the application gave, or an upcoming event. Nothing is
    looked at while an account is lost, so all reminders are written at once, for when they are due. Each
    lists the events that are still to come when it is sent. Episodes stay as they are.
    """
    address = account.email or ""
    if rules.reconnect_url is None or not deliverable(address):
        return RelinkPlan()
    url = rules.reconnect_url.replace("{sub}", quote(account.sub, safe=""))
    mailed = lately(account.mailed, now, rules)
    emails: list[tuple[str, RelinkEmail, datetime | None]] = []
    notes: dict[EventKey, RelinkNote] = {}
    sent = list(mailed.sent)
    first = may_mail_at(sent, _ACCOUNT, now, rules)
    for number, after in enumerate((timedelta(0), *rules.reminders)):
        due = max(first + after, may_mail_at(sent, _ACCOUNT, now, rules))
        ahead = [e for e in events if e.starts_at is None or e.starts_at > due]
        if ahead:
            email = RelinkEmail(
                reader=reader_of(account, address),
                provider_name=None,
                profile_name=None,
                relink_url=url,
                meetings=tuple(event.meeting for event in ahead),
                reminder=number,
                kind="reconnect",
                first=emails[0][0] if emails else None,
            )
            notes = notes or {event.key: RelinkNote(letter=email.title) for event in ahead}
            emails.append((uuid4().hex, email, due))
            sent.append((to_ms(due), _ACCOUNT))
    return RelinkPlan(mailed=Mailed(tuple(sent), mailed.over), emails=tuple(emails), notes=notes)
