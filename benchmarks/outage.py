"""Outage: a day of a fleet whose calls do not suffice to poll everything that waits.

Accounts write meetings through the working day. Most get their link within seconds. Some profiles have
lapsed, some were removed and have one replacement, some lack a licence. A service that two fifths ask for is
down twice, and Cronofy itself once. The clock is simulated. What is diagnosed, when the next look comes, what
is held, and what reports an outage are the program's own functions; the order of due accounts and the limits
are models of the scripts that run in Redis, and a test compares the order (test_benchmark_order.py).
Three orders are compared:

- now: as the program does it.
- before: by the soonest start alone, each event polled for itself, each escalation an email.
- at best: looks are made only where they help, which no program can know. It makes them as soon as the limits
  allow, the soonest start first.

The last resort is on: a meeting that is still pending a quarter of an hour before its start gets the
company's own room. Half of the events have subscriptions, so that Cronofy tells us of a failing service. That
the link is there it tells nobody: the harder case.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from benchmarks.fleet import PER_MINUTE, PER_SECOND, SHARE, percentile
from benchmarks.order import FAR, rank, turn
from benchmarks.report import Report, Value
from worker.diagnosis.causes import diagnose
from worker.diagnosis.model import (
    Calendar,
    Cause,
    Diagnosis,
    Interaction,
    Notice,
    Observation,
    Policy,
    Profile,
    Profiles,
    Remedy,
    Request,
    Rung,
    Seen,
)
from worker.diagnosis.schedule import (
    HELD,
    first_look,
    held_look,
    is_due,
    is_report,
    next_look,
    next_pause,
    retry_look,
)
from worker.diagnosis.times import parse_event_time

ACCOUNTS, QUICK, MEETINGS = 20_000, 20, 3
#: Who wait at once, and who have a remedy meanwhile.
WAITING, REPLACEABLE = 1_500, 60
#: Parts of the meetings.
LAPSED, REMOVED, UNLICENSED, FAILING = 0.03, 0.02, 0.01, 0.4
BEGIN = datetime(2030, 1, 7, 8, tzinfo=UTC)
HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
#: When meetings are written.
DAY = 10 * HOUR
DOWN = ((BEGIN + HOUR, BEGIN + 3 * HOUR), (BEGIN + 6 * HOUR, BEGIN + 8 * HOUR))
CRONOFY_DOWN = (BEGIN + 4.5 * HOUR, BEGIN + 4.5 * HOUR + 20 * MINUTE)
#: How long a link takes, and a notification that it fails.
LINK_AFTER, NOTICE_AFTER = 10 * SECOND, 20 * SECOND
SWEEP_EVERY = 5 * SECOND
POLICY = Policy(
    grace=2 * MINUTE,
    recheck_min=30 * SECOND,
    recheck_max=6 * HOUR,
    escalate_after=24 * HOUR,
    escalate_before=HOUR,
    fallback=(Rung.EXPLICIT,),
    fallback_url="https://rooms.example.com/{key}",
)

#: What the scripts have: an outage begins with this many reports within this time (``commit.lua``), canaries
#: are picked this often; Cronofy itself fails if more than half of at least this many calls of a minute do,
#: and is then asked this often; afterwards the limit grows back within half a minute (``budget.lua``).
REPORTS = {Cause.PROVIDER_OUTAGE: 10, Cause.CREDENTIALS_EXPIRED: 50}
REPORTED_WITHIN, CANARIES_EVERY = 10 * MINUTE, 30 * SECOND
TROUBLE_CALLS, PROBES_EVERY, RECOVERY, LEAST = 10, 10 * SECOND, 30 * SECOND, 0.1
SOON = 15 * MINUTE
_CALENDAR = "cal"


class Order(StrEnum):
    """Whose turn it is, and what is done about an outage."""

    NOW = "now"
    BEFORE = "before"
    BEST = "at best"


class Kind(StrEnum):
    """What becomes of a meeting."""

    FINE = "fine"
    LAPSED = "lapsed"
    REMOVED = "removed"
    UNLICENSED = "unlicensed"


@dataclass(eq=False, slots=True)
class Meeting:
    """One meeting: the world's part first, then what the program keeps of it."""

    tracked: datetime
    start: datetime
    kind: Kind
    provider: str
    subscribed: bool
    #: When its link is there, if nothing is done about it.
    link_at: datetime | None
    #: How long its user takes to connect the profile again.
    relinks_after: timedelta | None
    next_look: datetime
    interval: timedelta | None = None
    profile_id: str = "pro"
    asked_at: datetime = BEGIN
    notice: Notice | None = None
    cause: Cause | None = None
    read_at: datetime | None = None
    first_look: datetime | None = None
    failures: int = 0
    wrote: frozenset[str] = frozenset()
    told: frozenset[str] = frozenset()
    noticed_at: datetime | None = None
    settled: bool = False

    def has_link(self, now: datetime) -> bool:
        """Whether Cronofy shows a link."""
        return self.link_at is not None and self.link_at <= now

    @property
    def only_waits(self) -> bool:
        """Whether a notice says that its service fails, and nothing more."""
        return self.notice is not None and self.notice.subtype is None

    @property
    def failed_with(self) -> tuple[datetime, datetime] | None:
        """The outage that it waits for, if any."""
        if self.provider != "zoom" or self.kind is not Kind.FINE:
            return None
        return next((each for each in DOWN if each[0] <= self.tracked < each[1]), None)


@dataclass(eq=False, slots=True)
class Account:
    """An account, and its place: the number of its entry in the heaps that counts."""

    meetings: list[Meeting] = field(default_factory=list)
    place: int = 0
    news: bool = False
    is_ready: bool = False


@dataclass(slots=True)
class Limits:
    """The budget's windows, without its reserve for urgent looks."""

    calls: deque[datetime] = field(default_factory=deque)
    resumed: datetime = BEGIN - HOUR

    def grant(self, cost: int, now: datetime) -> bool:
        """Spend as many calls, if the limits allow."""
        while self.calls and now - self.calls[0] >= 61 * SECOND:
            self.calls.popleft()
        second = _routine(PER_SECOND)
        part = max(LEAST, min(1.0, (now - self.resumed) / RECOVERY))
        lately = 0
        for each in reversed(self.calls):
            if now - each >= timedelta(seconds=1.4):
                break
            lately += 1
        if len(self.calls) + cost > _routine(PER_MINUTE) or lately + cost > max(cost, int(second * part)):
            return False
        self.calls.extend([now] * cost)
        return True


def _routine(limit: int) -> int:
    return int(int(limit * SHARE) * 0.9)


def _world(accounts: int) -> list[Account]:
    chance = random.Random(7)  # noqa: S311 - a simulation
    return [Account([_meeting(chance) for _ in range(MEETINGS)]) for _ in range(accounts)]


def _burst(waiting: int, removed: int) -> list[Account]:
    """At the first outage's begin: many meetings of the next hours that wait for it, and some with a remedy.

    Cronofy notifies us of each that waits; the others are two days away.
    """
    chance = random.Random(5)  # noqa: S311 - a simulation
    kinds = [Kind.FINE] * waiting + [Kind.REMOVED] * removed
    return [Account([_of_burst(chance, kind)]) for kind in kinds]


def _of_burst(chance: random.Random, kind: Kind) -> Meeting:
    begin, end = DOWN[0]
    tracked, waits = begin + chance.random() * MINUTE, kind is Kind.FINE
    return Meeting(
        tracked=tracked,
        start=end + chance.random() * 6 * HOUR if waits else tracked + 48 * HOUR,
        kind=kind,
        provider="zoom" if waits else "go_to",
        subscribed=waits,
        link_at=end if waits else None,
        relinks_after=None,
        next_look=first_look(tracked, POLICY),
        asked_at=tracked,
    )


def _meeting(chance: random.Random) -> Meeting:
    tracked = BEGIN + chance.random() * DAY
    soon = chance.random() < 0.5
    away = chance.uniform(20 * 60, 3 * 3600) if soon else chance.uniform(3 * 3600, 14 * 86_400)
    pick = chance.random()
    kinds = (
        (LAPSED, Kind.LAPSED),
        (LAPSED + REMOVED, Kind.REMOVED),
        (LAPSED + REMOVED + UNLICENSED, Kind.UNLICENSED),
    )
    kind = next((kind for below, kind in kinds if pick < below), Kind.FINE)
    provider = "zoom" if chance.random() < FAILING else "go_to"
    meeting = Meeting(
        tracked=tracked,
        start=tracked + timedelta(seconds=away),
        kind=kind,
        provider=provider,
        subscribed=chance.random() < 0.5,
        link_at=None,
        relinks_after=chance.expovariate(1 / 2) * HOUR if chance.random() < 0.7 else None,
        next_look=first_look(tracked, POLICY),
        asked_at=tracked,
    )
    if kind is Kind.FINE:
        meeting.link_at = _made(meeting, tracked)
    return meeting


def _made(meeting: Meeting, asked: datetime) -> datetime:
    """When the service makes a link that is asked for then."""
    if meeting.provider == "zoom":
        for begin, end in DOWN:
            if begin <= asked < end:
                return end
    return asked + LINK_AFTER


class Day:
    """One order's day."""

    def __init__(self, order: Order, accounts: list[Account]) -> None:
        self.order = order
        self.accounts = accounts
        self.now = BEGIN
        self.limits = Limits()
        self.chance = random.Random(11)  # noqa: S311 - a simulation
        self.waiting: list[tuple[datetime, int, int, Account]] = []
        #: Ready accounts with news, and those that merely wait.
        self.ready: tuple[list[tuple[float, int, int, Account]], ...] = ([], [])
        self.number = 0
        self.notices = self._notices()
        # What is held, and for what since when.
        self.reports: dict[tuple[Cause, str], deque[datetime]] = {}
        self.outages: dict[tuple[Cause, str], datetime] = {}
        self.held: dict[tuple[Cause, str], dict[Meeting, Account]] = {}
        self.answers: deque[tuple[datetime, bool]] = deque()
        self.trouble = False
        self.probed = BEGIN
        # Figures.
        self.outage_calls = self.mails = self.calls = self.opened = 0
        #: By group: when something last joined.
        self.incidents: dict[str, datetime] = {}

    def run(self) -> None:
        """Live through the day, and until what was written has started or is settled."""
        arrivals = sorted(
            ((m.tracked, n, a) for n, a in enumerate(self.accounts) for m in a.meetings),
            key=lambda each: each[:2],
        )
        arrived, next_sweep, next_canaries = 0, BEGIN, BEGIN
        end = BEGIN + DAY + 4 * HOUR
        while self.now < end:
            while arrived < len(arrivals) and arrivals[arrived][0] <= self.now:
                account = arrivals[arrived][2]
                arrived += 1
                if not account.is_ready:
                    self._place(account)
            if self.order is not Order.BEST:
                while self.notices and self.notices[0][0] <= self.now:
                    self._notice(*heapq.heappop(self.notices)[2:])
            if self.now >= next_sweep:
                next_sweep += SWEEP_EVERY
                while self.waiting and self.waiting[0][0] <= self.now:
                    _, _, place, account = heapq.heappop(self.waiting)
                    if place == account.place:
                        self._place(account)
            if self.now >= next_canaries:
                next_canaries += CANARIES_EVERY
                self._pick_canaries()
            self._work()
            self.now += timedelta(seconds=0.5)

    # The order.

    def _place(self, account: Account) -> None:
        """As the script `place` does."""
        account.place += 1
        pending = [m for m in account.meetings if not m.settled and m.tracked <= self.now]
        account.is_ready = False
        if not pending:
            return
        nearest = min(self._due_at(m) for m in pending)
        self.number += 1
        if nearest > self.now:
            heapq.heappush(self.waiting, (nearest, self.number, account.place, account))
            return
        due = [m for m in pending if self._due_at(m) <= self.now and m.start > self.now]
        soonest = min((m.start.timestamp() for m in due), default=FAR)
        news = account.news or any(m.first_look is None and not m.only_waits for m in due)
        merely = self.order is not Order.NOW or not news
        entry = (turn(soonest, nearest.timestamp()), self.number, account.place, account)
        account.is_ready = True
        heapq.heappush(self.ready[merely], entry)

    def _due_at(self, meeting: Meeting) -> datetime:
        if self.order is not Order.BEST:
            return meeting.next_look
        if meeting.first_look is None:
            return first_look(meeting.tracked, POLICY)
        last_resort = max(meeting.start - POLICY.fallback_before, meeting.tracked + POLICY.grace)
        if Rung.EXPLICIT.value in meeting.wrote or (meeting.link_at and meeting.link_at <= last_resort):
            last_resort = meeting.start
        return min(meeting.link_at or meeting.start, last_resort, meeting.start)

    def _next(self) -> Account | None:
        """The ready account whose turn it is."""
        while True:
            heads = []
            for merely, heap in enumerate(self.ready):
                while heap and heap[0][2] != heap[0][3].place:
                    heapq.heappop(heap)
                if heap:
                    at = heap[0][0]
                    place = rank(at, not merely, self.now.timestamp(), SOON.total_seconds())
                    heads.append((at if self.order is not Order.NOW else place, merely))
            if not heads:
                return None
            its_turn, _, _, account = self.ready[min(heads)[1]][0]
            if its_turn > self.now.timestamp():
                return account
            # It may have started while it waited.
            self._place(account)
            if (
                self.ready[0][:1] + self.ready[1][:1]
                and account.is_ready
                and self._turn_of(account) <= its_turn
            ):
                return account

    def _turn_of(self, account: Account) -> float:
        return next(
            (
                heap[0][0]
                for heap in self.ready
                if heap and heap[0][3] is account and heap[0][2] == account.place
            ),
            FAR,
        )

    # Looks.

    def _work(self) -> None:
        while (account := self._next()) is not None:
            if self.order is Order.BEST and self._cronofy_is_down():
                return
            if self.trouble:
                if self.now - self.probed < PROBES_EVERY:
                    return
                self.probed = self.now
            due = self._chosen(account)
            if not self.limits.grant(self._cost(due), self.now):
                return
            self._look(account, due)
            account.news = False
            self._place(account)

    def _chosen(self, account: Account) -> list[Meeting]:
        pending = [m for m in account.meetings if not m.settled and m.tracked <= self.now]
        if self.order is Order.BEST:
            return [m for m in pending if self._due_at(m) <= self.now]
        return [m for m in pending if is_due(m.next_look, m.interval, self.now)]

    def _cost(self, due: Sequence[Meeting]) -> int:
        """A read; UserInfo if it leaves anything undecided; an Update Event."""
        if self._cronofy_is_down():
            return 1
        open_ = [m for m in due if m.start > self.now and not m.has_link(self.now)]
        if open_ and len(open_) == len(due) and all(self._waits_for_user(m) for m in open_):
            return 1
        writes = any(self._is_removed(m) or self._diagnosis(m).remedy is Remedy.FALLBACK for m in open_)
        return 1 + bool(open_) + writes

    def _waits_for_user(self, meeting: Meeting) -> bool:
        lately = meeting.read_at is not None and self.now - meeting.read_at < HOUR
        at_hand = meeting.start - self.now <= POLICY.fallback_before
        return (
            self._is_lapsed(meeting) and meeting.cause is Cause.CREDENTIALS_EXPIRED and lately and not at_hand
        )

    def _is_removed(self, meeting: Meeting) -> bool:
        return meeting.kind is Kind.REMOVED and not meeting.wrote

    def _is_lapsed(self, meeting: Meeting) -> bool:
        return meeting.kind is Kind.LAPSED and meeting.link_at is None and not meeting.wrote

    def _cronofy_is_down(self) -> bool:
        return CRONOFY_DOWN[0] <= self.now < CRONOFY_DOWN[1]

    def _look(self, account: Account, due: Sequence[Meeting]) -> None:
        cost, fails = self._cost(due), self._cronofy_is_down()
        self.calls += cost
        again = [m for m in due if m.first_look is not None and m.failed_with and m.failed_with[1] > self.now]
        if again and not any(
            m.has_link(self.now) or self._diagnosis(m).remedy is Remedy.FALLBACK for m in again
        ):
            self.outage_calls += cost
        if self.order is Order.NOW:
            self._answered(cost, fails)
        for meeting in due:
            if fails:
                self._failed(meeting)
            elif meeting.start <= self.now:
                self._settle(meeting)
            elif meeting.has_link(self.now):
                self._settle(meeting)
                meeting.noticed_at = self.now
                self._linked(meeting)
            else:
                self._pending(account, meeting, read=not self._waits_for_user(meeting))
            if not fails and meeting.first_look is None:
                meeting.first_look = self.now

    def _settle(self, meeting: Meeting) -> None:
        meeting.settled = True
        for each in self.held.values():
            each.pop(meeting, None)

    def _failed(self, meeting: Meeting) -> None:
        if self.trouble:
            return
        meeting.failures += 1
        meeting.next_look = retry_look(meeting.failures, meeting.start, self.now, POLICY)
        overdue = (
            meeting.start - self.now < POLICY.escalate_before and self.now - meeting.asked_at >= POLICY.grace
        )
        if self.order is Order.BEFORE and meeting.failures >= 3 and overdue:
            self._tell(meeting, "unread")

    def _diagnosis(self, meeting: Meeting) -> Diagnosis:
        profiles = []
        if not self._is_removed(meeting):
            profiles.append(
                Profile("pro", meeting.provider, "a@example.com", not self._is_lapsed(meeting), "url")
            )
        if meeting.kind is Kind.REMOVED:
            profiles.append(Profile("new", meeting.provider, "a@example.com", True))
        since = self.outages.get((Cause.PROVIDER_OUTAGE, meeting.provider))
        request = Request(
            profile_id=meeting.profile_id,
            provider_name=meeting.provider,
            calendar_id=_CALENDAR,
            asked_at=meeting.asked_at,
            start=parse_event_time(meeting.start.isoformat()),
            wrote=meeting.wrote,
            notice=meeting.notice,
            account_email="a@example.com",
        )
        seen = Seen(request.start, None)
        calendar = Calendar(_CALENDAR, Profile("cal", "google", None, True, is_calendar=True))
        observation = Observation(seen, Profiles(tuple(profiles), (calendar,)), failing_since=since)
        return diagnose(request, observation, self.now, POLICY)

    def _pending(self, account: Account, meeting: Meeting, *, read: bool) -> None:
        diagnosis = self._diagnosis(meeting)
        meeting.failures = 0
        if self.order is Order.NOW:
            self._report(meeting, diagnosis)
        group = self._group(meeting, diagnosis)
        arrive = meeting.subscribed and meeting.notice is not None and diagnosis.remedy is Remedy.WAIT
        pause = next_pause(meeting.interval, POLICY, notices_arrive=arrive)
        look_at = next_look(diagnosis, pause.wait, meeting.start, self.now, POLICY) or meeting.start
        if group in self.outages:
            look_at = held_look(diagnosis, meeting.start, self.now, POLICY)
            self.held.setdefault(group, {})[meeting] = account
            self._incident(f"{group[0]}:{group[1]}")
        else:
            for each in self.held.values():
                each.pop(meeting, None)
        meeting.interval, meeting.next_look, meeting.cause = pause.interval, look_at, diagnosis.cause
        if read:
            meeting.read_at = self.now
        if diagnosis.remedy is Remedy.REASSIGN_PROFILE:
            meeting.wrote, meeting.profile_id, meeting.asked_at = frozenset({"new"}), "new", self.now
            meeting.link_at, meeting.next_look = _made(meeting, self.now), self.now + POLICY.recheck_min
        elif diagnosis.remedy is Remedy.FALLBACK:
            meeting.wrote |= {Rung.EXPLICIT.mark, Rung.EXPLICIT.value}
            meeting.link_at, meeting.next_look = self.now + SECOND, self.now + POLICY.recheck_min
        elif diagnosis.remedy is Remedy.ESCALATE:
            self._tell(meeting, diagnosis.cause or "")
        elif diagnosis.remedy is Remedy.RELINK_EMAIL and meeting.first_look is None and meeting.relinks_after:
            back = self.now + meeting.relinks_after
            meeting.link_at = None
            self._push_relink(account, meeting, back)

    def _push_relink(self, account: Account, meeting: Meeting, back: datetime) -> None:
        heapq.heappush(self.notices, (back, id(meeting), account, meeting, None))

    def _notices(self) -> list[tuple[datetime, int, Account, Meeting, str | None]]:
        """What Cronofy notifies us of: that a service fails, that a licence lacks."""
        found: list[tuple[datetime, int, Account, Meeting, str | None]] = [
            (m.tracked + NOTICE_AFTER, n, a, m, "failing" if m.failed_with else "missing_meeting_url")
            for n, (a, m) in enumerate((a, m) for a in self.accounts for m in a.meetings)
            if m.subscribed and (m.failed_with or m.kind is Kind.UNLICENSED)
        ]
        heapq.heapify(found)
        return found

    def _notice(self, account: Account, meeting: Meeting, what: str | None) -> None:
        if what is None:
            # Not a notification: the user connected the profile again, which only a look shows.
            if not meeting.settled and not meeting.wrote:
                meeting.link_at = _made(meeting, self.now)
            return
        if meeting.settled:
            return
        subtype = None if what == "failing" else what
        meeting.notice = Notice(Interaction.FAILING, subtype, self.now)
        meeting.interval = None
        if any(meeting in each for each in self.held.values()):
            return
        meeting.next_look = self.now
        account.news = account.news or not meeting.only_waits
        self._place(account)

    # Outages.

    def _group(self, meeting: Meeting, diagnosis: Diagnosis) -> tuple[Cause, str] | None:
        return (diagnosis.cause, meeting.provider) if diagnosis.cause in HELD else None

    def _report(self, meeting: Meeting, diagnosis: Diagnosis) -> None:
        cause = is_report(diagnosis, meeting.cause, meeting.read_at, meeting.asked_at, self.now, POLICY)
        if cause is None:
            return
        group = (cause, meeting.provider)
        reports = self.reports.setdefault(group, deque(maxlen=REPORTS[cause]))
        reports.append(self.now)
        if len(reports) == REPORTS[cause] and self.now - reports[0] <= REPORTED_WITHIN:
            self.outages.setdefault(group, reports[0])

    def _linked(self, meeting: Meeting) -> None:
        """A link of a service: it works, if the link was asked for since it failed."""
        if Rung.EXPLICIT.value in meeting.wrote:
            return
        group = (Cause.PROVIDER_OUTAGE, meeting.provider)
        since = self.outages.get(group)
        if since is not None and meeting.asked_at < since and meeting.cause is not Cause.PROVIDER_OUTAGE:
            return
        self.reports.pop(group, None)
        self.outages.pop(group, None)
        for held, account in self.held.pop(group, {}).items():
            held.next_look, held.interval, account.news = self.now, None, True
            self._place(account)

    def _pick_canaries(self) -> None:
        for group in self.outages:
            held = self.held.get(group, {})
            ahead = [m for m in held if m.start > self.now]
            if ahead:
                for meeting in {min(ahead, key=lambda m: m.start), self.chance.choice(ahead)}:
                    meeting.next_look, held[meeting].news = self.now, True
                    self._place(held[meeting])

    def _answered(self, cost: int, fails: bool) -> None:
        self.answers.extend([(self.now, fails)] * cost)
        while self.now - self.answers[0][0] > MINUTE:
            self.answers.popleft()
        if self.trouble and not fails:
            self.trouble = False
            self.answers.clear()
            self.limits.resumed = self.now
        failed = sum(each for _, each in self.answers)
        if len(self.answers) >= TROUBLE_CALLS and failed > len(self.answers) / 2:
            if not self.trouble:
                self._incident("cronofy")
            self.trouble = True

    # Emails to the operator.

    def _tell(self, meeting: Meeting, what: str) -> None:
        if what in meeting.told:
            return
        meeting.told |= {what}
        if self.order is Order.BEFORE:
            self.mails += 1
        elif self.order is Order.NOW:
            self._incident(f"{what}:{meeting.provider}")

    def _incident(self, group: str) -> None:
        """What joins within an hour of the last is in the same; each is told twice."""
        if self.now - self.incidents.get(group, BEGIN - DAY) > HOUR:
            self.opened += 1
            self.mails += 2
        self.incidents[group] = self.now

    # Figures.

    def figures(self) -> dict[str, Value]:
        """What came of the day."""
        helped = [m for m in self._all() if m.kind in (Kind.LAPSED, Kind.REMOVED) and m.first_look]
        during = [m for m in helped if any(begin <= m.tracked < end for begin, end in DOWN)]
        after = [
            _minutes(meeting.noticed_at - outage[1])
            for meeting in self._all()
            if (outage := meeting.failed_with) and meeting.noticed_at
        ]
        started = [m for m in self._all() if m.start <= self.now]
        lost = [m for m in started if not m.has_link(m.start)]
        return {
            "order": self.order.value,
            "first look p50": percentile([_wait(m) for m in helped], 50),
            "p99": percentile([_wait(m) for m in helped], 99),
            "in an outage p50": percentile([_wait(m) for m in during], 50),
            "p99 of these": percentile([_wait(m) for m in during], 99),
            "begun without a link": len(lost),
            "calls in outages": self.outage_calls,
            "last link after min": max(after),
            "emails": self.mails if self.order is not Order.BEST else None,
            "incidents": self.opened if self.order is Order.NOW else None,
            "calls": self.calls,
        }

    def _all(self) -> Iterator[Meeting]:
        return (meeting for account in self.accounts for meeting in account.meetings)


def _minutes(length: timedelta) -> float:
    return length / MINUTE


def _wait(meeting: Meeting) -> float:
    return _minutes((meeting.first_look or meeting.tracked) - meeting.tracked)


def run(quick: bool) -> Report:
    """Live the day once in each order."""
    scale = QUICK if quick else 1
    accounts, waiting, removed = ACCOUNTS // scale, WAITING // scale, REPLACEABLE // scale
    rows: list[dict[str, Value]] = []
    scenes: dict[str, Callable[[], list[Account]]] = {
        "a day": lambda: _world(accounts),
        f"{waiting:,} at once": lambda: _burst(waiting, removed),
    }
    for scene, world in scenes.items():
        for order in Order:
            day = Day(order, world())
            day.run()
            rows.append({"scene": scene, **day.figures()})
    return Report(
        name="outage",
        title=f"{accounts:,} accounts, {MEETINGS} meetings each, {_routine(PER_MINUTE)} calls a minute",
        headings=tuple(rows[0]),
        rows=rows,
        notes=(
            f"At once: {waiting:,} accounts wait for a service that just went down, as notified; {removed} "
            "others, whose meetings are two days away, lost their profile and have one replacement.",
            "First look: minutes from tracked to the first look, of meetings whose profile lapsed or was "
            "removed; then of those tracked while a service was down. It comes half a minute later at "
            "the soonest. While Cronofy itself is down nothing helps, which is the p99 of the best order.",
            "Calls in outages: for meetings that a failing service keeps waiting, after the first look, that "
            "changed nothing. Last link: noticed after the end of an outage, the longer of the two.",
            "Emails: to the operator. At best: made only where it helps, the soonest start first.",
        ),
        settings={
            "accounts": accounts,
            "meetings": MEETINGS,
            "lapsed": LAPSED,
            "removed": REMOVED,
            "failing": FAILING,
        },
    )
