"""The verdicts on one look's events, from what it read."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from worker.cronofy.errors import CronofyError
from worker.diagnosis.causes import diagnose
from worker.diagnosis.model import Diagnosis, Missing, Observation, Policy, Profiles, Remedy, Seen, State
from worker.ledger.ledger import Lease
from worker.ledger.packing import unpack_hint
from worker.ledger.records import Account, EventKey, LastRead, Memo, Stored, TrackedEvent
from worker.reconcile.observe import Readings, undecided
from worker.reconcile.relinks import reconnected, waits_for
from worker.reconcile.verdict import Verdict, judge

#: So long after the last notification about an account its subscriptions still count as live.
HEARD_FOR = timedelta(days=7)


class Judgement:
    """Diagnoses the events of one look from what it read."""

    def __init__(self, lease: Lease, readings: Readings, policy: Policy) -> None:
        self._lease = lease
        self._readings = readings
        self._policy = policy
        self.profiles = readings.userinfo.profiles if readings.userinfo else None
        #: Profiles that were connected again since their users were asked to.
        self.back = reconnected(lease.account.memo, self.profiles)

    def judge(self, stored: Stored) -> Verdict | None:
        """The verdict, or None where this look cannot tell; raises whatever the event makes fail."""
        now, event = self._lease.now, stored.event
        if event.key in self._readings.faults:
            raise self._readings.faults[event.key]
        sighting = self._readings.sightings.get(event.key)
        if sighting is None or (undecided(sighting, now) and self.profiles is None):
            return None
        # What was only remembered is never written to, and settles nothing.
        seen = sighting if isinstance(sighting, Seen) and self._readings.read else None
        hint = self._lease.hints.get(event.key.field)
        if hint:
            event = event.noticed(*unpack_hint(hint))
        if seen:
            event = event.saw(seen, now)
        if waits_for(event) in self.back:
            event = event.asked_again(now)
        diagnosis = self._diagnose(event, sighting)
        return judge(
            self._lease.sub,
            stored,
            event,
            seen,
            diagnosis,
            now,
            self._policy,
            heard=_heard_lately(self._lease.account, now),
        )

    def _diagnose(self, event: TrackedEvent, sighting: Seen | Missing) -> Diagnosis:
        request = event.request
        if request.provider_name is None and request.profile_id is not None:
            # A profile that was once listed is known by its provider even when it is gone.
            provider = self._lease.account.memo.providers.get(request.profile_id)
            request = replace(request, provider_name=provider)
        return diagnose(request, Observation(sighting, self.profiles), self._lease.now, self._policy)


def _heard_lately(account: Account, now: datetime) -> bool:
    """Whether notifications about the account's events are known to reach us."""
    return account.heard_at is not None and now - account.heard_at < HEARD_FOR


def is_news(verdict: Verdict) -> bool:
    """Whether an event that was read by the way is to be taken up before it is due: where there is
    something to do about it that was not known. Its own looks go on as planned otherwise."""
    diagnosis = verdict.diagnosis
    if diagnosis.state is not State.PENDING:
        return True
    return diagnosis.remedy is not Remedy.WAIT and diagnosis.cause is not verdict.before.event.cause


def why_unjudged(key: EventKey, readings: Readings) -> CronofyError:
    """Why an event has no verdict: what went wrong where the look asked about it."""
    error = readings.failures.get(key) or readings.userinfo_failure
    return error or CronofyError("This look could not tell how the event stands.")


def remember(memo: Memo, profiles: Profiles | None, read: LastRead | None) -> Memo:
    """The memo with the providers of all profiles that are listed now, and how much was read."""
    memo = replace(memo, last_read=read or memo.last_read)
    if profiles is None:
        return memo
    listed = {p.profile_id: p.provider_name for p in profiles.conferencing if p.provider_name}
    return replace(memo, providers={**memo.providers, **listed})
