"""One look at an account, from its lease to its commit: observe, judge, remedy, conclude.

The order makes it safe: nothing is written to Cronofy before the intent is in the ledger, and everything
the look changes is committed in one step, or not at all if the lease was lost. For events that make a look
fail, see `worker.reconcile.failure`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import ParamSpec, TypeVar

import structlog
from redis.exceptions import RedisError

from worker.cronofy.client import Cronofy, Session
from worker.cronofy.errors import ACCOUNT_REFUSED, PUT_OFF, CronofyError, GrantRefused, TokenNeeded
from worker.cronofy.wire import read_sighting
from worker.diagnosis.causes import diagnose
from worker.diagnosis.model import (
    Cause,
    Diagnosis,
    Observation,
    Policy,
    Profiles,
    Remedy,
    TokenOwed,
    Unauthorized,
)
from worker.diagnosis.schedule import is_at_hand
from worker.ledger.leases import Change, EventChange, Lease, LeaseLost
from worker.ledger.ledger import Ledger
from worker.ledger.outbox import refused_elsewhere
from worker.ledger.outcomes import Outcome, OutcomeType
from worker.ledger.records import Account, EventKey, Obstacle, Stored, to_ms
from worker.reconcile.channel_check import Channels
from worker.reconcile.emails import Emails
from worker.reconcile.episodes import connect_key
from worker.reconcile.failure import (
    Failure,
    Failures,
    Selected,
    choose,
    is_from_outside,
    singled_out,
    uncounted,
    unexpected,
    unread,
)
from worker.reconcile.lines import (
    log_account,
    log_changed,
    log_error,
    log_failures,
    log_outages,
    log_verdicts,
)
from worker.reconcile.observe import (
    ReadingPlan,
    Readings,
    asked_in_time,
    found_useless,
    observe,
    plan_reading,
)
from worker.reconcile.reassign import plan_update, reassign
from worker.reconcile.relinks import (
    Affected,
    RelinkPlan,
    RelinkRules,
    affected,
    arrived,
    chosen_by_user,
    plan_reconnect,
    plan_relinks,
    reader_of,
    reconnected,
)
from worker.reconcile.rooms import Rooms
from worker.reconcile.verdict import (
    Judged,
    Verdict,
    WriteEnd,
    WriteResult,
    conclude,
    is_news,
    judge,
)

#: When UserInfo, asked since a notification spoke of a disconnected profile, gave no answer.
ASK_PROFILES_AGAIN = timedelta(minutes=1)

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LookResult:
    """Why a look has no verdict on an event, if so."""

    #: In a sentence.
    failure: str | None = None
    #: What put off the look or part of it; nothing was wrong with it.
    put_off: CronofyError | None = None


@dataclass(slots=True)
class _Work:
    """The state of a look between its read and its commit."""

    lease: Lease
    chosen: Selected
    readings: Readings
    judged: list[Judged] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    #: Records that change without a verdict.
    changes: list[EventChange] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Looker:
    """Carries out looks. One per process; safe to share between threads."""

    ledger: Ledger
    cronofy: Cronofy
    policy: Policy
    rules: RelinkRules
    emails: Emails
    failures: Failures
    dry_run: bool = False
    #: None without a webhook URL, or in a dry run.
    channels: Channels | None = None
    #: None without a URL for them.
    rooms: Rooms | None = None

    def look(self, lease: Lease, forced: Collection[EventKey] = (), *, urgent: bool = False) -> LookResult:
        """Look at the account's due and `forced` events, commit, and end the lease.

        `urgent`: someone is waiting, so it may spend the reserve. Raises LeaseLost, with nothing
        committed, if the lease expired meanwhile: the next holder looks again.
        """
        if lease.account.lost:
            # An earlier look found the account lost, and reported it.
            self.ledger.release(lease)
            return LookResult()
        lease = self._with_token_asked_for(lease)
        if lease.account.unreadable:
            log.error("account.unreadable", sub=lease.sub, parts=lease.account.unreadable)
        if lease.damaged:
            self._commit_failures(lease, [self.failures.damaged(lease, d) for d in lease.damaged], done=False)
        lease = self._rewritten(lease, singled_out(lease, self.failures.limit))
        chosen = choose(lease, forced)
        if chosen.alone:
            counted = self.failures.before_alone(lease, chosen.due[0])
            if isinstance(counted, Failure):
                self._commit_failures(lease, [counted])
                return LookResult(failure=counted.reason)
            lease = self._rewritten(lease, [counted])
            chosen = replace(chosen, due=tuple(s for s in lease.events if s.event.key == counted.after.key))
        if not chosen.due and not _asks_profiles(lease):
            return self._check_channel(lease)
        try:
            return self._look(lease, chosen, force_read=bool(forced), urgent=urgent)
        except (LeaseLost, RedisError):
            raise
        except Exception as error:
            return self._failed_as_a_whole(lease, chosen, error)

    def _look(self, lease: Lease, chosen: Selected, *, force_read: bool, urgent: bool) -> LookResult:
        at_hand = any(is_at_hand(s.event.starts_at, lease.now, self.policy) for s in chosen.due)
        urgent = urgent or at_hand
        plan = self._plan(lease, chosen.due, force_read=force_read or at_hand)
        with self.cronofy.session(lease.account, plan.calls, urgent=urgent) as session:
            try:
                readings = self._observe(session, lease, chosen, plan)
            except ACCOUNT_REFUSED as error:
                return self._refused(replace(lease, account=session.account), error, chosen.due)
            except PUT_OFF as error:
                # What is not settled stays due.
                log_error(lease.sub, error)
                if chosen.alone:
                    self.ledger.commit(lease, Change([uncounted(s) for s in chosen.due]))
                else:
                    self.ledger.release(lease)
                return LookResult(failure=error.reason, put_off=error)
            except CronofyError as error:
                log_error(lease.sub, error)
                return self._fail(lease, chosen.due, error.reason)
            return self._conclude(session, _Work(lease, chosen, readings))

    def _conclude(self, session: Session, work: _Work) -> LookResult:
        """Judge what was read, carry out the remedies, and commit the results."""
        readings, now = work.readings, work.lease.now
        profiles = readings.profiles
        former = work.lease.account
        work.lease = lease = _with_users_choices(work.lease, profiles)
        back = reconnected(lease.account.memo, profiles)
        self._judge(work, back)
        self._reopen(work)
        self._restart_waiting(work, back)
        writes = {} if self.dry_run else self._reassign(session, work)
        choices = lease.account.choices
        account = _remember(replace(session.account, choices=choices), readings)
        address = account.email or (readings.userinfo.email if readings.userinfo else None)
        # Nothing begins or ends without a UserInfo.
        relinks = RelinkPlan(account.memo.episodes, account.mailed, account.connects)
        if profiles:
            relinks = self._plan_relinks(work, account, profiles, address, back)
        user = reader_of(account, address) if address and not self.dry_run else None
        verdicts: list[Verdict] = []
        for judged in work.judged:
            write, note = writes.get(judged.key), relinks.notes.get(judged.key)
            if write and write.end is WriteEnd.CHANGED:
                log_changed(lease.sub, judged.key)
                continue
            before = write.before if write else judged.before
            verdict = self._guard(
                work, before, conclude, lease.sub, judged, now, self.policy, write, note, user
            )
            if verdict:
                verdicts.append(verdict)
        mails = [
            self.emails.relink(mail_id, lease.sub, email, now, due) for mail_id, email, due in relinks.emails
        ]
        mails += [self.emails.letter(*verdict.letter, now) for verdict in verdicts if verdict.letter]
        change = Change(
            events=[*work.changes, *(v.change for v in verdicts), *(f.change for f in work.failures)],
            memo=replace(account.memo, episodes=relinks.episodes),
            profile_names=account.profile_names if account.profile_names != former.profile_names else None,
            connects=relinks.connects if relinks.connects != account.connects else None,
            mailed=relinks.mailed if relinks.mailed != former.mailed else None,
            choices=choices if choices != former.choices else None,
            outcomes=relinks.outcomes,
            mails=mails,
            cancel=relinks.cancel,
            check_channel=self.channels is not None and self.channels.is_due(account, now),
            ask_again=_asked(lease, relinks.ask_again) if profiles else _asked_in_vain(lease),
            figures=session.figures(),
            works=_services_back(profiles, back),
        )
        committed = self.ledger.commit(lease, change)
        session.counted()
        log_account(relinks.outcomes)
        log_verdicts(lease.sub, verdicts, committed)
        log_outages(committed)
        log_failures(lease.sub, work.failures)
        return self._result(work)

    def _judge(self, work: _Work, back: frozenset[str]) -> None:
        """Judge the events that the look was for, and others with news."""
        lease, readings = work.lease, work.readings
        for stored in work.chosen.due:
            judged = self._guard(work, stored, judge, lease, stored, readings, back, self.policy)
            if judged:
                work.judged.append(judged)
        for stored in work.chosen.others:
            if stored.event.key in readings.sightings:
                # One that fails here waits for a look of its own.
                with suppress(Exception):
                    judged = judge(lease, stored, readings, back, self.policy)
                    if is_news(judged):
                        work.judged.append(judged)

    def _reopen(self, work: _Work) -> None:
        """Take up again what was closed as past, if the read shows that it was moved: a look follows."""
        lease = work.lease
        for stored in lease.past:
            key = stored.event.key
            with suppress(Exception):
                event = stored.event
                seen = read_sighting(work.readings.shown[key], event.tzid, lease.now, series=event.series)
                ahead = seen.start is not None and seen.start.instant > lease.now
                if ahead and not (seen.deleted or seen.cancelled):
                    self.ledger.reopen(lease.sub, key, seen)

    def _restart_waiting(self, work: _Work, back: frozenset[str]) -> None:
        """Look soon at unjudged events whose profile was connected again, or whose service was connected."""
        now, profiles = work.lease.now, work.readings.profiles
        connects = work.lease.account.connects
        # If nothing shows whose the profile is that came, a person was asked: that is no more news.
        awaited = {key: each for key, each in connects.items() if each.obstacle is not Obstacle.UNSURE}
        new = arrived(awaited, profiles) if profiles else {}
        soon = to_ms(now + self.policy.recheck_min)
        for stored in self._unjudged(work) if back or new else ():
            with suppress(Exception):
                if stored.event.waits_for in back:
                    after = replace(stored.event.asked_again(now), next_look=soon)
                    work.changes.append(EventChange(stored, after))
                elif connect_key(stored.event.last) in new and stored.next_look > soon:
                    work.changes.append(EventChange(stored, replace(stored.event, next_look=soon)))

    def _reassign(self, session: Session, work: _Work) -> dict[EventKey, WriteResult]:
        """Send the updates that the diagnoses call for."""
        lease, callbacks = work.lease, self.channels.callbacks if self.channels else None
        planned = self._of_each(
            work,
            [judged for judged in work.judged if judged.replacement],
            lambda judged: plan_update(judged, lease.sub, lease.now, callbacks, self.rooms),
        )
        return reassign(self.ledger, session, lease, planned, work.readings.profiles) if planned else {}

    def _affected(self, work: _Work) -> list[Affected]:
        """The events that emails to users may mention; none unless a profile was found wanting."""
        wanting = [
            each
            for each in work.judged
            if each.diagnosis.cause is Cause.CREDENTIALS_EXPIRED
            or each.diagnosis.remedy is Remedy.CONNECT_EMAIL
        ]
        found = self._of_each(work, wanting, lambda each: affected(each.diagnosed, found=True))
        return found + _affected(self._unjudged(work)) if found else []

    def _plan_relinks(
        self, work: _Work, account: Account, profiles: Profiles, address: str | None, back: frozenset[str]
    ) -> RelinkPlan:
        """What the account's user is asked to connect, at this address, now that these profiles are back."""
        episodes = [*account.memo.episodes.values(), *account.connects.values()]
        asked = [mail_id for each in episodes for mail_id in each.mail_ids[-1:]]
        return plan_relinks(
            account,
            self._affected(work),
            profiles,
            address,
            work.lease.now,
            self.rules,
            back=back,
            dry_run=self.dry_run,
            undelivered=refused_elsewhere(self.ledger, asked, address or ""),
            early=self.rules.early and _asks_profiles(work.lease),
            wanted=_services_wanted(work) if account.connects else (),
        )

    def _of_each(self, work: _Work, events: Iterable[Judged], step: Callable[[Judged], T]) -> list[T]:
        """What the step makes of each event; one for which it fails counts as not judged."""
        made: list[T] = []
        for judged in events:
            result = self._guard(work, judged.before, step, judged)
            if result is None:
                work.judged.remove(judged)
            else:
                made.append(result)
        return made

    def _unjudged(self, work: _Work) -> list[Stored]:
        """The account's events that were neither judged nor failed; parked ones are left out."""
        taken = {judged.key for judged in work.judged} | {f.change.after.key for f in work.failures}
        return [s for s in work.lease.events if s.event.key not in taken and s.event.parked is None]

    def _guard(
        self, work: _Work, stored: Stored, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T | None:
        """The step's result, or None if it raises; an error is recorded as the event's failure."""
        try:
            return step(*args, **kwargs)
        except PUT_OFF:
            # What is not settled stays due.
            if work.chosen.alone:
                work.changes.append(uncounted(stored))
        except Exception as error:
            work.failures.append(self.failures.of(work.lease, stored, error))
        return None

    def _result(self, work: _Work) -> LookResult:
        readings = work.readings
        problems = [e for e in readings.problems.values() if isinstance(e, CronofyError)]
        error = readings.userinfo_failure or next(iter(problems), None)
        if error:
            log_error(work.lease.sub, error)
        failure = error.reason if error else next((f.reason for f in work.failures), None)
        return LookResult(failure, error if isinstance(error, PUT_OFF) else None)

    def _with_token_asked_for(self, lease: Lease) -> Lease:
        """Ask the application for the account's next access token, if it is time to."""
        step = asked_in_time(lease)
        if step is None:
            return lease
        change = Change(token=step.token, outcomes=step.outcomes)
        if not self.ledger.commit(lease, change, done=False).void:
            log_account(step.outcomes)
        return replace(lease, account=replace(lease.account, token=step.token))

    def _refused(self, lease: Lease, error: CronofyError, due: Sequence[Stored] = ()) -> LookResult:
        """Cronofy refuses the account: no more calls for it until it is connected again.

        If only the application's next access token is missing, the account is not lost but waits.
        """
        reconnect = RelinkPlan()
        if isinstance(error, TokenNeeded):
            step = found_useless(lease)
            observation, outcomes = Observation(TokenOwed(step.since)), step.outcomes
        else:
            step, observation = None, Observation(Unauthorized(error.reason))
            detail = {"reason": error.reason}
            cause = Cause.ACCOUNT_UNAUTHORIZED
            if not self.dry_run:
                reconnect = plan_reconnect(lease.account, _affected(lease.events), lease.now, self.rules)
            if reconnect.emails:
                detail["mail_id"] = reconnect.emails[0][0]
            outcomes = (Outcome(OutcomeType.ACCOUNT_LOST, lease.sub, lease.now, cause=cause, detail=detail),)
        now, verdicts, keys = lease.now, [], {stored.event.key for stored in due}
        mails = [
            self.emails.relink(mail_id, lease.sub, email, now, at) for mail_id, email, at in reconnect.emails
        ]
        for stored in lease.events:
            # For an event that cannot even be judged, the account's standing says enough.
            with suppress(Exception):
                diagnosis = diagnose(stored.event.request, observation, now, self.policy)
                is_new = stored.event.key in keys or stored.event.last != diagnosis.as_json
                if stored.event.parked is None and is_new:
                    given = lease.acknowledgement(stored.event.key)
                    judged = Judged(stored, stored.event, diagnosis, acknowledged=given)
                    note = reconnect.notes.get(stored.event.key)
                    verdicts.append(conclude(lease.sub, judged, now, self.policy, relink=note))
        change = Change(
            events=[verdict.change for verdict in verdicts],
            lost=step is None,
            token=step.token if step else None,
            outcomes=outcomes,
            mailed=reconnect.mailed if mails else None,
            mails=mails,
            reconnects=[mail.mail_id for mail in mails],
        )
        committed = self.ledger.commit(lease, change)
        if committed.void:
            # The account was connected again meanwhile: the next look tries the new credentials.
            return LookResult(failure=error.reason)
        log_account(outcomes)
        log_verdicts(lease.sub, verdicts, committed)
        return LookResult()

    def _failed_as_a_whole(self, lease: Lease, chosen: Selected, error: Exception) -> LookResult:
        """Handle an error that no single event's guard caught."""
        # The look may have written its events before it failed.
        keys = {stored.event.key for stored in chosen.due}
        due = [stored for stored in self.ledger.pending(lease.sub) if stored.event.key in keys]
        if is_from_outside(error):
            return self._fail(lease, due, unexpected(error))
        fault = self.failures.fault(lease, error)
        log.error("look.crashed", sub=lease.sub, error=fault.kind, traceback=fault.traceback)
        if len(due) == 1:
            self._commit_failures(lease, [self.failures.of(lease, due[0], error)])
        else:
            # None is blamed yet: each is looked at alone, at once.
            alone = [replace(s.event, attempts=1, next_look=to_ms(lease.now)) for s in due]
            self._rewritten(lease, [EventChange(s, after) for s, after in zip(due, alone, strict=True)])
            self.ledger.commit(lease, Change(ask_again=_asked_in_vain(lease)))
        return LookResult(failure=unexpected(error))

    def _fail(self, lease: Lease, due: Sequence[Stored], reason: str) -> LookResult:
        """The look learnt nothing: put off every event that it was for."""
        failures = [unread(lease, stored, reason, self.policy) for stored in due]
        changes = [failure.change for failure in failures]
        self.ledger.commit(lease, Change(changes, ask_again=_asked_in_vain(lease)))
        return LookResult(failure=reason)

    def _commit_failures(self, lease: Lease, failures: Sequence[Failure], *, done: bool = True) -> None:
        self.ledger.commit(lease, Change([failure.change for failure in failures]), done)
        log_failures(lease.sub, failures)

    def _rewritten(self, lease: Lease, changes: Sequence[EventChange]) -> Lease:
        """Write these records; returns the lease with them, without any that could not be written."""
        new: dict[EventKey, Stored] = {}
        failures = []
        for change in changes:
            try:
                new[change.after.key] = change.stored
            except Exception as error:
                failures.append(self.failures.of(lease, change.before, error))
        if failures:
            self._commit_failures(lease, failures, done=False)
        if not new:
            return lease
        writable = [change for change in changes if change.after.key in new]
        gone = self.ledger.commit(lease, Change(writable), done=False).changed
        gone |= {failure.change.after.key for failure in failures}
        kept = tuple(new.get(s.event.key, s) for s in lease.events if s.event.key not in gone)
        return replace(lease, events=kept)

    def _check_channel(self, lease: Lease) -> LookResult:
        """No event is due, but the account's notification channel may be."""
        due = lease.account.channel_due
        if due is None or due > to_ms(lease.now):
            self.ledger.release(lease)
            return LookResult()
        # Without a webhook URL, or in a dry run, a process with one finds it due at the events' next look.
        channel, again = None, None
        try:
            if self.channels:
                channel, again = self.channels.check(lease.account)
        except PUT_OFF as error:
            self.ledger.release(lease)
            log.info("channel.put_off", sub=lease.sub, reason=error.reason)
            return LookResult(error.reason, error)
        except (GrantRefused, TokenNeeded) as error:
            return self._refused(lease, error)
        check_again = to_ms(lease.now + again) if again else 0
        self.ledger.commit(lease, Change(channel=channel, check_again=check_again))
        return LookResult()

    def diagnose_only(self, lease: Lease, stored: Stored) -> Diagnosis:
        """What a look would find now for one of the lease's events; changes nothing, keeps the lease.

        Raises CronofyError if Cronofy could not be read.
        """
        plan = self._plan(lease, [stored], force_read=True)
        with self.cronofy.session(lease.account, plan.calls, urgent=True) as session:
            try:
                readings = self._observe(session, lease, Selected((stored,)), plan)
            except ACCOUNT_REFUSED as error:
                owed = isinstance(error, TokenNeeded)
                refused = TokenOwed(found_useless(lease).since) if owed else Unauthorized(error.reason)
                return diagnose(stored.event.request, Observation(refused), lease.now, self.policy)
        profiles = readings.profiles
        back = reconnected(lease.account.memo, profiles)
        lease = _with_users_choices(lease, profiles)
        return judge(lease, stored, readings, back, self.policy).diagnosis

    def _plan(self, lease: Lease, due: Sequence[Stored], *, force_read: bool) -> ReadingPlan:
        events = [stored.event for stored in due]
        noticed = any(event.key.field in lease.notices for event in events)
        return plan_reading(
            events,
            lease.account.memo,
            self.rules,
            lease.now,
            force_read=force_read or noticed,
            ask_profiles=_asks_profiles(lease),
            asked=bool(lease.account.connects),
        )

    def _observe(self, session: Session, lease: Lease, chosen: Selected, plan: ReadingPlan) -> Readings:
        due, others = ([stored.event for stored in part] for part in (chosen.due, chosen.others))
        past = [stored.event.key for stored in lease.past]
        return observe(session, due, others, plan, lease.now, past)


def _asks_profiles(lease: Lease) -> bool:
    """Whether UserInfo is to be asked, since a notification spoke of a disconnected profile."""
    due = lease.account.profiles_due
    return due is not None and due <= to_ms(lease.now)


def _asked(lease: Lease, again: datetime | None) -> int | None:
    """If UserInfo was to be asked, and was: when to do so again (ms; 0 for never)."""
    if not _asks_profiles(lease):
        return None
    return to_ms(again) if again else 0


def _asked_in_vain(lease: Lease) -> int | None:
    """That UserInfo was to be asked, and gave no answer."""
    return _asked(lease, lease.now + ASK_PROFILES_AGAIN)


def _with_users_choices(lease: Lease, profiles: Profiles | None) -> Lease:
    """The lease with what its user chose by connecting it through our link."""
    if profiles is None or not lease.account.connects:
        return lease
    events = [stored.event for stored in lease.events]
    choices = chosen_by_user(lease.account, events, profiles, lease.now)
    return replace(lease, account=replace(lease.account, choices=choices))


def _affected(events: Iterable[Stored]) -> list[Affected]:
    """The events for emails to users, without those whose record cannot say."""
    found: list[Affected] = []
    for stored in events:
        with suppress(Exception):
            found.append(affected(stored.event))
    return found


def _services_wanted(work: _Work) -> frozenset[str]:
    """The keys of the connect episodes that an event needs, by this look or else by its last one."""
    judged = {each.key: each.diagnosis.as_json for each in work.judged}
    diagnoses = [judged.get(s.event.key, s.event.last) for s in work.lease.events if s.event.parked is None]
    return frozenset(filter(None, map(connect_key, diagnoses)))


def _remember(account: Account, readings: Readings) -> Account:
    """The account with the providers and names of all profiles listed now, and how much was read."""
    memo, listed = account.memo, readings.profiles.conferencing if readings.profiles else ()
    providers = {p.profile_id: p.provider_name for p in listed if p.provider_name}
    names = {p.profile_id: p.name for p in listed if p.name and p.name.strip()}
    return replace(
        account,
        memo=replace(
            memo, last_read=readings.read or memo.last_read, providers={**memo.providers, **providers}
        ),
        profile_names={**account.profile_names, **names},
    )


def _services_back(profiles: Profiles | None, back: frozenset[str]) -> frozenset[str]:
    """What is over for a service, now that a profile of it is connected again: as CAUSE:PROVIDER."""
    listed = profiles.listed_anywhere if profiles else ()
    found = {p.provider_name for p in listed if p.profile_id in back and p.provider_name}
    return frozenset(f"{Cause.CREDENTIALS_EXPIRED}:{provider}" for provider in found)
