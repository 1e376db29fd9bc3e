"""Cronofy in memory: what a look asks of it and what it is told, without a socket between.

It stands behind the program's own HTTP client, so that what is tried is the client as it is; and it keeps
its own account of what was done to it, in which a wrong write is seen at once.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import httpx

ORIGIN = "https://api.cronofy.test"
#: So small that most reads have several pages.
PAGE = 3
#: Cronofy makes a conference so long after it was asked for, if it can.
GENERATING = timedelta(seconds=20)


class Death(BaseException):
    """The worker's process dies: nobody catches it."""


@dataclass(slots=True)
class Profile:
    """A conferencing profile of a person."""

    profile_id: str
    provider: str
    connected: bool = True
    removed: bool = False
    #: Counts how often it came back: the emails of one disconnection belong together.
    episode: int = 0

    @property
    def works(self) -> bool:
        """Whether conferences can be made with it."""
        return self.connected and not self.removed


@dataclass(slots=True)
class Event:
    """An event as the calendar has it."""

    event_id: str
    start: datetime
    profile_id: str
    asked_at: datetime
    deleted: bool = False
    join_url: str | None = None
    #: No conference comes, and nothing says why.
    stuck: bool = False


@dataclass(slots=True)
class Person:
    """An account: a calendar, profiles, events, and whether we may see them."""

    sub: str
    profiles: dict[str, Profile]
    events: dict[str, Event] = field(default_factory=dict)
    grant: int = 1
    revoked: bool = False
    access_tokens: set[str] = field(default_factory=set)

    @property
    def calendar_id(self) -> str:
        """The id of the only calendar."""
        return f"cal_{self.sub}"

    @property
    def refresh_token(self) -> str:
        """The one that was granted last."""
        return f"refresh:{self.sub}:{self.grant}"


@dataclass(slots=True)
class Written:
    """One Update Event that was carried out."""

    sub: str
    event_id: str
    profile_id: str
    #: Whether its answer reached the program.
    answered: bool = True


Answer = Callable[[httpx.Request], httpx.Response]
Disturbance = Callable[[httpx.Request, Answer], httpx.Response]


class CronofyModel:
    """All that is at Cronofy. `now` is its clock."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        """Nobody is there yet."""
        self.now = now
        self.people: dict[str, Person] = {}
        #: What becomes of the next calls, one each.
        self.disturbances: deque[Disturbance] = deque()
        #: What becomes of every other call.
        self.disturb: Disturbance | None = None
        self.calls = 0
        self.written: list[Written] = []
        #: Whatever was done that must never be done.
        self.wrongs: list[str] = []
        self._pages: dict[str, list[dict[str, Any]]] = {}

    # What people do.

    def join(self, sub: str, profiles: Iterable[tuple[str, str]]) -> Person:
        """Somebody new, with these profiles: (id, provider)."""
        person = Person(sub, {pid: Profile(pid, provider) for pid, provider in profiles})
        self.people[sub] = person
        return person

    def put(self, sub: str, event_id: str, start: datetime, profile_id: str) -> dict[str, Any]:
        """The caller creates an event, or writes it anew; returns the body."""
        person = self.people[sub]
        known = person.events.get(event_id)
        stuck = known.stuck if known else False
        person.events[event_id] = Event(event_id, start, profile_id, self.now(), stuck=stuck)
        return self.body(sub, event_id)

    def body(self, sub: str, event_id: str) -> dict[str, Any]:
        """What the caller writes of this event."""
        event = self.people[sub].events[event_id]
        return {
            "event_id": event_id,
            "summary": f"Meeting {event_id}",
            "description": "Join: {{ cronofy.conferencing.join_url }}",
            "start": _wire(event.start),
            "end": _wire(event.start + timedelta(minutes=30)),
            "attendees": {"invite": [{"email": "guest@example.org"}]},
            "conferencing": {"profile_id": event.profile_id},
        }

    def link(self, sub: str, profile_id: str) -> None:
        """The user connects a profile, or adds it anew."""
        profile = self.people[sub].profiles[profile_id]
        if not profile.works:
            profile.connected, profile.removed = True, False
            profile.episode += 1

    def generate(self) -> None:
        """Make the conferences that can be made."""
        now = self.now()
        for person in self.people.values():
            for event in person.events.values():
                profile = person.profiles[event.profile_id]
                waits = not (event.join_url or event.deleted or event.stuck) and event.start > now
                if waits and profile.works and now - event.asked_at >= GENERATING:
                    event.join_url = f"https://meet.example/{person.sub}/{event.event_id}"

    # What the program asks.

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer a request, undisturbed or not."""
        self.calls += 1
        self.generate()
        disturb = self.disturbances.popleft() if self.disturbances else self.disturb
        return disturb(request, self._answer) if disturb else self._answer(request)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == "/oauth/token":
            return self._token(json.loads(request.content))
        person = self._bearer(request)
        if person is None:
            return httpx.Response(401)
        if path == "/v1/userinfo":
            return httpx.Response(200, json=self._userinfo(person))
        if path == "/v1/batch":
            entries = json.loads(request.content)["batch"]
            statuses = [self._write(person, entry["relative_url"], entry["data"]) for entry in entries]
            return httpx.Response(207, json={"batch": [{"status": status} for status in statuses]})
        if request.method == "POST":
            return httpx.Response(self._write(person, path, json.loads(request.content)))
        if path == "/v1/events":
            return self._page(self._matching(person, request.url.params))
        return self._page(self._pages.pop(path))

    def _token(self, asked: dict[str, Any]) -> httpx.Response:
        sub = asked["refresh_token"].split(":")[1]
        person = self.people[sub]
        if person.revoked or asked["refresh_token"] != person.refresh_token:
            return httpx.Response(400, json={"error": "invalid_grant"})
        token = f"access:{sub}:{self.calls}"
        person.access_tokens.add(token)
        return httpx.Response(200, json={"access_token": token, "token_type": "bearer", "expires_in": 3600})

    def _bearer(self, request: httpx.Request) -> Person | None:
        token = request.headers["Authorization"].removeprefix("Bearer ")
        return next((p for p in self.people.values() if token in p.access_tokens and not p.revoked), None)

    def _userinfo(self, person: Person) -> dict[str, Any]:
        listed = [profile for profile in person.profiles.values() if not profile.removed]
        calendar = {"calendar_id": person.calendar_id, "calendar_name": "Home"}
        return {
            "sub": person.sub,
            "email": f"{person.sub}@example.org",
            "cronofy.type": "account",
            "cronofy.data": {
                "profiles": [
                    {
                        "profile_id": f"calendars_{person.sub}",
                        "provider_name": "google",
                        "profile_connected": True,
                        "profile_calendars": [calendar],
                    }
                ],
                "conferencing_profiles": [_listed(person, profile) for profile in listed],
            },
        }

    def _matching(self, person: Person, params: httpx.QueryParams) -> list[dict[str, Any]]:
        first, last = params.get("from"), params.get("to")
        wanted = params.get_list("calendar_ids[]")
        return [
            _shown(person, event)
            for event in person.events.values()
            if (not wanted or person.calendar_id in wanted)
            and (not event.deleted or "include_deleted" in params)
            and (not first or date.fromisoformat(first) <= event.start.date() < date.fromisoformat(last))
        ]

    def _page(self, events: list[dict[str, Any]]) -> httpx.Response:
        page: dict[str, Any] = {"pages": {}, "events": events[:PAGE]}
        if len(events) > PAGE:
            path = f"/v1/events/pages/{self.calls}"
            self._pages[path] = events[PAGE:]
            page["pages"]["next_page"] = ORIGIN + path
        return httpx.Response(200, json=page)

    def _write(self, person: Person, path: str, body: dict[str, Any]) -> int:
        event, profile_id = person.events.get(body["event_id"]), body["conferencing"]["profile_id"]
        profile = person.profiles.get(profile_id)
        name, now = f"{person.sub}/{body['event_id']}", self.now()
        if unquote(path.split("/")[3]) != person.calendar_id or event is None:
            self.wrongs.append(f"{name} was written, which is no event")
            return 404
        if event.deleted or event.join_url or event.start <= now:
            state = "deleted" if event.deleted else "assigned" if event.join_url else "past"
            self.wrongs.append(f"{name} was written, which is {state}")
        if body["start"] != _wire(event.start):
            self.wrongs.append(f"{name} was moved from {_wire(event.start)} to {body['start']}")
        if "attendees" in body:
            self.wrongs.append(f"{name} was written with attendees")
        if not person.profiles[event.profile_id].removed and not self._repeated(person, event, profile_id):
            self.wrongs.append(f"{name} was written, whose profile is there")
        if profile is None or not profile.works:
            self.wrongs.append(f"{name} was given {profile_id}, which does not work")
            return 422
        self.written.append(Written(person.sub, event.event_id, profile_id))
        event.profile_id, event.asked_at = profile_id, now
        return 202

    def _repeated(self, person: Person, event: Event, profile_id: str) -> bool:
        """Whether this very write was carried out before, and its answer was lost."""
        before = [w for w in self.written if (w.sub, w.event_id) == (person.sub, event.event_id)]
        return bool(before) and not before[-1].answered and before[-1].profile_id == profile_id

    # What may become of a call, beside its answer.

    def unheard(self, request: httpx.Request, answer: Answer) -> httpx.Response:
        """The request is carried out, and its answer is lost."""
        self._carry_out(request, answer)
        raise httpx.ReadTimeout("no answer", request=request)

    def death_before(self, _request: httpx.Request, _answer: Answer) -> httpx.Response:
        """The worker dies before the request is sent."""
        raise Death

    def death_after(self, request: httpx.Request, answer: Answer) -> httpx.Response:
        """The request is carried out, and the worker dies before it knows."""
        self._carry_out(request, answer)
        raise Death

    def _carry_out(self, request: httpx.Request, answer: Answer) -> None:
        known = len(self.written)
        answer(request)
        for written in self.written[known:]:
            written.answered = False


def meanwhile(act: Callable[[], object]) -> Disturbance:
    """Somebody does this while the call is under way."""

    def disturb(request: httpx.Request, answer: Answer) -> httpx.Response:
        response = answer(request)
        act()
        return response

    return disturb


def _wire(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _listed(person: Person, profile: Profile) -> dict[str, Any]:
    listed = {
        "profile_id": profile.profile_id,
        "provider_name": profile.provider,
        "profile_name": profile.profile_id,
        "profile_connected": profile.connected,
    }
    if not profile.connected:
        address = f"https://app.cronofy.com/relink/{person.sub}/{profile.profile_id}/{profile.episode}"
        listed["profile_relink_url"] = address
    return listed


def _shown(person: Person, event: Event) -> dict[str, Any]:
    conferencing: dict[str, Any] = {"pending": True}
    if event.join_url:
        conferencing = {"join_url": event.join_url, "provider_name": "zoom"}
    return {
        "calendar_id": person.calendar_id,
        "event_id": event.event_id,
        "event_uid": f"uid_{event.event_id}",
        "summary": f"Meeting {event.event_id}",
        "start": _wire(event.start),
        "end": _wire(event.start + timedelta(minutes=30)),
        "deleted": event.deleted,
        "conferencing": conferencing,
    }


def answers(status: int, **headers: str) -> Disturbance:
    """Cronofy answers with this status, and nothing is done."""
    return lambda _request, _answer: httpx.Response(status, headers=headers, text="<html>Sorry</html>")


def silence(request: httpx.Request, _answer: Answer) -> httpx.Response:
    """The request does not arrive."""
    raise httpx.ConnectTimeout("no answer", request=request)


def nonsense(_request: httpx.Request, _answer: Answer) -> httpx.Response:
    """Something on the way answers in Cronofy's place."""
    return httpx.Response(200, text="<html>Welcome</html>")
