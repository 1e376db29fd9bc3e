"""Cronofy for the simulation: the sandbox in this process, on the simulated clock.

It is behind the program's own HTTP client. The program's writes are checked before they are carried out, and
calls can be made to fail.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx

from sandbox.options import SandboxOptions
from sandbox.server import build_app
from sandbox.state import Sandbox
from sandbox.world.accounts import Account, Calendar, CalendarProfile, ConferencingProfile
from sandbox.world.events import Event
from sandbox.world.moments import Moment, utc_text
from sandbox.world.registry import Unknown
from sandbox.world.world import World
from worker.diagnosis.replacement import WITHOUT_PROFILE

ORIGIN = "https://api.cronofy.test"
SECRET = "simulated-secret"
OPTIONS = SandboxOptions(
    client_id="simulated-client",
    client_secrets=(SECRET,),
    public_url="https://app.cronofy.com",
    per_second=0,
    per_minute=0,
    page_size=3,  # so that most reads have several pages
    generation_seconds=20,
    retry_seconds=20,
)
HALF_AN_HOUR = timedelta(minutes=30)
#: Where the company's own rooms are.
ROOMS = "https://meet.example.com/{key}"
#: Statuses the program may cause; any other is the program's fault. 400: revoked.
EXPECTED = frozenset({200, 202, 207, 400, 401})


#: On these accounts, this profile is another person's, as when two people linked theirs in one browser.
LINKED = {"bob": "z2", "acc1": "z2"}


def name_of(sub: str, profile_id: str) -> str:
    """What a conferencing profile is named: its owner's email address."""
    return "lee@example.org" if LINKED.get(sub) == profile_id else "dana@example.org"


class Death(BaseException):
    """The worker's process dies: nothing catches it."""


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


class _Watched(World):
    """A world that passes each of the program's writes to `watch` before carrying it out."""

    watch: Callable[[Account, str, dict[str, Any]], None]

    def upsert(self, account: Account, calendar_id: str, body: dict[str, Any], via: str = "event") -> None:
        if via != "sandbox":
            self.watch(account, calendar_id, body)
        super().upsert(account, calendar_id, body, via)


class Cronofy:
    """The sandbox, and the faults of calls to it."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        """Starts without accounts; `clock` is read once per call."""
        self._clock = clock
        self._loop = asyncio.new_event_loop()
        self.begin()

    def begin(self) -> None:
        #: What happens to the next calls, one each.
        self.disturbances: deque[Disturbance] = deque()
        #: What happens to every other call.
        self.disturb: Disturbance | None = None
        self.calls = 0
        self.written: list[Written] = []
        #: Forbidden actions that happened.
        self.wrongs: list[str] = []
        #: How long before its start an event may get the last resort; None if that is off.
        self.last_resort: timedelta | None = None
        #: The room that each event was given.
        self.rooms: dict[str, str] = {}
        self._present = self._clock()
        sandbox = Sandbox(OPTIONS)
        sandbox.world = self.world = _Watched(lambda: OPTIONS, lambda *_: None, lambda: self._present)
        self.world.watch = self._watch
        self._asgi = httpx.ASGITransport(build_app(sandbox))

    def close(self) -> None:
        self._loop.close()

    # State.

    def join(self, sub: str, profiles: Iterable[tuple[str, str]]) -> None:
        """Add a person with one calendar and these conferencing profiles: (id, provider)."""
        calendar = Calendar(calendar_id=calendar_of(sub))
        account = Account(sub=sub, calendar_profiles=[CalendarProfile(calendars=[calendar])])
        self.world.registry.add_account(account)
        for profile_id, provider in profiles:
            self.connect(sub, profile_id, provider)

    def connect(self, sub: str, profile_id: str, provider: str, name: str | None = None) -> None:
        """Add a conferencing profile whose relink URL names its owner; events that asked for it get it."""
        profile = ConferencingProfile(
            profile_id=profile_id,
            provider_name=provider,
            profile_name=name or name_of(sub, profile_id),
            relink_token=f"{sub}.{profile_id}",
        )
        self.world.registry.add_profile(sub, profile)
        for event in self.events(sub):
            if event.profile_id == profile_id:
                self.stick(event, self.is_stuck(event))

    def subs(self) -> list[str]:
        return [account.sub for account in self.world.registry.accounts()]

    def account(self, sub: str) -> Account:
        return self.world.registry.account(sub)

    def profile(self, sub: str, profile_id: str) -> ConferencingProfile | None:
        return self.account(sub).conferencing_profile(profile_id)

    def works(self, sub: str, profile_id: str) -> bool:
        profile = self.profile(sub, profile_id)
        return profile is not None and profile.connected

    def event(self, sub: str, event_id: str) -> Event | None:
        """An event that was written, deleted or not."""
        try:
            return self.world.event(calendar_of(sub), event_id)
        except Unknown:
            return None

    def events(self, sub: str) -> list[Event]:
        return list(self.world.events(calendar_of(sub)))

    def is_stuck(self, event: Event) -> bool:
        return (event.calendar_id, event.event_id) in self.world.stuck

    def stick(self, event: Event, stuck: bool) -> None:
        """Keep this event without a conference, or stop doing so."""
        self.world.set_stuck(event.calendar_id, event.event_id or "", stuck)

    def advance(self) -> None:
        """Do what Cronofy does up to now."""
        self._present = self._clock()
        self.world.advance()

    # The program's requests.

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        self.advance()
        disturb = self.disturbances.popleft() if self.disturbances else self.disturb
        return disturb(request, self._answer) if disturb else self._answer(request)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        response = self._loop.run_until_complete(self._ask(request))
        batch = response.json()["batch"] if request.url.path == "/v1/batch" and response.is_success else []
        for status in (response.status_code, *(entry["status"] for entry in batch)):
            if status not in EXPECTED:
                self.wrongs.append(f"{request.method} {request.url} was answered {status}: {response.text}")
        return response

    async def _ask(self, request: httpx.Request) -> httpx.Response:
        response = await self._asgi.handle_async_request(request)
        return httpx.Response(response.status_code, headers=response.headers, content=await response.aread())

    def _watch(self, account: Account, calendar_id: str, body: dict[str, Any]) -> None:
        profile_id = body["conferencing"]["profile_id"]
        name, event = f"{account.sub}/{body['event_id']}", self.event(account.sub, body["event_id"])
        if event is None or calendar_id != event.calendar_id:
            self.wrongs.append(f"{name} was written, which is no event")
            return
        start = event.start.instant()
        if event.deleted or event.cancelled or join_url(event) or start <= self._present:
            gone = "deleted" if event.deleted else "cancelled" if event.cancelled else ""
            state = gone or ("assigned" if join_url(event) else "past")
            self.wrongs.append(f"{name} was written, which is {state}")
        if Moment.parse(body["start"], "Etc/UTC").instant() != start:
            self.wrongs.append(f"{name} was moved from {start} to {body['start']}")
        if "attendees" in body:
            self.wrongs.append(f"{name} was written with attendees")
        near = self.last_resort is not None and start - self._present <= self.last_resort
        there = self.profile(account.sub, event.profile_id or "")
        if there and not near and not self._repeated(name, profile_id):
            self.wrongs.append(f"{name} was written, whose profile is there")
        if profile_id == "explicit":
            if not near:
                self.wrongs.append(f"{name} was given a room long before it starts")
            room = body["conferencing"].get("join_url")
            if room and self.rooms.setdefault(name, room) != room:
                self.wrongs.append(f"{name} was given another room: {room}")
        # A person may also have chosen that no profile is named.
        elif not self.works(account.sub, profile_id) and profile_id not in WITHOUT_PROFILE:
            self.wrongs.append(f"{name} was given {profile_id}, which does not work")
        former = name_of(account.sub, event.profile_id or "")
        if name_of(account.sub, profile_id) not in (account.email, former):
            self.wrongs.append(f"{name} was given {profile_id}, which is another person's")
        self.written.append(Written(account.sub, body["event_id"], profile_id))

    def _repeated(self, name: str, profile_id: str) -> bool:
        """Whether this same write was carried out before and its answer lost."""
        before = [w for w in self.written if f"{w.sub}/{w.event_id}" == name]
        return bool(before) and not before[-1].answered and before[-1].profile_id == profile_id

    # Ways for a call to fail.

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
    """Something happens during the call."""

    def disturb(request: httpx.Request, answer: Answer) -> httpx.Response:
        response = answer(request)
        act()
        return response

    return disturb


def answers(status: int, **headers: str) -> Disturbance:
    """Cronofy answers with this status and does nothing."""
    return lambda _request, _answer: httpx.Response(status, headers=headers, text="<html>Sorry</html>")


def silence(request: httpx.Request, _answer: Answer) -> httpx.Response:
    """The request does not arrive."""
    raise httpx.ConnectTimeout("no answer", request=request)


def nonsense(_request: httpx.Request, _answer: Answer) -> httpx.Response:
    """Something in between answers instead of Cronofy."""
    return httpx.Response(200, text="<html>Welcome</html>")


def calendar_of(sub: str) -> str:
    return f"cal_{sub}"


def join_url(event: Event) -> str | None:
    return (event.conferencing or {}).get("join_url")


def body_of(event_id: str, start: datetime, profile_id: str) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "summary": f"Meeting {event_id}",
        "description": "Join: {{ cronofy.conferencing.join_url }}",
        "start": utc_text(start),
        "end": utc_text(start + HALF_AN_HOUR),
        "attendees": {"invite": [{"email": "guest@example.org"}]},
        "conferencing": {"profile_id": profile_id},
    }
