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
from functools import partial
from itertools import pairwise
from uuid import uuid4

from worker.addresses import address as mail_address
from worker.diagnosis.model import Cause, Profile, Profiles
from worker.ledger.outgoing import Outcome, OutcomeType
from worker.ledger.records import (
    Account,
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

#: How long a user may take at Cronofy before what came meanwhile counts as having come some other way.
AWAY = timedelta(minutes=10)


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


@dataclass(frozen=True, slots=True)
class _Ask:
    """What a user is asked for: to connect a profile again, or, with `connect`, a service."""

    key: str
    profile: Profile
    connect: bool = False

    @property
    def requested(self) -> OutcomeType:
        """The outcome that says so."""
        return OutcomeType.CONNECT_REQUESTED if self.connect else OutcomeType.RELINK_REQUESTED

    @property
    def again(self) -> str:
        """What they are asked to do, as part of a sentence."""
        return f"connect {self.profile.provider_name}" if self.connect else "connect the profile again"


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

    episodes: Mapping[str, Episode]
    mailed: Mailed = field(default_factory=Mailed)
    #: The episodes of connect emails.
    connects: Mapping[str, Episode] = field(default_factory=dict)
    emails: tuple[tuple[str, RelinkEmail], ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    #: Emails not to send any more.
    cancel: tuple[str, ...] = ()
    notes: Mapping[EventKey, RelinkNote] = field(default_factory=dict)
    #: When to see again how the profiles stand for which no event waits.
    ask_again: datetime | None = None


def reconnected(memo: Memo, profiles: Profiles) -> frozenset[str]:
    """The profiles that users connected again after we asked."""
    connected = {p.profile_id for p in profiles.listed_anywhere if p.connected}
    return frozenset((connected - set(profiles.disconnected)) & set(memo.episodes))


def plan_relinks(
    account: Account,
    events: Sequence[Affected],
    profiles: Profiles,
    back: frozenset[str],
    address: str | None,
    now: datetime,
    rules: RelinkRules,
    *,
    dry_run: bool,
    undelivered: Collection[str] = (),
    early: bool = False,
    wanted: Collection[str] = (),
) -> RelinkPlan:
    """Decide on emails and episodes once the events are judged.

    `events`: all of the account's pending ones. `back`: the profiles that were connected again. `address`:
    the user's, if known. `undelivered`: emails that another address refused for good. `early`: also about a
    conferencing profile for which no event waits yet. `wanted`: the keys of connect episodes that events
    still need. Without UserInfo no episode begins or ends.
    """
    episodes, connects = dict(account.memo.episodes), dict(account.connects)
    new = arrived(connects, profiles)
    outcomes = _answered(
        account, back, [key for key in sorted(connects) if key not in wanted and key in new], now
    )
    ended = {pid: episodes.pop(pid) for pid in account.memo.episodes if pid not in profiles.disconnected}
    for key in [key for key in connects if key not in wanted]:
        over_now = connects.pop(key)
        # A release before this obstacle could not read it.
        ended[key] = replace(over_now, obstacle=None) if over_now.obstacle is Obstacle.UNSURE else over_now
    answered = [*ended.values(), *(connects[key] for key in new if key in connects)]
    cancel = tuple(mail_id for episode in answered for mail_id in episode.mail_ids)
    mailed = lately(replace(account.mailed, over={**account.mailed.over, **ended}), now, rules)
    if dry_run:
        return RelinkPlan(episodes, mailed, connects, outcomes=tuple(outcomes), cancel=cancel)
    over, sent = dict(mailed.over), list(mailed.sent)
    emails: list[tuple[str, RelinkEmail]] = []
    notes: dict[EventKey, RelinkNote] = {}
    again: list[datetime] = []
    asks = _asks(events, profiles, address, rules, early=early)
    # Whose first email had to wait comes before the reminders of others.
    postponed = {key for key, each in (*episodes.items(), *connects.items()) if is_postponed(each)}
    for ask in sorted(asks, key=lambda ask: ask.key not in postponed):
        pid, kept = ask.key, connects if ask.connect else episodes
        waiting = [event for event in events if event.profile_id == pid]
        found = [event for event in waiting if event.found]
        if found and pid in new:
            kept[pid], told = _unsure(kept[pid], found, now)
            notes |= told
        else:
            upcoming = [event for event in waiting if event.starts_at is None or event.starts_at > now]
            may_at = may_mail_at(sent, pid, now, rules)
            episode: Episode | None = kept.get(pid) or over.pop(pid, None)
            if episode and episode.obstacle is Obstacle.UNSURE:
                # What was connected is gone again.
                episode = replace(episode, obstacle=None)
            step = _step(account, ask, found, upcoming, episode, address, now, rules, undelivered, may_at)
            kept[pid] = step.episode
            if ask.connect:
                begun = account.connects.get(pid) or Episode(0, 0, (), (), before=_listed(profiles, pid))
                kept[pid] = replace(
                    step.episode, before=begun.before, followed_at=begun.followed_at, linked=begun.linked
                )
            emails += step.emails
            latest = next((each for each in reversed(sent) if each[1] == pid), None)
            if step.instead and latest:
                # Nobody got that one.
                sent.remove(latest)
            sent += [(to_ms(now), pid) for _ in step.emails]
            outcomes += step.outcomes
            notes |= {**step.notes, **_written(step, found, upcoming)}
            look_by = may_at if is_postponed(step.episode) else next_reminder(step.episode, rules.reminders)
            if not found:
                times = (from_ms(step.episode.started_at) + after for after in rules.reminders)
                again += [may_at] if is_postponed(step.episode) else [at for at in times if at > now]
            elif look_by:
                look_by = max(look_by, may_mail_at(sent, pid, now, rules))
                notes |= {e.key: replace(notes.get(e.key, RelinkNote()), look_by=look_by) for e in found}
    mailed = Mailed(tuple(sent), over)
    ask_again = min(again, default=None)
    return RelinkPlan(episodes, mailed, connects, tuple(emails), tuple(outcomes), cancel, notes, ask_again)


def _unsure(
    episode: Episode, found: Sequence[Affected], now: datetime
) -> tuple[Episode, dict[EventKey, RelinkNote]]:
    """Nothing shows yet whose the profile is that came: a person chooses, unless the user is on their way.

    They come back from Cronofy with what says which one is theirs.
    """
    if episode.followed_at is not None and now < from_ms(episode.followed_at) + AWAY:
        note = RelinkNote(look_by=from_ms(episode.followed_at) + AWAY)
    else:
        note = RelinkNote(late=CONNECT_OBSTACLES[Obstacle.UNSURE])
        episode = replace(episode, obstacle=Obstacle.UNSURE)
    return episode, {event.key: note for event in found}


def _answered(
    account: Account, back: Collection[str], connected: Sequence[str], now: datetime
) -> list[Outcome]:
    """That a user did what we asked for; `connected`: the keys of the connect episodes."""
    relinked = [_Ask(pid, Profile(pid, None, None, True)) for pid in sorted(back)]
    return [
        _outcome(kind, account.sub, ask, (event_id for _, event_id in episodes[ask.key].events), now)
        for kind, asks, episodes in (
            (OutcomeType.RELINKED, relinked, account.memo.episodes),
            (OutcomeType.CONNECTED, map(_ask_for_service, connected), account.connects),
        )
        for ask in asks
        if not is_postponed(episodes[ask.key])
    ]


def _asks(
    events: Sequence[Affected],
    profiles: Profiles,
    address: str | None,
    rules: RelinkRules,
    *,
    early: bool,
) -> list[_Ask]:
    """What the user is to be asked for."""
    found = {event.profile_id for event in events if event.found}
    asks = [_Ask(pid, profile) for pid, profile in profiles.disconnected.items()]
    services = sorted(pid for pid in found if pid and is_of_service(pid))
    return [
        # What cannot be mailed can wait until an event does.
        ask
        for ask in asks
        if ask.key in found
        or (early and not ask.profile.is_calendar and _obstacle(ask, address, rules) is None)
    ] + [_ask_for_service(key) for key in services]


def _ask_for_service(key: str) -> _Ask:
    return _Ask(key, Profile(key, service_of(key), None, connected=False), connect=True)


def _listed(profiles: Profiles, key: str) -> tuple[str, ...]:
    """The profiles of the service that an episode with this key asks for."""
    return tuple(p.profile_id for p in profiles.conferencing if p.provider_name == service_of(key))


def lately(mailed: Mailed, now: datetime, rules: RelinkRules) -> Mailed:
    """What still counts: emails that others must keep apart from, and episodes that may go on."""
    latest = {pid: from_ms(at) for at, pid in mailed.sent}
    over = {
        pid: episode
        for pid, episode in mailed.over.items()
        if now - latest.get(pid, _last_due(episode, rules)) < rules.again
    }
    longest = max(rules.apart, rules.again)
    return Mailed(tuple((at, pid) for at, pid in mailed.sent if now - from_ms(at) < longest), over)


def without_cancelled(mailed: Mailed, now: datetime) -> Mailed:
    """The emails that were sent by now.

    Those to the user of a lost account are counted ahead, and cancelled when it is connected again.
    """
    return replace(mailed, sent=tuple((at, pid) for at, pid in mailed.sent if from_ms(at) <= now))


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


@dataclass(frozen=True, slots=True)
class _ProfileStep:
    """What this look does about one disconnected profile."""

    episode: Episode
    emails: tuple[tuple[str, RelinkEmail], ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    notes: Mapping[EventKey, RelinkNote] = field(default_factory=dict)
    #: The email stands for the profile's last one, which nobody got.
    instead: bool = False


def _written(
    step: _ProfileStep, found: Sequence[Affected], upcoming: Sequence[Affected]
) -> dict[EventKey, RelinkNote]:
    """Which letter lists which of these events."""
    listed = {event.key for event in found} & {event.key for event in upcoming}
    return {key: RelinkNote(letter=email.title) for _, email in step.emails for key in listed}


def _step(
    account: Account,
    ask: _Ask,
    found: Sequence[Affected],
    upcoming: Sequence[Affected],
    episode: Episode | None,
    address: str | None,
    now: datetime,
    rules: RelinkRules,
    undelivered: Collection[str],
    may_at: datetime,
) -> _ProfileStep:
    """The first email, once more to another address, a reminder, an escalation, or nothing yet."""
    profile, event_ids = ask.profile, [event.key.event_id for event in upcoming]
    told = partial(_outcome, sub=account.sub, ask=ask, event_ids=event_ids, now=now)
    obstacle = _obstacle(ask, address, rules)
    if obstacle:
        if episode is not None and not is_postponed(episode):
            return _ProfileStep(episode, notes={e.key: RelinkNote(unsendable=True) for e in found})
        reason = (CONNECT_OBSTACLES if ask.connect else OBSTACLES)[obstacle]
        if obstacle is Obstacle.LINK_REFUSED:
            reason += f" {_refusal(profile, rules)}"
        # Escalated once per profile, like the email it stands for; the operator's email lists the events.
        notes = {event.key: RelinkNote(obstacle=reason, unsendable=True) for event in found}
        outcome = told(OutcomeType.ESCALATED, reason=reason)
        begun = Episode(to_ms(now), 0, (), _keys(upcoming), obstacle)
        return _ProfileStep(begun, outcomes=(outcome,), notes=notes)
    mail_id = uuid4().hex
    if (episode is None or not episode.mails) and now < may_at:
        reason = "The user got as many emails as we send in a day, so this event starts before the next one."
        begun = Episode(to_ms(now), 0, (), ())
        soon = [event for event in found if event.starts_at is not None and event.starts_at < may_at]
        return _ProfileStep(begun, notes={event.key: RelinkNote(late=reason) for event in soon})
    if episode is None or not episode.mails:
        email = _email(account, ask, address or "", upcoming, 0)
        outcome = told(ask.requested, mail_id=mail_id)
        begun = Episode(to_ms(now), 1, (mail_id,), _keys(upcoming))
        return _ProfileStep(begun, ((mail_id, email),), (outcome,))
    if episode.mail_ids and episode.mail_ids[-1] in undelivered:
        # A reminder that is due now has nothing to remind of.
        reminders = max(episode.mails - 1, _reminders_due(episode, rules, now))
        email = _email(account, ask, address or "", upcoming, 0)
        outcome = told(ask.requested, mail_id=mail_id)
        return _ProfileStep(
            _reminded(episode, mail_id, reminders, upcoming), ((mail_id, email),), (outcome,), instead=True
        )
    if not found:
        # A reminder is about events that wait.
        return _ProfileStep(episode)
    due = next_reminder(episode, rules.reminders)
    if due is None:
        reason = f"The user was asked to {ask.again}, and reminded, before this event came."
        new = [event for event in found if _key(event) not in episode.events]
        return _ProfileStep(episode, notes={event.key: RelinkNote(late=reason) for event in new})
    if now < max(due, may_at):
        return _ProfileStep(episode)
    number = _reminders_due(episode, rules, now)
    first = next(iter(episode.mail_ids), None)
    email = _email(account, ask, address or "", upcoming, number, first)
    return _ProfileStep(_reminded(episode, mail_id, number, upcoming), ((mail_id, email),))


def _reminders_due(episode: Episode, rules: RelinkRules, now: datetime) -> int:
    """The number of the latest reminder due; ones missed during a pause are skipped."""
    return sum(now >= from_ms(episode.started_at) + after for after in rules.reminders)


def _obstacle(ask: _Ask, address: str | None, rules: RelinkRules) -> Obstacle | None:
    """Why no email can be sent, or None."""
    profile = ask.profile
    if not address:
        return Obstacle.NO_ADDRESS
    if not deliverable(address):
        return Obstacle.BAD_ADDRESS
    if ask.connect:
        return None
    if not profile.relink_url:
        return Obstacle.NO_LINK
    return Obstacle.LINK_REFUSED if _refusal(profile, rules) else None


def _refusal(profile: Profile, rules: RelinkRules) -> str | None:
    return refusal(profile.relink_url or "", rules.hosts, rules.trusted_origin)


def reader_of(account: Account, address: str) -> Reader:
    """The account's user as who gets a letter at this address."""
    return Reader(address, account.name, account.locale, account.tzid)


def deliverable(address: str) -> bool:
    """Whether an email can be sent to this address."""
    try:
        mail_address(address, None)
    except ValueError:
        return False
    return True


def _outcome(
    kind: OutcomeType, sub: str, ask: _Ask, event_ids: Iterable[str], now: datetime, **detail: str
) -> Outcome:
    """An outcome about a profile or service as a whole, with the events it concerns."""
    named = {"provider_name": service_of(ask.key)} if ask.connect else {"profile_id": ask.key}
    cause = Cause.PROFILE_REMOVED if ask.connect else Cause.CREDENTIALS_EXPIRED
    about = {**detail, **named, "event_ids": list(event_ids)}
    return Outcome(kind, sub, now, cause=cause, detail=about)


def _email(
    account: Account,
    ask: _Ask,
    address: str,
    upcoming: Sequence[Affected],
    reminder: int,
    first: str | None = None,
) -> RelinkEmail:
    profile = ask.profile
    return RelinkEmail(
        reader=reader_of(account, address),
        provider_name=profile.provider_name,
        profile_name=profile.name,
        relink_url=profile.relink_url or "",
        meetings=tuple(event.meeting for event in upcoming),
        reminder=reminder,
        is_calendar=profile.is_calendar,
        kind="connect" if ask.connect else "relink",
        first=first,
    )


def _reminded(episode: Episode, mail_id: str, number: int, upcoming: Sequence[Affected]) -> Episode:
    events = tuple(dict.fromkeys((*episode.events, *_keys(upcoming))))
    return replace(episode, mails=number + 1, mail_ids=(*episode.mail_ids, mail_id), events=events)


def _key(event: Affected) -> tuple[str, str]:
    return event.key.calendar_id, event.key.event_id


def _keys(events: Sequence[Affected]) -> tuple[tuple[str, str], ...]:
    return tuple(_key(event) for event in events)
