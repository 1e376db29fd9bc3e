"""Relink episodes: from the email that asks a user to connect a profile again, until they do. Pure.

One email for each account and profile, not for each event; reminders counted from the first; none
once the profile is connected, none without an upcoming event (contract §2 and §6).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import uuid4

from worker.diagnosis.causes import INDIRECT
from worker.diagnosis.model import Cause, Profile, Profiles
from worker.ledger.outcomes import Outcome, OutcomeType
from worker.ledger.records import Account, Episode, Memo, TrackedEvent, from_ms, to_ms
from worker.mail.compose import Meeting, RelinkLetter
from worker.mail.relink_links import refusal
from worker.reconcile.verdict import Verdict, escalate_once
from worker.text.wording import address as mail_address


@dataclass(frozen=True, slots=True)
class RelinkRules:
    """The settings that relink emails depend on (contract §4)."""

    reminders: tuple[timedelta, ...]
    hosts: tuple[str, ...]
    #: The configured API URL, whose own host may be linked to as well.
    trusted_origin: str | None


@dataclass(frozen=True, slots=True)
class RelinkPlan:
    """What is to be sent, told and remembered."""

    episodes: Mapping[str, Episode]
    verdicts: tuple[Verdict, ...]
    letters: tuple[tuple[str, RelinkLetter], ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    cancel: tuple[str, ...] = ()


def waits_for(event: TrackedEvent) -> str | None:
    """The profile that the event waits for: the one it asked for, or the one its last look suspected."""
    if event.cause is Cause.CREDENTIALS_EXPIRED and event.last:
        suspected = event.last["detail"].get("profile_id")
        if isinstance(suspected, str):
            return suspected
    return event.profile_id if event.profile_id not in INDIRECT else None


def reconnected(memo: Memo, profiles: Profiles | None) -> frozenset[str]:
    """The profiles whose users connected them again since they were asked to."""
    if profiles is None:
        return frozenset()
    connected = {p.profile_id for p in profiles.listed_anywhere if p.connected} - set(disconnected(profiles))
    return frozenset(connected & set(memo.episodes))


def plan_relinks(
    account: Account,
    verdicts: Sequence[Verdict],
    others: Sequence[TrackedEvent],
    profiles: Profiles | None,
    address: str | None,
    now: datetime,
    rules: RelinkRules,
    *,
    dry_run: bool,
) -> RelinkPlan:
    """Decide on emails and episodes after the events were judged.

    `verdicts` are the events of this look, `others` the account's other pending events; `address`
    is the user's, if one is known. Nothing is begun or ended without a UserInfo.
    """
    episodes = dict(account.memo.episodes)
    if profiles is None:
        return RelinkPlan(episodes, tuple(verdicts))
    outcomes = [
        _outcome(
            OutcomeType.RELINKED, account.sub, pid, (event_id for _, event_id in episodes[pid].events), now
        )
        for pid in sorted(reconnected(account.memo, profiles))
    ]
    lapsed = disconnected(profiles)
    over = [pid for pid in episodes if pid not in lapsed]
    cancel = tuple(mail_id for pid in over for mail_id in episodes.pop(pid).mail_ids)
    if dry_run:
        return RelinkPlan(episodes, tuple(verdicts), outcomes=tuple(outcomes), cancel=cancel)
    after = {verdict.key: verdict for verdict in verdicts}
    letters: list[tuple[str, RelinkLetter]] = []
    for pid, profile in lapsed.items():
        judged = [verdict for verdict in verdicts if _asks_for(verdict, profile)]
        if not judged:
            continue
        waiting = [*(verdict.after for verdict in judged), *(e for e in others if waits_for(e) == pid)]
        upcoming = [event for event in waiting if event.starts_at is None or event.starts_at > now]
        step = _step(account, profile, judged, upcoming, episodes.get(pid), address, now, rules)
        after.update({verdict.key: verdict for verdict in step.verdicts})
        episodes[pid] = step.episode
        letters += step.letters
        outcomes += step.outcomes
    settled = [_no_later_than_reminder(verdict, episodes, rules) for verdict in after.values()]
    return RelinkPlan(episodes, tuple(settled), tuple(letters), tuple(outcomes), cancel)


@dataclass(frozen=True, slots=True)
class _Step:
    """What becomes of one disconnected profile in this look; `verdicts` are those that change."""

    episode: Episode
    letters: tuple[tuple[str, RelinkLetter], ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    verdicts: tuple[Verdict, ...] = ()


def _step(
    account: Account,
    profile: Profile,
    judged: Sequence[Verdict],
    upcoming: Sequence[TrackedEvent],
    episode: Episode | None,
    address: str | None,
    now: datetime,
    rules: RelinkRules,
) -> _Step:
    """The first email, a reminder, a word to the operator, or nothing yet."""
    about, event_ids = profile.profile_id, [event.key.event_id for event in upcoming]
    obstacle = _obstacle(profile, address, rules)
    if obstacle:
        if episode is not None:
            return _Step(episode)
        # Told once for the profile, as the email would have been; the operator's email names the events.
        told = tuple(replace(verdict, escalated=obstacle) for verdict in judged)
        outcome = _outcome(OutcomeType.ESCALATED, account.sub, about, event_ids, now, reason=obstacle)
        begun = Episode(to_ms(now), 0, (), _keys(upcoming), obstacle)
        return _Step(begun, outcomes=(outcome,), verdicts=told)
    mail_id = uuid4().hex
    if episode is None or not episode.mails:
        letter = _letter(account, profile, address or "", upcoming, 0)
        outcome = _outcome(OutcomeType.RELINK_REQUESTED, account.sub, about, event_ids, now, mail_id=mail_id)
        return _Step(Episode(to_ms(now), 1, (mail_id,), _keys(upcoming)), ((mail_id, letter),), (outcome,))
    due = next_reminder(episode, rules.reminders)
    if due is None:
        reason = "The user was asked to connect the profile again, and reminded, before this event came."
        new = [verdict for verdict in judged if verdict.key not in episode.events]
        return _Step(episode, verdicts=tuple(escalate_once(v, account.sub, reason, now, about) for v in new))
    if now < due:
        return _Step(episode)
    number = _reminders_due(episode, rules, now)
    letter = _letter(account, profile, address or "", upcoming, number)
    return _Step(_reminded(episode, mail_id, number, upcoming), ((mail_id, letter),))


def next_reminder(episode: Episode, reminders: Sequence[timedelta]) -> datetime | None:
    """When the next reminder of an episode is due; None where none is left, or no email could be sent."""
    if not 0 < episode.mails <= len(reminders):
        return None
    return from_ms(episode.started_at) + reminders[episode.mails - 1]


def _reminders_due(episode: Episode, rules: RelinkRules, now: datetime) -> int:
    """The number of the latest reminder that is due: those missed in a pause are not made up for."""
    return sum(now >= from_ms(episode.started_at) + after for after in rules.reminders)


def _asks_for(verdict: Verdict, profile: Profile) -> bool:
    diagnosis = verdict.diagnosis
    return (
        diagnosis.cause is Cause.CREDENTIALS_EXPIRED
        and diagnosis.detail.get("profile_id") == profile.profile_id
    )


def disconnected(profiles: Profiles) -> dict[str, Profile]:
    """The profiles whose users have to connect them again, by their ids."""
    return {p.profile_id: p for p in profiles.listed_anywhere if not p.connected}


def _obstacle(profile: Profile, address: str | None, rules: RelinkRules) -> str | None:
    """Why no relink email can be sent, in words that hold no URL."""
    if not address:
        return "The user has to connect the profile again, but no email address is known for them."
    if not _deliverable(address):
        return "The user has to connect the profile again, but the email address known for them is none."
    if not profile.relink_url:
        return "The user has to connect the profile again, but Cronofy gave no relink URL for it."
    refused = refusal(profile.relink_url, rules.hosts, rules.trusted_origin)
    if refused:
        return f"The user has to connect the profile again, but the relink URL may not be mailed: {refused}"
    return None


def _deliverable(address: str) -> bool:
    try:
        mail_address(address, None)
    except ValueError:
        return False
    return True


def _outcome(
    kind: OutcomeType, sub: str, profile_id: str, event_ids: Iterable[str], now: datetime, **detail: str
) -> Outcome:
    """What is told of a profile as a whole, with the events that it concerns."""
    about = {**detail, "profile_id": profile_id, "event_ids": list(event_ids)}
    return Outcome(kind, sub, now, cause=Cause.CREDENTIALS_EXPIRED, detail=about)


def _letter(
    account: Account, profile: Profile, address: str, upcoming: Sequence[TrackedEvent], reminder: int
) -> RelinkLetter:
    return RelinkLetter(
        to=address,
        name=account.name,
        provider_name=profile.provider_name,
        profile_name=profile.name,
        relink_url=profile.relink_url or "",
        meetings=tuple(meeting(event) for event in upcoming),
        reminder=reminder,
    )


def meeting(event: TrackedEvent) -> Meeting:
    """The event as an email shows it to a person."""
    start = event.start
    return Meeting(
        summary=event.summary,
        start=start.local if start else None,
        tzid=start.tzid if start else None,
        calendar_id=event.key.calendar_id,
        event_id=event.key.event_id,
    )


def _reminded(episode: Episode, mail_id: str, number: int, upcoming: Sequence[TrackedEvent]) -> Episode:
    events = tuple(dict.fromkeys((*episode.events, *_keys(upcoming))))
    return replace(episode, mails=number + 1, mail_ids=(*episode.mail_ids, mail_id), events=events)


def _keys(events: Sequence[TrackedEvent]) -> tuple[tuple[str, str], ...]:
    return tuple((event.key.calendar_id, event.key.event_id) for event in events)


def _no_later_than_reminder(verdict: Verdict, episodes: Mapping[str, Episode], rules: RelinkRules) -> Verdict:
    """Reminders go out from looks, so a look must come when one is due."""
    profile_id = verdict.diagnosis.detail.get("profile_id")
    episode = episodes.get(profile_id) if isinstance(profile_id, str) else None
    due = next_reminder(episode, rules.reminders) if episode else None
    if (
        due is None
        or verdict.diagnosis.cause is not Cause.CREDENTIALS_EXPIRED
        or verdict.after.next_look is None
    ):
        return verdict
    at = min(verdict.after.next_look, to_ms(due))
    return replace(verdict, after=replace(verdict.after, next_look=at))
