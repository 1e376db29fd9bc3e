"""A case: everything we know of one event when somebody asks why it has no link yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from config.settings import Settings
from worker.diagnosis.causes import INDIRECT
from worker.diagnosis.model import Cause, Remedy, State
from worker.ledger.records import Account, Acknowledgement, Episode, TrackedEvent, Write, began, from_ms
from worker.reconcile.episodes import connect_key, next_reminder
from worker.wording import calendar, line, provider, when


class Delivery(StrEnum):
    """The state of an episode's newest email."""

    QUEUED = "queued"
    SENT = "sent"
    #: The mail server refused it for good.
    REFUSED = "refused"
    #: Nothing was sent from here: it is a file for want of a mail server, or the application sends it.
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Case:
    """One event, with everything an answer about it needs; times are the ledger's."""

    #: The diagnosis as in the contract (§1).
    answer: Mapping[str, Any]
    event: TrackedEvent
    account: Account
    now: datetime
    settings: Settings
    #: Of the newest email of `episode`; None if there is none.
    delivery: Delivery | None = None
    #: When an operator paused the fleet.
    paused_since: datetime | None = None
    #: The diagnosis was made just now; otherwise it is the last look's.
    live: bool = False
    #: Who answers for the event, if anybody.
    acknowledged: Acknowledgement | None = None

    @property
    def cause(self) -> Cause | None:
        """The diagnosis' cause; None if the event is assigned or not looked at yet."""
        if self.unseen:
            return None
        return Cause(self.answer["cause"]) if self.answer["cause"] else None

    @property
    def state(self) -> State:
        return State(self.answer["state"])

    @property
    def unseen(self) -> bool:
        """No look has made a diagnosis yet."""
        refused = self.answer["cause"] == Cause.ACCOUNT_UNAUTHORIZED
        return self.event.last is None and not self.live and not refused and not self.event.parked

    @property
    def lacks_token(self) -> bool:
        """The application owes an access token: the account is not lost, but waits."""
        refused = self.answer["cause"] == Cause.ACCOUNT_UNAUTHORIZED
        return bool(refused and self.answer["remedy"] != Remedy.CLOSE)

    @property
    def never_connected(self) -> bool:
        """The application has not handed over the account yet."""
        return self.account.credentials is None and not self.account.lost

    @property
    def likely(self) -> bool:
        """Cronofy does not say enough for the diagnosis to be certain."""
        return bool(self.answer["certainty"] == "likely")

    @property
    def detail(self) -> Mapping[str, Any]:
        detail: Mapping[str, Any] = self.answer["detail"]
        return detail

    @property
    def profile_id(self) -> str | None:
        """The profile that the diagnosis names, otherwise the one the event asked for.

        None if the event's calendar is not listed.
        """
        named = self.detail.get("profile_id")
        return named if isinstance(named, str) or self.calendar else self.event.profile_id

    @property
    def service(self) -> str | None:
        """What people call the conferencing service; None if it is unknown."""
        name = self.detail.get("provider_name")
        if name and self.calendar is None:
            return provider(str(name))
        if self.state is State.ASSIGNED:
            return None
        asked = self.event.profile_id if self.calendar else self.profile_id
        name = self.account.memo.providers.get(asked or "") or self.event.provider_name
        return provider(name) if name and asked not in INDIRECT - {"integrated"} else None

    @property
    def calendar(self) -> str | None:
        """What people call the event's calendar, if that is what is not connected."""
        return calendar(self.detail.get("provider_name")) if "calendar_id" in self.detail else None

    @property
    def episode(self) -> Episode | None:
        """The current episode of being disconnected, of the profile or of the service to connect, if any."""
        key = connect_key(self.answer)
        account = self.account
        return account.connects.get(key) if key else account.memo.episodes.get(self.profile_id or "")

    @property
    def next_reminder(self) -> datetime | None:
        """When the next reminder is due, if one is."""
        return next_reminder(self.episode, self.settings.relink_reminders) if self.episode else None

    @property
    def write(self) -> Write | None:
        """The Update Event that sets the diagnosis' replacement, if one was begun."""
        return self.event.writes.get(str(self.detail.get("to_profile_id")))

    @property
    def next_check_at(self) -> datetime | None:
        """When the next look is due, if one is."""
        moment = self.answer["next_check_at"]
        return datetime.fromisoformat(moment) if moment else None

    @property
    def summary(self) -> str:
        """The meeting's summary, on one line and without invisible characters."""
        return line(self.event.summary, 200) or "(no summary)"

    @property
    def start(self) -> str:
        """When it starts, in its own zone."""
        start = self.event.start
        return when(start.local, start.tzid) if start else "at an unknown time"

    def at(self, moment: datetime) -> str:
        """A moment in the event's zone."""
        start = self.event.start
        return when(moment, start.tzid if start else None)

    def since(self, cause: Cause) -> datetime | None:
        """When the latest unbroken run of this cause in the history began, if there is one."""
        first = began(self.event.history, cause)
        return None if first is None else from_ms(self.event.history[first][0])

    @property
    def alerted(self) -> datetime | None:
        """When a person was told of this cause, if they were."""
        history, since = self.event.history, self.since(self.cause) if self.cause else None
        told = [from_ms(at) for at, what, _ in history if what == "escalated"]
        lately = [at for at in told if since is not None and at >= since]
        # They are told once for each cause, so perhaps when it was found for the first time.
        return next(iter(lately or told[-1:]), since)
