"""What is wrong now, or waits for a person: the same for status, the board, doctor, the log and metrics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from config.queues import Queues
from worker.diagnosis.model import Cause
from worker.ledger.connection import kind_of
from worker.ledger.dead_letters import MOST
from worker.ledger.records import CRONOFY_FAILING, NO_BUDGET
from worker.status.snapshot import Status
from worker.trouble import WORDS, Kind, Words
from worker.wording import amount, provider, spoken

#: From this part of the minute's calls on, the budget is used up; what is kept for urgent looks is not in it.
USED_UP = 0.8
#: How many messages on a queue are too many.
PILE = 100
#: How long no email could be sent before that is more than a server's "try again".
MAIL_AFTER = timedelta(seconds=20)
#: How many refused addresses are named.
REFUSALS = 5


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that a person should know about; it goes away with its reason."""

    kind: Kind
    #: What differs from case to case: how many, since when, why.
    detail: str = ""
    #: What to type, if it is not the same in each case.
    typed: str = ""

    @property
    def words(self) -> Words:
        """What is always said of it."""
        return WORDS[self.kind]

    @property
    def what(self) -> str:
        """What is wrong, without a full stop."""
        return f"{self.words.sentence}: {self.detail}" if self.detail else self.words.sentence

    @property
    def sentence(self) -> str:
        """What is wrong, or else what helps."""
        return f"{self.words.sentence}: {self.detail or self.words.fix}."

    @property
    def command(self) -> str:
        """What to type: it resolves it, or shows how."""
        return self.typed or self.words.command

    @property
    def as_json(self) -> dict[str, Any]:
        """As `status --json` has it."""
        return {"trouble": self.kind.value, "sentence": self.sentence, "command": self.command}


def troubles(status: Status) -> Iterator[Trouble]:
    """Everything, the worst first; nothing that merely follows from another."""
    no_writes = kind_of(status.no_writes)
    if no_writes:
        yield Trouble(no_writes)
    yield from _distance(status)
    yield from _stopped(status)
    # Neither beat nor workers could report.
    if not no_writes and not status.distance.is_crawling:
        yield from _processes(status)
    yield from _outages(status)
    yield from _late(status)
    yield from _mail(status)
    yield from _accounts(status)
    yield from _kept(status)


def _distance(status: Status) -> Iterator[Trouble]:
    if status.distance.is_slow:
        took = f"{status.distance.round_trip / timedelta(milliseconds=1):,.0f} ms"
        yield Trouble(Kind.REDIS_SLOW, f"a round trip from here takes {took}")
    elif status.slow:
        yield Trouble(Kind.REDIS_SLOW, f"for the workers on {', '.join(sorted(status.slow))}")
    if status.budget.clock:
        # All others then seem to be off, too.
        yield Trouble(Kind.CLOCK_WRONG, f"Redis's is {_ahead(status.budget.clock)} Cronofy's")
        return
    here = status.distance.ahead.total_seconds()
    hosts = {f"that of {host}": seconds for host, seconds in status.clocks.items()}
    if status.distance.clocks_differ and round(here) not in map(round, hosts.values()):
        hosts["this host's"] = here
    for whose, seconds in sorted(hosts.items())[:REFUSALS]:
        yield Trouble(Kind.CLOCK_WRONG, f"{whose} is {_ahead(seconds)} Redis's")


def _ahead(seconds: float) -> str:
    return f"{spoken(round(abs(seconds)))} {'ahead of' if seconds > 0 else 'behind'}"


def _stopped(status: Status) -> Iterator[Trouble]:
    """Why no calls are made to Cronofy, or few."""
    budget = status.budget
    if status.paused_since is not None:
        since = spoken(status.at - status.paused_since)
        yield Trouble(Kind.FLEET_PAUSED, f"for {since} no calls to Cronofy and no emails")
    if budget.client_refused:
        yield Trouble(Kind.CLIENT_REFUSED, "no calls are made but one refresh a minute")
    for outage in status.outages:
        where, since = f" ({outage.data_center})", spoken(_since(outage.since, status))
        if outage.kind == CRONOFY_FAILING:
            detail = f"for {since}{where}; {failed_calls(status) or 'few are made now'}"
            yield Trouble(Kind.CRONOFY_FAILING, detail)
        elif outage.kind == NO_BUDGET:
            yield Trouble(Kind.NO_BUDGET, f"for {since}{where}")
    if budget.paused_until is not None:
        yield Trouble(Kind.CRONOFY_PAUSE, f"no calls for {spoken(budget.paused_until - status.at)}")
    elif status.due and budget.used_last_minute >= USED_UP * budget.per_minute:
        used = f"{budget.used_last_minute:,} of {budget.per_minute:,} in the last minute"
        waiting = amount(status.due, "account waits", "accounts wait")
        yield Trouble(Kind.BUDGET_SPENT, f"{used}, and {waiting}")


def _processes(status: Status) -> Iterator[Trouble]:
    if None in status.queues.values():
        # Workers wait for it, and do not report meanwhile.
        yield Trouble(Kind.BROKER_AWAY)
        return
    if not status.workers:
        # Without one, beat's ticks come to nothing.
        yield Trouble(Kind.NO_WORKER, "none was seen in the last 30 s")
        return
    unconsumed = [queue for queue in status.queues if queue not in status.consumed]
    for queue in unconsumed:
        waiting = amount(status.queues[queue] or 0, "message waits", "messages wait")
        yield Trouble(Kind.QUEUE_UNCONSUMED, f"{queue}, on which {waiting}", f"reconciler worker -Q {queue}")
    for queue, length in status.queues.items():
        if queue not in unconsumed and (length or 0) > PILE:
            yield Trouble(Kind.QUEUE_GROWS, f"{length:,} wait on {queue}")
    if Queues(*status.queues).looks not in unconsumed and status.sweep_is_late:
        last = f"the last one was {status.last_sweep}" if status.last_sweep_at else "there was none yet"
        yield Trouble(Kind.SWEEPS_STOPPED, last)


def _outages(status: Status) -> Iterator[Trouble]:
    for outage in status.outages:
        if outage.provider is None:
            continue
        kind, when = Kind.PROFILES_LAPSED, f"{spoken(_since(outage.since, status))} ago"
        if outage.kind == Cause.PROVIDER_OUTAGE:
            kind, when = Kind.SERVICE_FAILING, f"for {spoken(_since(outage.since, status))}"
        waiting = amount(outage.events, "event waits", "events wait")
        where = f"{provider(outage.provider)}, {when} ({outage.data_center})"
        yield Trouble(kind, f"{where}; {waiting} for it, and a few are looked at for all")


def failed_calls(status: Status) -> str | None:
    """How many calls failed lately; None if none did."""
    answered, failed = status.budget.answered, status.budget.failed
    return f"{failed:,} of {answered + failed:,} calls failed in five minutes" if failed else None


def _late(status: Status) -> Iterator[Trouble]:
    if status.late:
        late, longest = amount(status.late, "account"), spoken(_since(status.late_since, status))
        yield Trouble(Kind.LOOKS_LATE, f"{late}, by up to {longest}; {_why(status)}")


def _why(status: Status) -> str:
    """Why looks are late: what else is wrong, or else too few workers."""
    slow = [each for each in _distance(status) if each.kind is Kind.REDIS_SLOW]
    reasons = [*_stopped(status), *slow, *_processes(status)]
    if reasons:
        said = reasons[0].words.sentence
        return said if said.startswith(("Cronofy", "Redis")) else said[0].lower() + said[1:]
    return "there are too few workers"


def _mail(status: Status) -> Iterator[Trouble]:
    if status.mail_trouble and status.mail_queued:
        since, reason = status.mail_trouble
        if status.at - since >= MAIL_AFTER:
            waiting = amount(status.mail_queued, "waits", "wait")
            yield Trouble(Kind.MAIL_STUCK, f"{waiting}; {reason.rstrip('.')}")
    for refusal in status.refusals[:REFUSALS]:
        whose = f"of {refusal.sub}" if refusal.sub else "for escalations"
        yield Trouble(Kind.ADDRESS_REFUSED, f"{refusal.address} {whose}, as {refusal.reason.rstrip('.')}")
    if status.refused_addresses > REFUSALS:
        addresses = amount(status.refused_addresses, "address", "addresses")
        yield Trouble(Kind.ADDRESS_REFUSED, f"{addresses} in all")
    if status.outcomes_owed:
        owed = amount(status.outcomes_owed, "is tried again", "are tried again")
        yield Trouble(Kind.OUTCOMES_OWED, owed)
    if status.outcomes_given_up:
        given_up = amount(status.outcomes_given_up, "outcome")
        yield Trouble(Kind.OUTCOMES_GIVEN_UP, f"{given_up} that the outcome URL never took")


def _accounts(status: Status) -> Iterator[Trouble]:
    if status.without_token:
        waiting = amount(status.without_token, "account waits", "accounts wait")
        yield Trouble(Kind.TOKEN_OWED, f"{waiting} for the application to give the next one")
    if status.lost:
        yield Trouble(Kind.ACCOUNTS_LOST, f"{amount(status.lost, 'has', 'have')} to be connected again")


def _kept(status: Status) -> Iterator[Trouble]:
    if status.came_back:
        came_back = amount(status.came_back, "event")
        yield Trouble(Kind.CAME_BACK, f"{came_back}, as the cause changed or the time was over")
    if status.open_incidents:
        yield Trouble(Kind.INCIDENTS, f"{amount(status.open_incidents, 'is', 'are')} open")
    if status.parked:
        yield Trouble(Kind.EVENTS_PARKED, amount(status.parked, "event"))
    dropped = sum(status.letters_dropped.values())
    if status.dead_letters >= MOST:
        lost = f"{amount(dropped, 'payload')} dropped so far"
        yield Trouble(Kind.LETTERS_FULL, f"{status.dead_letters:,} kept, and {lost}")
    elif status.dead_letters > status.parked:
        # Each parked event has one.
        yield Trouble(Kind.DEAD_LETTERS, amount(status.dead_letters - status.parked, "letter"))


def _since(moment: datetime, status: Status) -> float:
    """Seconds since then, in whole minutes unless there is none."""
    seconds = max(0.0, (status.at - moment).total_seconds())
    return seconds if seconds < 60 else round(seconds / 60) * 60
