"""What a look concludes about one event: pure, and final once made.

A look judges each event from what it read (`judge`) and carries out the remedies. Their results and the
diagnosis make the verdict (`conclude`), which is written as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any
from uuid import uuid4

from worker.cronofy.errors import CronofyError
from worker.diagnosis.causes import by_sight, diagnose
from worker.diagnosis.fallback import is_room
from worker.diagnosis.model import (
    Cause,
    Chosen,
    Diagnosis,
    Observation,
    Policy,
    Profiles,
    Remedy,
    Rung,
    Seen,
    State,
)
from worker.diagnosis.schedule import HELD, held_look, is_report, next_look, next_pause, retry_look
from worker.ledger.leases import EventChange, Lease
from worker.ledger.outcomes import Outcome, OutcomeType
from worker.ledger.packing import unpack_notice
from worker.ledger.records import (
    DELAYED,
    FAILING,
    TOLD,
    Acknowledgement,
    Choice,
    EventKey,
    Stored,
    TrackedEvent,
    Write,
    from_ms,
    service_named,
    to_ms,
)
from worker.mail.letters import FallbackEmail, Reader
from worker.reconcile.emails import meeting_of
from worker.reconcile.observe import Readings, undecided
from worker.reconcile.relinks import RelinkNote, deliverable
from worker.reconcile.update import why_not_written

#: How long subscriptions count as live after the last notification about an account.
NOTICES_LIVE_FOR = timedelta(days=7)

#: What we remember, after the cause, of an event whose user cannot be asked to connect what it needs.
UNSENDABLE = ":unsendable"


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
    #: Who answers for the event, if anybody.
    acknowledged: Acknowledgement | None = None
    #: What a person chose in place of its profile.
    choice: Choice | None = None
    #: As `EventChange` has them.
    held: str | None = None
    report: str | None = None
    works: str | None = None

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
        """The profile to set on the event, or what the last resort sets; only for one just seen pending."""
        if self.rung and self.diagnosis.last_resort and self.seen is not None:
            return self.diagnosis.last_resort.to_profile_id
        to = self.diagnosis.detail.get("to_profile_id")
        wanted = self.diagnosis.remedy is Remedy.REASSIGN_PROFILE and self.seen is not None
        return to if wanted and isinstance(to, str) else None

    @property
    def rung(self) -> Rung | None:
        """The rung of the last resort that it is time for."""
        last_resort = self.diagnosis.last_resort
        return last_resort.rung if last_resort and self.diagnosis.remedy is Remedy.FALLBACK else None


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
    notice = lease.notices.get(event.key.field) if lease.notices else None
    if notice:
        event = event.noticed(*unpack_notice(notice))
    if seen:
        event = event.saw(seen, now)
    if event.waits_for in back or _has_calendar_again(event, profiles):
        event = event.asked_again(now)
    account, asked_for = lease.account, event.profile_id or ""
    choice, last_notice = account.choice_about(event), account.last_notice
    diagnosis = by_sight(sighting)
    if diagnosis is None:
        request = event.request_with(
            # We still know the provider and the name of a profile that was listed once and is gone.
            event.provider_name or account.memo.providers.get(asked_for),
            profile_name=account.profile_names.get(asked_for),
            account_email=account.email,
            chosen=Chosen(choice.to_profile_id, choice.by) if choice else None,
        )
        unwritable = why_not_written(event, seen) if seen and profiles and undecided(seen, now) else None
        failing_since = lease.outage(Cause.PROVIDER_OUTAGE, event.provider_name)
        observation = Observation(sighting, profiles, unwritable, failing_since)
        diagnosis = diagnose(request, observation, now, policy)
    return Judged(
        stored,
        event,
        diagnosis,
        seen,
        last_notice is not None and now - last_notice < NOTICES_LIVE_FOR,
        lease.acknowledgement(event.key),
        choice,
        **_together(lease, stored.event, event, diagnosis, policy),
    )


def _together(
    lease: Lease, before: TrackedEvent, event: TrackedEvent, diagnosis: Diagnosis, policy: Policy
) -> dict[str, str]:
    """What the event says of its service, and whether it waits for that together with many others."""
    provider = service_named(diagnosis.detail) or event.provider_name
    if provider is None:
        return {}
    if diagnosis.state is State.ASSIGNED:
        since = lease.outage(Cause.PROVIDER_OUTAGE, provider)
        # One that was made before the outage was noticed says nothing of it.
        late = (
            since is not None and before.cause is not Cause.PROVIDER_OUTAGE and before.asked_at < to_ms(since)
        )
        own_room = Rung.EXPLICIT.value in before.writes
        return {} if late or own_room else {"works": f"{Cause.PROVIDER_OUTAGE}:{provider}"}
    found: dict[str, str] = {}
    read_at = None if before.read_at is None else from_ms(before.read_at)
    report = is_report(diagnosis, before.cause, read_at, from_ms(event.asked_at), lease.now, policy)
    if report:
        found["report"] = f"{report}:{provider}"
    waits = diagnosis.remedy in (Remedy.WAIT, Remedy.RELINK_EMAIL, Remedy.ESCALATE)
    if waits and diagnosis.cause in HELD and lease.outage(diagnosis.cause, provider):
        found["held"] = f"{diagnosis.cause}:{provider}"
    return found


def _has_calendar_again(event: TrackedEvent, profiles: Profiles | None) -> bool:
    """Whether its calendar was not connected at the last look, and is now; its profile may be another."""
    waited = event.cause is Cause.CREDENTIALS_EXPIRED and event.lacked_calendar
    return waited and profiles is not None and profiles.reaches(event.key.calendar_id)


def is_news(judged: Judged) -> bool:
    """Whether an event that was read though not due is taken up now: there is something new to do about it.

    Otherwise its looks go on as planned.
    """
    diagnosis = judged.diagnosis
    if diagnosis.state is not State.PENDING:
        return True
    return diagnosis.remedy is not Remedy.WAIT and diagnosis.cause is not judged.before.event.cause


class WriteEnd(Enum):
    """What became of one Update Event."""

    ACCEPTED = auto()
    #: Cronofy refused it for good.
    REFUSED = auto()
    #: Not carried out: Cronofy did not find the calendar, or the address.
    NOT_FOUND = auto()
    #: It may or may not have arrived.
    UNANSWERED = auto()
    #: Not sent, for reasons that have nothing to do with the event.
    PUT_OFF = auto()
    #: Not sent: the event was tracked again or untracked meanwhile.
    CHANGED = auto()


@dataclass(frozen=True, slots=True)
class WriteResult:
    """How the Update Event of one event ended."""

    end: WriteEnd
    to_profile_id: str
    #: The record as stored, with the intent if there is one.
    before: Stored
    #: To be remembered, if it was sent.
    write: Write
    reason: str = ""
    #: The provider of the profile that was set.
    provider_name: str | None = None
    #: The rung of the last resort that it was, if any, and the company's own room.
    rung: Rung | None = None
    join_url: str | None = None


def written(
    writes: Mapping[str, Write], to_profile_id: str, write: Write, rung: Rung | None
) -> dict[str, Write]:
    """The event's writes with this one: under what it sets and, for the last resort, under its mark too."""
    return {**writes, to_profile_id: write, **({rung.mark: write} if rung else {})}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judged event as it stands after the look."""

    diagnosis: Diagnosis
    change: EventChange
    #: For the account's user, if the last resort was used: the email's id, and what it says.
    letter: tuple[str, FallbackEmail] | None = None

    def __post_init__(self) -> None:
        # Pack now, so that a failure counts against this event.
        _ = self.change.value

    @property
    def after(self) -> TrackedEvent:
        """The record after the look."""
        return self.change.after

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """The event's outcomes."""
        return self.change.outcomes


@dataclass(slots=True)
class _Draft:
    """A verdict in the making."""

    sub: str
    judged: Judged
    now: datetime
    policy: Policy
    user: Reader | None
    after: TrackedEvent
    outcomes: list[Outcome] = field(default_factory=list)
    #: Somebody answers for the event, so nobody is told of it.
    quiet: bool = False
    letter: tuple[str, FallbackEmail] | None = None

    def add_outcome(self, kind: OutcomeType, detail: Mapping[str, Any], cause: Cause | None = None) -> None:
        """Add an outcome of the event."""
        key = self.after.key
        cause = cause or self.judged.diagnosis.cause
        self.outcomes.append(
            Outcome(kind, self.sub, self.now, key.calendar_id, key.event_id, cause, dict(detail))
        )

    def notify_once(self, kind: OutcomeType, detail: Mapping[str, Any], about: str = "") -> bool:
        """Add an outcome once per cause (and `about`); returns whether it was added."""
        mark = mark_of(self.judged.diagnosis, about)
        if mark in self.after.notified:
            return False
        self.after = replace(self.after, notified=(*self.after.notified, mark))
        self.add_outcome(kind, detail)
        return True

    def escalate_once(self, reason: str, about: str = "") -> None:
        """Notify a person, once per cause (and `about`), unless somebody answers for the event."""
        if not self.quiet and self.notify_once(OutcomeType.ESCALATED, {"reason": reason}, about):
            self.note_reason(reason)

    def note_reason(self, reason: str) -> None:
        """Keep that a person is told, and why, unless the evidence says so."""
        said = TOLD if reason == " ".join(self.judged.diagnosis.evidence) else reason
        self.after = self.after.noted(self.now, "escalated", said)


def conclude(
    sub: str,
    judged: Judged,
    now: datetime,
    policy: Policy,
    write: WriteResult | None = None,
    relink: RelinkNote | None = None,
    user: Reader | None = None,
) -> Verdict:
    """The verdict on a judged event, given what became of its Update Event and its relink email.

    `user` is told if the last resort was used and an email can reach them; None if nobody is to be.
    """
    diagnosis, event = judged.diagnosis, judged.event
    # Cronofy notifies us of what we merely wait for, but not of a profile connected again (reference §6b).
    notices_arrive = judged.notices_arrive and event.subscribed and diagnosis.remedy is Remedy.WAIT
    pause = next_pause(event.last_interval, policy, notices_arrive=notices_arrive)
    look_at = next_look(diagnosis, pause.wait, event.starts_at, now, policy)
    if judged.held:
        look_at = held_look(diagnosis, event.starts_at, now, policy)
    after = event.diagnosed(diagnosis, now, pause.interval, look_at)
    draft = _Draft(sub, judged, now, policy, user, after)
    if event.was_closed and diagnosis.state is not State.CLOSED:
        if judged.seen is None:
            # Nothing shows that it is to happen after all: it stays closed until it was read.
            return Verdict(diagnosis, EventChange(judged.before, replace(after, last=event.last)))
        draft.add_outcome(OutcomeType.REOPENED, {})
    over = _acknowledged(draft)
    if diagnosis.state is State.ASSIGNED:
        _add_unanswered(draft)
        draft.add_outcome(OutcomeType.ASSIGNED, diagnosis.detail)
    elif diagnosis.state is State.CLOSED:
        if not event.was_closed:
            draft.add_outcome(OutcomeType.CLOSED, {})
    elif diagnosis.cause is Cause.PROVIDER_OUTAGE:
        draft.notify_once(OutcomeType.DELAYED, {"since": diagnosis.detail["since"]})
        if diagnosis.remedy is Remedy.ESCALATE:
            draft.escalate_once(" ".join(diagnosis.evidence), "overdue")
    elif diagnosis.remedy is Remedy.ESCALATE:
        # A person may have been told before that no profile fits; now one does, and may not be set.
        about = "incomplete" if "to_profile_id" in diagnosis.detail else ""
        draft.escalate_once(" ".join(diagnosis.evidence), about)
    if write:
        _add_write(draft, write)
    if relink:
        _add_relink(draft, relink)
    change = EventChange(
        write.before if write else judged.before,
        draft.after,
        settle=diagnosis.state is not State.PENDING,
        outcomes=tuple(draft.outcomes),
        notice_taken=judged.seen is not None,
        unacknowledged=over,
        held=judged.held,
        report=judged.report,
        works=judged.works,
    )
    return Verdict(diagnosis, change, draft.letter)


def _acknowledged(draft: _Draft) -> bool:
    """Take account of who answers for the event; whether that is over, so that people are told again."""
    given = draft.judged.acknowledged
    if given is None:
        return False
    after, now = draft.after, draft.now
    if given.holds(draft.judged.diagnosis.cause, now):
        draft.quiet = True
        if given.until is not None and after.next_look is not None:
            draft.after = replace(after, next_look=min(after.next_look, given.until))
        return False
    news = tuple(mark for mark in after.notified if mark == DELAYED)
    ended = given.until is not None and given.until <= to_ms(now)
    over = "its time has passed" if ended else "its cause changed"
    draft.after = replace(after.answered_for(given, over, now), notified=news)
    return True


def _add_unanswered(draft: _Draft) -> None:
    """If the last write's answer was lost, the link shows that it worked (contract §6)."""
    event, diagnosis = draft.judged.event, draft.judged.diagnosis
    # Only the last one can be in effect; a rung is there under its mark, too.
    marks = {rung.mark: rung for rung in Rung}
    writes = [(pid, write) for pid, write in event.writes.items() if pid not in marks]
    profile_id, write = max(writes, key=lambda each: each[1].at, default=("", None))
    if write is not None and not write.accepted and not write.refused:
        rung = next((rung for mark, rung in marks.items() if event.writes.get(mark) == write), None)
        if rung is None:
            _add_reassigned(draft, profile_id, Cause.PROFILE_REMOVED)
        # With another link than the room's, that write did not arrive: the link came on its own.
        elif rung is not Rung.EXPLICIT or is_room(diagnosis.join_url, draft.policy):
            join_url = diagnosis.join_url if rung is Rung.EXPLICIT else None
            provider_name = diagnosis.detail.get("provider_name")
            _add_fallback(draft, rung, profile_id, join_url, provider_name, event.cause)


def _add_fallback(
    draft: _Draft, rung: Rung, to: str, join_url: str | None, provider_name: str | None, cause: Cause | None
) -> None:
    """A rung of the last resort is in effect: say so, and write to the account's user."""
    before = draft.judged.event.profile_id
    detail = {"from_profile_id": before, "to_profile_id": to, "rung": rung.value}
    if join_url:
        detail["join_url"] = join_url
    if draft.user and deliverable(draft.user.address):
        mail_id = detail["mail_id"] = uuid4().hex
        email = FallbackEmail(
            reader=draft.user,
            meeting=meeting_of(draft.after),
            cause=cause or Cause.UNEXPLAINED,
            provider_name=None if rung is Rung.INTEGRATED else provider_name or "",
            join_url=join_url,
        )
        draft.letter = mail_id, email
        draft.after = draft.after.noted(draft.now, "letter_written", "its other link")
    draft.add_outcome(OutcomeType.FALLBACK, detail, cause)


def _add_reassigned(draft: _Draft, to: str, cause: Cause | None = None) -> None:
    """Another profile was set."""
    before, choice = draft.judged.event.profile_id, draft.judged.choice
    chosen_by = {"chosen_by": choice.by} if choice and choice.to_profile_id == to else {}
    detail = {"from_profile_id": before, "to_profile_id": to, **chosen_by}
    draft.add_outcome(OutcomeType.REASSIGNED, detail, cause)


def _add_write(draft: _Draft, result: WriteResult) -> None:
    """Add the result of the Update Event that sets another profile."""
    to, now, diagnosis = result.to_profile_id, draft.now, draft.judged.diagnosis
    soon = to_ms(now + draft.policy.recheck_min)
    what = f"Setting the {'profile' if result.rung is None else 'last resort'} {to}"
    if result.end is WriteEnd.NOT_FOUND:
        _write_later(draft, result)
        if draft.after.failures >= FAILING:
            draft.escalate_once(f"{what} keeps failing: {result.reason}", f"{to}:404")
        return
    if result.end is WriteEnd.PUT_OFF:
        # The event stays due, and its writes stay as they were.
        draft.after = replace(draft.after, next_look=to_ms(now))
        return
    writes = written(draft.judged.before.event.writes, to, result.write, result.rung)
    after = draft.after = replace(draft.after, writes=writes)
    if result.end is WriteEnd.ACCEPTED:
        draft.after = replace(
            after.asked_again(now), profile_id=to, provider_name=result.provider_name, next_look=soon
        )
        if result.rung:
            provider_name = result.provider_name
            _add_fallback(draft, result.rung, to, result.join_url, provider_name, diagnosis.cause)
        else:
            _add_reassigned(draft, to)
    elif result.end is WriteEnd.REFUSED:
        # The next look finds no profile left to try: by then that is old news.
        notified = (*after.notified, mark_of(diagnosis))
        # The next rung, if any, does not wait.
        next_look_ms = soon if result.rung else after.next_look
        after = after.noted(now, "write_refused", result.reason)
        draft.after = replace(after, notified=notified, next_look=next_look_ms)
        draft.escalate_once(f"{what} failed: {result.reason}", to)
    else:
        # It may have arrived: a later look finds out, and sends it again only if it must.
        _write_later(draft, result)


def _write_later(draft: _Draft, result: WriteResult) -> None:
    failures = draft.judged.before.event.failures + 1
    look_at = retry_look(failures, draft.after.starts_at, draft.now, draft.policy)
    after = draft.after.noted(draft.now, "write_failed", result.reason)
    draft.after = replace(after, failures=failures, next_look=to_ms(look_at))


def _add_relink(draft: _Draft, note: RelinkNote) -> None:
    """Add what was decided about the relink email for the event's profile."""
    # The outcome is about the profile, but each of its events needs a person as long as nobody can be asked.
    others = tuple(mark for mark in draft.after.notified if not mark.endswith(UNSENDABLE))
    marks = (f"{draft.judged.diagnosis.cause}{UNSENDABLE}",) if note.unsendable else ()
    draft.after = replace(draft.after, notified=(*others, *marks))
    if note.late:
        draft.escalate_once(note.late, str(draft.judged.diagnosis.detail.get("profile_id", "")))
    elif note.obstacle and not draft.quiet:
        draft.note_reason(note.obstacle)
    if note.letter:
        draft.after = draft.after.noted(draft.now, "letter_written", note.letter)
    if note.look_by and draft.after.next_look is not None:
        next_look_ms = min(draft.after.next_look, to_ms(note.look_by))
        draft.after = replace(draft.after, next_look=next_look_ms)


def mark_of(diagnosis: Diagnosis, about: str = "") -> str:
    """What we remember of having notified a person."""
    return f"{diagnosis.cause or ''}:{about or diagnosis.detail.get('profile_id', '')}"
