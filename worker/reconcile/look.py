"""One look at an account, from its lease to its commit: observe, diagnose, remedy.

The order is what makes it safe: nothing is written to Cronofy before the intent is in the ledger,
and everything that the look changes is committed in one step that a lost lease makes void.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from worker.cronofy.client import Cronofy, Session
from worker.cronofy.errors import (
    ClientRefused,
    CronofyError,
    GrantRefused,
    OutOfBudget,
    RateLimited,
    ScopeRefused,
)
from worker.diagnosis.causes import diagnose
from worker.diagnosis.model import (
    Cause,
    Diagnosis,
    Missing,
    Observation,
    Policy,
    Profiles,
    Remedy,
    Seen,
    State,
    Unauthorized,
)
from worker.diagnosis.schedule import is_due
from worker.ledger.ledger import Change, EventChange, Lease, Ledger, Mail
from worker.ledger.outcomes import Outcome, OutcomeType
from worker.ledger.packing import unpack_hint
from worker.ledger.records import (
    Account,
    EventKey,
    LastRead,
    Memo,
    Stored,
    TrackedEvent,
    from_ms,
    interval_of,
    to_ms,
)
from worker.reconcile.observe import Readings, observe, undecided
from worker.reconcile.plan import ReadingPlan, plan_reading
from worker.reconcile.post import Post
from worker.reconcile.reassign import reassign
from worker.reconcile.relinks import RelinkRules, plan_relinks, reconnected, waits_for
from worker.reconcile.verdict import Verdict, judge, unread

#: Not faults of the look: it is put off, and what it did not settle stays due.
PUT_OFF = (OutOfBudget, RateLimited, ClientRefused)
#: Cronofy refuses the account itself (contract §6).
ACCOUNT_REFUSED = (GrantRefused, ScopeRefused)

#: So long after the last notification about an account its subscriptions still count as live.
HEARD_FOR = timedelta(days=7)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LookResult:
    """What a look came to: a verdict for each judged event, and what kept it from judging more."""

    verdicts: tuple[Verdict, ...] = ()
    hindrance: CronofyError | None = None


@dataclass(frozen=True, slots=True)
class Looker:
    """Carries out looks. One per process; safe to share between threads."""

    ledger: Ledger
    cronofy: Cronofy
    policy: Policy
    rules: RelinkRules
    post: Post
    dry_run: bool = False

    def look(self, lease: Lease, forced: Collection[EventKey] = (), *, urgent: bool = False) -> LookResult:
        """Look at the account's due events and at those in `forced`; commit, and end the lease.

        `urgent` says that somebody waits for it: it may spend what is kept for such looks.
        Raises LeaseLost where the lease expired meanwhile, with nothing committed: the next holder
        looks again.
        """
        due = [s for s in lease.events if s.event.key in forced or _due(s.event, lease.now)]
        if not due or lease.account.lost:
            # Lost since it was asked for: another look that held it before found that out, and told it.
            self.ledger.release(lease)
            return LookResult()
        plan = self._plan(lease, due, read_anew=bool(forced))
        with self.cronofy.session(lease.account, plan.calls, urgent=urgent) as session:
            try:
                readings = self._observe(session, lease, due, plan)
            except ACCOUNT_REFUSED as error:
                return self._lose(replace(lease, account=session.account), error)
            except PUT_OFF as error:
                self.ledger.release(lease)
                _say(lease.sub, error)
                return LookResult(hindrance=error)
            except CronofyError as error:
                self._fail(lease, due, error)
                return LookResult(hindrance=error)
            return self._remedy(session, lease, due, readings)

    def diagnose_only(self, lease: Lease, stored: Stored) -> Diagnosis:
        """What a look would find now for one of the lease's events; changes nothing, keeps the lease.

        Raises CronofyError where Cronofy could not be asked.
        """
        plan = self._plan(lease, [stored], read_anew=True)
        with self.cronofy.session(lease.account, plan.calls, urgent=True) as session:
            try:
                readings = self._observe(session, lease, [stored], plan)
            except ACCOUNT_REFUSED as error:
                refused = Observation(Unauthorized(error.reason))
                return diagnose(stored.event.request, refused, lease.now, self.policy)
        judged = _Judgement(lease, readings, self.policy).judge(stored)
        if judged is None:
            raise _why_unjudged(stored.event.key, readings)
        return judged.diagnosis

    def fail(self, lease: Lease, error: CronofyError) -> None:
        """Put an account's due events off after a look that ended in an unforeseen error."""
        self._fail(lease, [stored for stored in lease.events if _due(stored.event, lease.now)], error)

    def _plan(self, lease: Lease, due: Sequence[Stored], *, read_anew: bool) -> ReadingPlan:
        events = [stored.event for stored in due]
        hinted = any(event.key.field in lease.hints for event in events)
        return plan_reading(events, lease.account.memo, self.rules, lease.now, read_anew=read_anew or hinted)

    def _observe(self, session: Session, lease: Lease, due: Sequence[Stored], plan: ReadingPlan) -> Readings:
        wanted = {stored.event.key for stored in due}
        return observe(
            session,
            [stored.event for stored in due],
            [stored.event for stored in lease.events if stored.event.key not in wanted],
            plan,
            lease.now,
        )

    def _remedy(
        self, session: Session, lease: Lease, due: Sequence[Stored], readings: Readings
    ) -> LookResult:
        now, judgement = lease.now, _Judgement(lease, readings, self.policy)
        wanted = {stored.event.key for stored in due}
        verdicts: list[Verdict] = []
        failed: list[Verdict] = []
        changes: list[EventChange] = []
        for stored in lease.events:
            verdict = judgement.judge(stored)
            is_wanted = stored.event.key in wanted
            if verdict and (is_wanted or _is_news(verdict)):
                verdicts.append(verdict)
            elif is_wanted:
                error = _why_unjudged(stored.event.key, readings)
                if not isinstance(error, PUT_OFF):
                    failed.append(unread(lease.sub, stored, error.reason, now, self.policy))
            elif waits_for(stored.event) in judgement.back:
                soon = to_ms(now + self.policy.recheck_min)
                after = replace(stored.event.asked_again(now), next_look=soon)
                changes.append(EventChange(stored, after))
        profiles = judgement.profiles
        if not self.dry_run:
            verdicts = reassign(self.ledger, session, lease, verdicts, profiles, self.policy)
        judged = {verdict.before.event.key for verdict in verdicts}
        account = replace(session.account, memo=_remember(lease.account.memo, profiles, readings.read))
        address = account.email or (readings.userinfo.email if readings.userinfo else None)
        plan = plan_relinks(
            account,
            verdicts,
            [stored.event for stored in lease.events if stored.event.key not in judged],
            profiles,
            address,
            now,
            self.rules,
            dry_run=self.dry_run,
        )
        mails = [self.post.relink(mail_id, letter, now) for mail_id, letter in plan.letters]
        mails += self._escalations(account, address, [*plan.verdicts, *failed], now)
        change = Change(
            events=[*changes, *(verdict.change for verdict in (*plan.verdicts, *failed))],
            memo=replace(account.memo, episodes=plan.episodes),
            outcomes=plan.outcomes,
            mails=mails,
            cancel=plan.cancel,
        )
        self._commit(lease, change, plan.verdicts)
        hindrance = readings.userinfo_failure or next(iter(readings.failures.values()), None)
        if hindrance:
            _say(lease.sub, hindrance)
        return LookResult(plan.verdicts, hindrance)

    def _lose(self, lease: Lease, error: CronofyError) -> LookResult:
        """Cronofy refuses the account: no more calls for it until it is connected again."""
        observation = Observation(Unauthorized(error.reason))
        verdicts = tuple(
            judge(
                lease.sub,
                stored,
                stored.event,
                None,
                diagnose(stored.event.request, observation, lease.now, self.policy),
                lease.now,
                self.policy,
            )
            for stored in lease.events
        )
        lost = Outcome(
            OutcomeType.ACCOUNT_LOST,
            lease.sub,
            lease.now,
            cause=Cause.ACCOUNT_UNAUTHORIZED,
            detail={"reason": error.reason},
        )
        change = Change(events=[verdict.change for verdict in verdicts], lost=True, outcomes=[lost])
        changed = self._commit(lease, change, verdicts)
        if verdicts and len(changed) == len(verdicts):
            # It was connected anew during the look: the new credentials are tried at the next.
            return LookResult(hindrance=error)
        return LookResult(verdicts)

    def _fail(self, lease: Lease, due: Sequence[Stored], error: CronofyError) -> None:
        """A look that learnt nothing: every event that it was for is put off."""
        _say(lease.sub, error)
        failed = [unread(lease.sub, stored, error.reason, lease.now, self.policy) for stored in due]
        mails = self._escalations(lease.account, lease.account.email, failed, lease.now)
        self.ledger.commit(lease, Change([verdict.change for verdict in failed], mails=mails))

    def _escalations(
        self, account: Account, address: str | None, verdicts: Sequence[Verdict], now: datetime
    ) -> list[Mail]:
        escalated = [verdict for verdict in verdicts if verdict.escalated]
        if not escalated or self.dry_run:
            return []
        return self.post.escalation(account, address, escalated, now)

    def _commit(self, lease: Lease, change: Change, verdicts: Sequence[Verdict]) -> frozenset[EventKey]:
        """Commit, and say what was; returns the events that changed meanwhile."""
        changed = self.ledger.commit(lease, change)
        if not (change.lost and verdicts and len(changed) == len(verdicts)):
            for outcome in change.outcomes:
                log.info(f"account.{outcome.type}", sub=lease.sub, **_loggable(outcome))
        for verdict in verdicts:
            if verdict.before.event.key in changed:
                log.info("event.changed_meanwhile", sub=lease.sub, **_ids(verdict))
                continue
            diagnosis = verdict.diagnosis
            log.info(
                "event.diagnosed",
                sub=lease.sub,
                **_ids(verdict),
                state=diagnosis.state.value,
                cause=diagnosis.cause.value if diagnosis.cause else None,
                certainty=diagnosis.certainty.value,
                remedy=diagnosis.remedy.value,
                outcomes=[outcome.type.value for outcome in verdict.outcomes],
            )
        return changed


class _Judgement:
    """Diagnoses the events of one look from what it read."""

    def __init__(self, lease: Lease, readings: Readings, policy: Policy) -> None:
        self._lease = lease
        self._readings = readings
        self._policy = policy
        self.profiles = readings.userinfo.profiles if readings.userinfo else None
        #: Profiles that were connected again since their users were asked to.
        self.back = reconnected(lease.account.memo, self.profiles)

    def judge(self, stored: Stored) -> Verdict | None:
        """The verdict, or None where this look cannot tell."""
        now, event = self._lease.now, stored.event
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


def _say(sub: str, hindrance: CronofyError) -> None:
    """Log what kept a look, or a part of it, from its answer."""
    if isinstance(hindrance, PUT_OFF):
        log.info("look.put_off", sub=sub, reason=hindrance.reason)
    else:
        log.warning("look.failed", sub=sub, reason=hindrance.reason, status=hindrance.status)


def _heard_lately(account: Account, now: datetime) -> bool:
    """Whether notifications about the account's events are known to reach us."""
    return account.heard_at is not None and now - account.heard_at < HEARD_FOR


def _due(event: TrackedEvent, now: datetime) -> bool:
    return event.next_look is not None and is_due(from_ms(event.next_look), interval_of(event), now)


def _is_news(verdict: Verdict) -> bool:
    """Whether an event that was read by the way is to be taken up before it is due: where there is
    something to do about it that was not known. Its own looks go on as planned otherwise."""
    diagnosis = verdict.diagnosis
    if diagnosis.state is not State.PENDING:
        return True
    return diagnosis.remedy is not Remedy.WAIT and diagnosis.cause is not verdict.before.event.cause


def _why_unjudged(key: EventKey, readings: Readings) -> CronofyError:
    error = readings.failures.get(key) or readings.userinfo_failure
    return error or CronofyError("This look could not tell how the event stands.")


def _remember(memo: Memo, profiles: Profiles | None, read: LastRead | None) -> Memo:
    """The memo with the providers of all profiles that are listed now, and how much was read."""
    memo = replace(memo, last_read=read or memo.last_read)
    if profiles is None:
        return memo
    listed = {p.profile_id: p.provider_name for p in profiles.conferencing if p.provider_name}
    return replace(memo, providers={**memo.providers, **listed})


def _ids(verdict: Verdict) -> dict[str, str]:
    calendar_id, event_id = verdict.key
    return {"calendar_id": calendar_id, "event_id": event_id}


def _loggable(outcome: Outcome) -> dict[str, object]:
    return {
        name: value for name, value in outcome.detail.items() if name in ("profile_id", "mail_id", "reason")
    }
