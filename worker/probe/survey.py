"""One run of the probe: the reads, then its own event, then the answers."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from types import FrameType
from typing import Any

from worker.cronofy.errors import CronofyError
from worker.host.supervisor import is_ignored
from worker.probe.asking import Asking, Reply, ask
from worker.probe.by_hand import BY_HAND
from worker.probe.finding import OPEN, Finding, Record, Unsettled, judge
from worker.probe.own_event import OwnEvent
from worker.probe.own_questions import OWN_EVENT
from worker.probe.reads import READS, ask_addresses, ask_reads, calendars_of


class CannotProbe(Exception):
    """Nothing can be asked for this reason."""


@dataclass(frozen=True, slots=True)
class SurveyedAccount:
    """The account as its UserInfo describes it."""

    reply: Reply
    #: The names of the calendars that can be written by their ids, the primary one first.
    writable: Mapping[str, str]

    def calendar(self, wanted: str | None) -> tuple[str, str] | None:
        """The named calendar, else the first, with its name; CannotProbe if that one cannot be written."""
        if wanted is None:
            return next(iter(self.writable.items()), None)
        if wanted in self.writable:
            return wanted, self.writable[wanted]
        known = ", ".join([*self.writable][:10]) or "none"
        raise CannotProbe(f"UserInfo lists no calendar {wanted} that can be written; it lists {known}.")


@dataclass(frozen=True, slots=True)
class Survey:
    """The answers of one run."""

    sub: str
    findings: tuple[Finding, ...]
    #: The ids of an event that could not be deleted.
    left: Mapping[str, str] | None = None

    @property
    def open(self) -> int:
        """How many questions are not settled."""
        return sum(finding.word == OPEN for finding in self.findings)

    @property
    def as_json(self) -> dict[str, Any]:
        """As in the contract (§6)."""
        return {
            "sub": self.sub,
            "findings": [finding.as_json for finding in self.findings],
            "by_hand": [each._asdict() for each in BY_HAND],
            "left_over": self.left,
        }


def open_account(asking: Asking, sub: str) -> SurveyedAccount:
    """The account's UserInfo; CannotProbe if it is not this account's own."""
    reply = ask(asking, "GET", "/v1/userinfo")
    try:
        record = Record({"userinfo": reply})
        found, calendars = record.json("userinfo").get("sub"), calendars_of(record)
    except Unsettled as why:
        raise CannotProbe(f"UserInfo cannot be read. {why}") from None
    if found != sub:
        raise CannotProbe(f"The token is another account's: UserInfo names {str(found)[:80]}.")
    usable = [
        each
        for each in calendars
        if isinstance(each.get("calendar_id"), str)
        and each["calendar_id"]
        and not each.get("calendar_readonly")
        and not each.get("calendar_deleted")
    ]
    usable.sort(key=lambda each: not each.get("calendar_primary"))
    return SurveyedAccount(
        reply, {each["calendar_id"]: str(each.get("calendar_name"))[:80] for each in usable}
    )


def survey_reads(
    asking: Asking, sub: str, account: SurveyedAccount, calendar_id: str | None, today: date
) -> tuple[Survey, Mapping[str, Reply]]:
    """What reads, and writes that can make nothing, tell; and the replies."""
    replies = {"userinfo": account.reply, **ask_reads(asking, today)}
    if calendar_id is not None:
        replies |= ask_addresses(asking, calendar_id)
    record = Record(replies, calendar_id=calendar_id or "")
    return Survey(sub, tuple(judge(READS, record))), replies


def survey_event(sub: str, own: OwnEvent, before: Mapping[str, Reply]) -> Survey:
    """The same with the probe's own event, which is deleted before this returns or raises.

    KeyboardInterrupt, also for SIGTERM and SIGHUP, is raised once it is deleted.
    """
    done = False
    try:
        with _stoppable() as stop:
            try:
                own.check_deletable()
                own.run()
                # Already here: a signal just before the deletion would leave the event.
                stop.deferred = done = True
            except CronofyError as error:
                own.say(error.reason)
            finally:
                # From here on, who stops the probe waits for the deletion.
                stop.deferred = True
                own.delete()
                if own.deleted and done and not stop.asked:
                    own.see_deleted()
                if not own.deleted:
                    own.say(
                        "The probe's event could not be deleted, or is still shown. Delete it by hand, in "
                        f"the calendar: event {own.event_id} in calendar {own.calendar_id}."
                    )
    except CronofyError as error:
        own.say(error.reason)
    if stop.asked:
        raise KeyboardInterrupt
    record = Record({**before, **own.replies}, own.calendar_id, own.event_id, own.profile_id)
    findings = judge([*READS, *OWN_EVENT], record)
    left = None if own.deleted else {"calendar_id": own.calendar_id, "event_id": own.event_id}
    return Survey(sub, tuple(findings), left)


class _Stop:
    """Turns the first signal into KeyboardInterrupt, and while `deferred` only notes it."""

    def __init__(self) -> None:
        self.asked = False
        self.deferred = False

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        first, self.asked = not self.asked, True
        if first and not self.deferred:
            raise KeyboardInterrupt


@contextmanager
def _stoppable() -> Iterator[_Stop]:
    stop = _Stop()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # One that is ignored, as under nohup, stays ignored.
    before = {each: signal.signal(each, stop) for each in signals if not is_ignored(each)}
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
