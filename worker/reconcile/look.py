"""One look at an account, from its lease to its commit: observe, diagnose, remedy.

The order is what makes it safe: nothing is written to Cronofy before the intent is in the ledger,
and everything that the look changes is committed in one step that a lost lease makes void.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

import structlog
from redis.exceptions import RedisError

from worker.cronofy.client import Cronofy, Session
from worker.cronofy.errors import ACCOUNT_REFUSED, PUT_OFF, CronofyError, GrantRefused
from worker.diagnosis.causes import diagnose
from worker.diagnosis.model import Cause, Diagnosis, Observation, Policy, Unauthorized
from worker.ledger.leases import Change, EventChange, Lease, LeaseLost, Mail
from worker.ledger.ledger import Ledger
from worker.ledger.outcomes import Outcome, OutcomeType
from worker.ledger.records import Account, EventKey, Stored, TrackedEvent
from worker.reconcile.attempts import Attempts
from worker.reconcile.channel_check import Channels, see_to_channel
from worker.reconcile.emails import Post
from worker.reconcile.judgement import Judgement, remember, why_unjudged
from worker.reconcile.lines import say_account, say_events, say_unread
from worker.reconcile.observe import Readings, observe
from worker.reconcile.parking import Turn, choose, is_blameless, unnamed
from worker.reconcile.plan import ReadingPlan, plan_reading
from worker.reconcile.reassign import reassign
from worker.reconcile.relinks import RelinkPlan, RelinkRules, plan_relinks
from worker.reconcile.sifting import sifted
from worker.reconcile.verdict import Verdict, judge, unread

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
    attempts: Attempts
    dry_run: bool = False
    #: None where there is no receiver for notifications, or nothing is to be written.
    channels: Channels | None = None

    def look(self, lease: Lease, forced: Collection[EventKey] = (), *, urgent: bool = False) -> LookResult:
        """Look at the account's due events and at those in `forced`; commit, and end the lease.

        `urgent` says that somebody waits for it: it may spend what is kept for such looks.
        Raises LeaseLost where the lease expired meanwhile, with nothing committed: the next holder
        looks again.
        """
        if lease.account.lost:
            # Lost since it was asked for: another look that held it before found that out, and told it.
            self.ledger.release(lease)
            return LookResult()
        if lease.account.unreadable:
            log.error("account.unreadable", sub=lease.sub, parts=lease.account.unreadable)
        if lease.unreadable:
            self._part(lease, self.attempts.parted(lease), done=False)
        lease = self.attempts.suspect(lease)
        turn = choose(lease, forced)
        if turn.alone:
            lease, turn, parked = self.attempts.begin(lease, turn)
            if parked:
                self._part(lease, [parked])
                return LookResult((parked,))
        if not turn.due:
            return self._see_to_channel(lease)
        try:
            return self._look(lease, turn, read_anew=bool(forced), urgent=urgent)
        except (LeaseLost, RedisError):
            raise
        except Exception as error:
            if is_blameless(error):
                self._fail(lease, self.attempts.present(lease, turn), unforeseen(error))
            else:
                changes, verdicts = self.attempts.shared(lease, turn, error)
                self._part(lease, verdicts, changes)
            return LookResult(hindrance=unforeseen(error))

    def _look(self, lease: Lease, turn: Turn, *, read_anew: bool, urgent: bool) -> LookResult:
        plan = self._plan(lease, turn.due, read_anew=read_anew)
        with self.cronofy.session(lease.account, plan.calls, urgent=urgent) as session:
            try:
                readings = self._observe(session, lease, turn, plan)
            except ACCOUNT_REFUSED as error:
                return self._lose(replace(lease, account=session.account), error)
            except PUT_OFF as error:
                # No fault of the look: what it did not settle stays due.
                if turn.alone:
                    # It was not looked at after all.
                    events = [EventChange(s, replace(s.event, trying=False)) for s in turn.due]
                    self.ledger.commit(lease, Change(events))
                else:
                    self.ledger.release(lease)
                _say(lease.sub, error)
                return LookResult(hindrance=error)
            except CronofyError as error:
                self._fail(lease, turn.due, error)
                return LookResult(hindrance=error)
            return self._remedy(session, lease, turn, readings)

    def _see_to_channel(self, lease: Lease) -> LookResult:
        """None of its events is due: the account's notification channel may be."""
        try:
            return LookResult(hindrance=see_to_channel(self.channels, self.ledger, lease))
        except GrantRefused as error:
            return self._lose(lease, error)

    def diagnose_only(self, lease: Lease, stored: Stored) -> Diagnosis:
        """What a look would find now for one of the lease's events; changes nothing, keeps the lease.

        Raises CronofyError where Cronofy could not be asked.
        """
        plan = self._plan(lease, [stored], read_anew=True)
        with self.cronofy.session(lease.account, plan.calls, urgent=True) as session:
            try:
                readings = self._observe(session, lease, Turn((stored,)), plan)
            except ACCOUNT_REFUSED as error:
                refused = Observation(Unauthorized(error.reason))
                return diagnose(stored.event.request, refused, lease.now, self.policy)
        judged = Judgement(lease, readings, self.policy).judge(stored)
        if judged is None:
            raise why_unjudged(stored.event.key, readings)
        return judged.diagnosis

    def fail(self, lease: Lease, error: CronofyError) -> None:
        """Put an account's due events off after a look that ended in an unforeseen error."""
        self._fail(lease, choose(lease, ()).due, error)

    def _plan(self, lease: Lease, due: Sequence[Stored], *, read_anew: bool) -> ReadingPlan:
        events = [stored.event for stored in due]
        hinted = any(event.key.field in lease.hints for event in events)
        return plan_reading(events, lease.account.memo, self.rules, lease.now, read_anew=read_anew or hinted)

    def _observe(self, session: Session, lease: Lease, turn: Turn, plan: ReadingPlan) -> Readings:
        due, others = ([stored.event for stored in part] for part in (turn.due, turn.others))
        return observe(session, due, others, plan, lease.now)

    def _remedy(self, session: Session, lease: Lease, turn: Turn, readings: Readings) -> LookResult:
        now, judgement = lease.now, Judgement(lease, readings, self.policy)
        judged = judgement.of(turn)
        verdicts, blamed, profiles = judged.verdicts, judged.blamed, judgement.profiles
        if not self.dry_run:
            callbacks = self.channels.callbacks if self.channels else None
            verdicts, unwritten = reassign(
                self.ledger, session, lease, verdicts, profiles, self.policy, callbacks
            )
            blamed += unwritten
        told = {verdict.before.event.key for verdict in verdicts}
        account = replace(session.account, memo=remember(lease.account.memo, profiles, readings.read))
        address = account.email or (readings.userinfo.email if readings.userinfo else None)

        def plan_mail(
            verdicts: Sequence[Verdict], others: Sequence[TrackedEvent]
        ) -> tuple[RelinkPlan, list[Mail]]:
            plan = plan_relinks(
                account, verdicts, others, profiles, address, now, self.rules, dry_run=self.dry_run
            )
            return plan, [self.post.relink(mail_id, letter, now) for mail_id, letter in plan.letters]

        rest = [s.event for s in lease.events if s.event.key not in told and not s.event.parked]
        (plan, mails), unplanned = sifted(plan_mail, verdicts, rest)
        blamed += [(verdict.before, error) for verdict, error in unplanned]
        failed = [self.attempts.blame(lease, stored, error) for stored, error in blamed]
        all_told = [*plan.verdicts, *judged.unread, *failed]
        mails += self._escalations(account, address, all_told, now)
        change = Change(
            events=[*judged.changes, *(verdict.change for verdict in all_told)],
            memo=replace(account.memo, episodes=plan.episodes),
            outcomes=plan.outcomes,
            mails=mails,
            cancel=plan.cancel,
            tend=self.channels is not None and self.channels.is_due(account, now),
        )
        changed = self._write(lease, change)
        say_account(plan.outcomes)
        say_events(lease.sub, plan.verdicts, changed)
        say_unread(lease.sub, judged.unread)
        hindrance = readings.userinfo_failure or next(iter(readings.failures.values()), None)
        if hindrance:
            _say(lease.sub, hindrance)
        if blamed:
            hindrance = hindrance or unforeseen(blamed[0][1])
        return LookResult(plan.verdicts, hindrance)

    def _lose(self, lease: Lease, error: CronofyError) -> LookResult:
        """Cronofy refuses the account: no more calls for it until it is connected again."""
        observation = Observation(Unauthorized(error.reason))
        now, verdicts = lease.now, []
        for stored in lease.events:
            if stored.event.parked:
                continue
            # One that cannot even be judged is answered for by the account's own standing.
            with suppress(Exception):
                diagnosis = diagnose(stored.event.request, observation, now, self.policy)
                verdicts.append(judge(lease.sub, stored, stored.event, None, diagnosis, now, self.policy))
        lost = Outcome(
            OutcomeType.ACCOUNT_LOST,
            lease.sub,
            lease.now,
            cause=Cause.ACCOUNT_UNAUTHORIZED,
            detail={"reason": error.reason},
        )
        change = Change(events=[verdict.change for verdict in verdicts], lost=True, outcomes=[lost])
        changed = self._write(lease, change)
        # The new credentials are tried at the next look.
        connected_anew = bool(verdicts) and len(changed) == len(verdicts)
        if not connected_anew:
            say_account([lost])
        say_events(lease.sub, verdicts, changed)
        return LookResult(hindrance=error) if connected_anew else LookResult(tuple(verdicts))

    def _part(
        self,
        lease: Lease,
        verdicts: Sequence[Verdict],
        changes: Sequence[EventChange] = (),
        done: bool = True,
    ) -> None:
        """Commit what failed by its events, and tell of those that are parked by it."""
        mails = self._escalations(lease.account, lease.account.email, verdicts, lease.now)
        events = [*changes, *(verdict.change for verdict in verdicts)]
        self._write(lease, Change(events, mails=mails), done)

    def _fail(self, lease: Lease, due: Sequence[Stored], error: CronofyError) -> None:
        """A look that learnt nothing: every event that it was for is put off."""
        _say(lease.sub, error)
        failed = [unread(lease.sub, stored, error.reason, lease.now, self.policy) for stored in due]
        mails = self._escalations(lease.account, lease.account.email, failed, lease.now)
        self._write(lease, Change([verdict.change for verdict in failed], mails=mails))

    def _escalations(
        self, account: Account, address: str | None, verdicts: Sequence[Verdict], now: datetime
    ) -> list[Mail]:
        escalated = [verdict for verdict in verdicts if verdict.escalated]
        if not escalated or self.dry_run:
            return []
        try:
            return self.post.escalation(account, address, escalated, now)
        except Exception:
            # One of them cannot be put into words: of all that are parked only the ids are named.
            named = [unnamed(verdict) if verdict.letter else verdict for verdict in escalated]
            return self.post.escalation(account, address, named, now)

    def _write(self, lease: Lease, change: Change, done: bool = True) -> frozenset[EventKey]:
        """Commit; a record that cannot be packed does not keep the others from being written.

        Returns the events of which this was not written.
        """
        try:
            return self.ledger.commit(lease, change, done)
        except Exception as error:
            if is_blameless(error):
                raise
            written = self.attempts.writable(lease, change)
            others = {old.before.event.key for old, new in _both(change, written) if new is not old}
            return self.ledger.commit(lease, written, done) | others


def _say(sub: str, hindrance: CronofyError) -> None:
    """Log what kept a look, or a part of it, from its answer."""
    if isinstance(hindrance, PUT_OFF):
        log.info("look.put_off", sub=sub, reason=hindrance.reason)
    else:
        log.warning("look.failed", sub=sub, reason=hindrance.reason, status=hindrance.status)


def _both(one: Change, other: Change) -> Iterable[tuple[EventChange, EventChange]]:
    return zip(one.events, other.events, strict=True)


def unforeseen(error: Exception) -> CronofyError:
    """What to say of a look that failed for a reason of its own."""
    return CronofyError(f"The look failed unforeseen ({type(error).__name__}).")
