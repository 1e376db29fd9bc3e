"""Judges events from what a look read. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from worker.cronofy.errors import CronofyError
from worker.diagnosis.causes import diagnose
from worker.diagnosis.model import Diagnosis, Missing, Observation, Policy, Profiles, Remedy, Seen, State
from worker.ledger.leases import Lease
from worker.ledger.packing import unpack_notice
from worker.ledger.records import Account, EventKey, LastRead, Memo, Stored, TrackedEvent
from worker.reconcile.observe import Readings, undecided

#: How long subscriptions count as live after the last notification about an account.
NOTICES_LIVE_FOR = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Judged:
    """One event as a look found it, before any remedy."""

    before: Stored
    #: The record with what was just read and notified.
    event: TrackedEvent
    diagnosis: Diagnosis
    #: None if the event was not read.
    seen: Seen | None = None
    #: Cronofy's notifications about the event are known to reach us.
    notices_arrive: bool = False

    @property
    def key(self) -> EventKey:
        """The event's ids."""
        return self.event.key

    @property
    def diagnosed(self) -> TrackedEvent:
        """The record with this diagnosis."""
        return replace(self.event, last=self.diagnosis.as_json)

    @property
    def replacement(self) -> str | None:
        """The profile to set on the event; only for one just seen pending."""
        to = self.diagnosis.detail.get("to_profile_id")
        wanted = self.diagnosis.remedy is Remedy.REASSIGN_PROFILE and self.seen is not None
        return to if wanted and isinstance(to, str) else None


def judge(lease: Lease, stored: Stored, readings: Readings, back: frozenset[str], policy: Policy) -> Judged:
    """Judge one event before any remedy; `back`: profiles that were connected again.

    Raises the CronofyError that left it undecided, and whatever the event itself makes fail.
    """
    now, event = lease.now, stored.event
    problem = readings.problems.get(event.key)
    if problem is not None:
        raise problem
    sighting = readings.sightings.get(event.key)
    profiles = readings.profiles
    if sighting is None or (undecided(sighting, now) and profiles is None):
        raise readings.userinfo_failure or CronofyError("This look could not tell the event's state.")
    # A sighting from memory justifies no write and settles nothing.
    seen = sighting if isinstance(sighting, Seen) and readings.read else None
    notice = lease.notices.get(event.key.field)
    if notice:
        event = event.noticed(*unpack_notice(notice))
    if seen:
        event = event.saw(seen, now)
    if event.waits_for in back:
        event = event.asked_again(now)
    diagnosis = _diagnose(event, sighting, profiles, lease.account.memo, now, policy)
    return Judged(stored, event, diagnosis, seen, notices_arrive=_notices_arrive(lease.account, now))


def is_news(judged: Judged) -> bool:
    """Whether an event that was read though not due is taken up now: there is something new to do about it.

    Otherwise its looks go on as planned.
    """
    diagnosis = judged.diagnosis
    if diagnosis.state is not State.PENDING:
        return True
    return diagnosis.remedy is not Remedy.WAIT and diagnosis.cause is not judged.before.event.cause


def remember(memo: Memo, profiles: Profiles | None, read: LastRead | None) -> Memo:
    """The memo with the providers of all profiles listed now, and how much was read."""
    memo = replace(memo, last_read=read or memo.last_read)
    if profiles is None:
        return memo
    listed = {p.profile_id: p.provider_name for p in profiles.conferencing if p.provider_name}
    return replace(memo, providers={**memo.providers, **listed})


def _diagnose(
    event: TrackedEvent,
    sighting: Seen | Missing,
    profiles: Profiles | None,
    memo: Memo,
    now: datetime,
    policy: Policy,
) -> Diagnosis:
    request = event.request
    if request.provider_name is None and request.profile_id is not None:
        # We still know the provider of a profile that was listed once and is gone.
        request = replace(request, provider_name=memo.providers.get(request.profile_id))
    return diagnose(request, Observation(sighting, profiles), now, policy)


def _notices_arrive(account: Account, now: datetime) -> bool:
    """Whether notifications about the account's events are known to reach us."""
    return account.last_notice_at is not None and now - account.last_notice_at < NOTICES_LIVE_FOR
