"""The one event that the probe makes: on the operator's calendar, in two months, and always deleted again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any
from uuid import uuid4

from redis.exceptions import RedisError

from worker.cronofy.client import events_path
from worker.cronofy.errors import CronofyError
from worker.cronofy.wire import object_in, objects_in
from worker.probe.asking import Asking, Reply, ask
from worker.probe.reads import FLAGS, LOCALIZED, NARROWED, OWN, ask_events

SUMMARY = "conferencing-reconciler probe, safe to delete"
DAYS_AHEAD = 60
ZONE = "Europe/Paris"
DESCRIPTION = "A probe by an operator. Join: {{ cronofy.conferencing.join_url }}"
PLACE = "conferencing-reconciler probe"
#: A profile that nobody has, and a link that leads nowhere.
NO_PROFILE = "pro_conferencing_reconciler_probe_has_none"
EXPLICIT_LINK = "https://conferencing-reconciler.invalid/probe"
#: How long a read may take to show a write.
VISIBLE_SECONDS = 30.0
#: Between two reads of what is waited for: the first, and the longest.
FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0
#: How long the deletion is tried.
DELETING_SECONDS = 60.0


@dataclass
class OwnEvent:
    """Makes the event, asks about it, and deletes it."""

    asking: Asking
    calendar_id: str
    profile_id: str
    #: How long a conference is waited for.
    wait_seconds: float
    today: date
    say: Callable[[str], None]
    event_id: str = field(default_factory=lambda: f"conferencing-reconciler-probe-{uuid4().hex[:12]}")
    replies: dict[str, Reply] = field(default_factory=dict)
    #: The deletion was accepted, or there is nothing to delete.
    deleted: bool = True
    _step: int = 1

    def check_deletable(self) -> None:
        """CronofyError if we could not delete the event again: tried while there is none.

        404 and 422 may say just that.
        """
        reply = self._delete()
        if not reply.accepted and reply.status not in (404, 410, 422):
            said = reply.failed or f"answered {reply.status}"
            raise CronofyError(
                f"No event was made, since a deletion is not accepted on that calendar ({said})."
            )

    def run(self) -> None:
        """All steps, each after the one before is seen in a read."""
        self.deleted = False
        if not self._write("create", self._first()):
            return
        self._seen("pending", bool, VISIBLE_SECONDS)
        self._ways_to_read()
        assigned = self._seen("assigned", _has_link, self.wait_seconds)
        # The required fields alone, in UTC and without a zone.
        self._update("omitted")
        # The same request for a conference, on an event that has one.
        if assigned and self._update("again", conferencing={"profile_id": self.profile_id}):
            self._seen("again, later", _has_link, self.wait_seconds)
        self._update("unknown profile", conferencing={"profile_id": NO_PROFILE})
        self._write("partial", {"event_id": self.event_id, "description": "partial"})
        explicit = {"profile_id": "explicit", "provider_description": "probe", "join_url": EXPLICIT_LINK}
        self._update("explicit", conferencing=explicit)
        self._update("none", conferencing={"profile_id": "none"})

    def _first(self) -> dict[str, Any]:
        return {
            **self._body(),
            "start": {"time": f"{self._day}T09:00:00Z", "tzid": ZONE},
            "end": {"time": f"{self._day}T09:15:00Z", "tzid": ZONE},
            "description": DESCRIPTION,
            "location": {"description": PLACE},
            "transparency": "transparent",
            "reminders": [],
            "conferencing": {"profile_id": self.profile_id},
        }

    def delete(self) -> None:
        """Delete the event, if it was made: tried for a while, whatever comes in between."""
        if self.deleted:
            return
        create = self.replies.get("create")
        refused = create is not None and not create.failed and not create.accepted
        end = time.monotonic() + DELETING_SECONDS
        while True:
            try:
                reply = self._delete()
            except (CronofyError, RedisError) as error:
                reply = Reply(0, failed=str(error))
            # 404 if there is nothing; but a write that was accepted may come to be later.
            self.deleted = reply.accepted or (reply.status in (404, 410) and refused)
            if self.deleted or reply.status in (400, 403, 422) or time.monotonic() > end:
                return
            time.sleep(1.0)

    def see_deleted(self) -> None:
        """What reads show once it is deleted; if they still show it, it is not."""
        self.deleted = self._seen("gone", lambda event: not event, VISIBLE_SECONDS)
        self.replies["deleted"] = self._read(("include_deleted", "true"))

    # -- steps --------------------------------------------------------------------------------------

    def _ways_to_read(self) -> None:
        around = self._window(-1, 2)
        for name, params in FLAGS.items():
            self.replies[NARROWED + name] = ask_events(self.asking, *params, *around)
        self.replies["other window"] = ask_events(self.asking, *OWN, *self._window(7, 8))
        self.replies["event_ids"] = self._read(("event_ids[]", f"{self.event_id}-another"))

    def _update(self, name: str, **fields: Any) -> bool:
        """Write, and keep what a read shows once it shows this write; returns whether it was accepted."""
        self._step += 1
        if not self._write(name, {**self._body(), **fields}):
            return False
        written = self._summary
        self._seen(f"{name}, read", lambda event: event.get("summary") == written, VISIBLE_SECONDS)
        return True

    # -- calls --------------------------------------------------------------------------------------

    @property
    def _summary(self) -> str:
        return SUMMARY if self._step == 1 else f"{SUMMARY} (step {self._step})"

    @property
    def _day(self) -> str:
        return self._date(0)

    def _date(self, after: int) -> str:
        return (self.today + timedelta(days=DAYS_AHEAD + after)).isoformat()

    def _window(self, first: int, last: int) -> tuple[tuple[str, str], ...]:
        days = (("from", self._date(first)), ("to", self._date(last)))
        return (*days, ("calendar_ids[]", self.calendar_id))

    def _body(self) -> dict[str, Any]:
        return {
            "event_id": self.event_id,
            "summary": self._summary,
            "start": f"{self._day}T09:00:00Z",
            "end": f"{self._day}T09:15:00Z",
        }

    def _write(self, name: str, body: dict[str, Any]) -> bool:
        self.say(f"{name}: writing the probe's own event")
        self.replies[name] = ask(self.asking, "POST", events_path(self.calendar_id), body=body)
        return self.replies[name].accepted

    def _delete(self) -> Reply:
        return ask(self.asking, "DELETE", events_path(self.calendar_id), body={"event_id": self.event_id})

    def _read(self, *more: tuple[str, str]) -> Reply:
        return ask_events(self.asking, *OWN, LOCALIZED, *self._window(-1, 2), *more)

    def _seen(self, name: str, wanted: Callable[[dict[str, Any]], bool], seconds: float) -> bool:
        """Read until the event is as `wanted`, and keep that read; returns whether it ever was.

        `wanted` is given an empty object while there is none.
        """
        begun, pause = time.monotonic(), FIRST_WAIT
        while True:
            reply = self._read()
            after = time.monotonic() - begun
            if not reply.failed and reply.status == 200 and wanted(self._mine(reply)):
                self.replies[name] = replace(reply, after=after)
                return True
            if after + pause > seconds:
                self.replies[name] = Reply(0, failed=f"Not seen within {seconds:.0f} s.")
                return False
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_WAIT)

    def _mine(self, reply: Reply) -> dict[str, Any]:
        mine = [each for each in objects_in(reply.get("events")) if each.get("event_id") == self.event_id]
        return next((event for event in mine if event.get("deleted") is not True), {})


def _has_link(event: dict[str, Any]) -> bool:
    return bool(object_in(event.get("conferencing")).get("join_url"))
