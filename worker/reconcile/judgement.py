"""The verdicts on one look's events, from what it read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from worker.cronofy.errors import PUT_OFF, CronofyError
from worker.diagnosis.causes import diagnose
from worker.diagnosis.model import Diagnosis, Missing, Observation, Policy, Profiles, Remedy, Seen, State
from worker.ledger.leases import EventChange, Lease
from worker.ledger.packing import unpack_hint
from worker.ledger.records import Account, EventKey, LastRead, Memo, Stored, TrackedEvent, to_ms
from worker.reconcile.observe import Readings, undecided
from worker.reconcile.parking import Turn, is_blameless
from worker.reconcile.relinks import reconnected, waits_for
from worker.reconcile.verdict import Verdict, judge, unread

#: So long after the last notification about an account its subscriptions still count as live.
HEARD_FOR = timedelta(days=7)


@dataclass(slots=True)
class Judged:
    """What a look concludes of its events before anything is written."""

    verdicts: list[Verdict] = field(default_factory=list)
    #: Of events of which it could not tell: nothing is concluded, and they are looked at again.
    unread: list[Verdict] = field(default_factory=list)
    #: Records that change without a verdict.
    changes: list[EventChange] = field(default_factory=list)
    #: Events that made the judgement itself fail, each with its error.
    blamed: list[tuple[Stored, Exception]] = field(default_factory=list)


class Judgement:
    """Diagnoses the events of one look from what it read."""

    def __init__(self, lease: Lease, readings: Readings, policy: Policy) -> None:
        self._lease = lease
        self._readings = readings
        self._policy = policy
        self.profiles = readings.userinfo.profiles if readings.userinfo else None
        #: Profiles that were connected again since their users were asked to.
        self._back = reconnected(lease.account.memo, self.profiles)

    def of(self, turn: Turn) -> Judged:
        """The events that the look was for, and others of which there is news; one's error harms no other."""
        due, others = ({stored.event.key for stored in part} for part in (turn.due, turn.others))
        judged = Judged()
        for stored in self._lease.events:
            key = stored.event.key
            is_due = key in due
            try:
                verdict = self.judge(stored) if is_due or key in others else None
                if verdict and (is_due or _is_news(verdict)):
                    judged.verdicts.append(verdict)
                elif is_due:
                    self._leave_open(stored, turn, judged)
                elif not stored.event.parked and waits_for(stored.event) in self._back:
                    soon = to_ms(self._lease.now + self._policy.recheck_min)
                    after = replace(stored.event.asked_again(self._lease.now), next_look=soon)
                    judged.changes.append(EventChange(stored, after))
            except Exception as error:
                if is_blameless(error):
                    raise
                # What was only read by the way makes its own looks fail in time.
                judged.blamed += [(stored, error)] if is_due else []
        return judged

    def _leave_open(self, stored: Stored, turn: Turn, judged: Judged) -> None:
        error = why_unjudged(stored.event.key, self._readings)
        if not isinstance(error, PUT_OFF):
            judged.unread.append(unread(self._lease.sub, stored, error.reason, self._lease.now, self._policy))
        elif turn.alone:
            # It was not looked at after all.
            judged.changes.append(EventChange(stored, replace(stored.event, trying=False)))

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
        if waits_for(event) in self._back:
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


def _is_news(verdict: Verdict) -> bool:
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
