"""The board at `/`: the state of the fleet, and why an event has no link, in a browser.

It only reads the ledger. What somebody decides it hands to a worker, as any caller would.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

import structlog
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from config.queues import Queues
from config.settings import Settings
from worker.diagnosis.model import Cause
from worker.explain.explanation import not_tracked, recorded_case
from worker.intake.payloads import (
    AcknowledgeEvent,
    BadPayload,
    ChooseProfile,
    DecideIncident,
    Payload,
    parse,
)
from worker.ledger.connection import BrokerAway, sentence
from worker.ledger.ledger import Ledger
from worker.ledger.records import EventKey
from worker.run.incidents import candidates_for
from worker.web.access import Access
from worker.web.board.events import read_events
from worker.web.board.incidents import TASK as DECIDE
from worker.web.board.incidents import decision_of, read_incident, read_incidents
from worker.web.board.overview import read_overview
from worker.web.board.page import event_url, incident_url, page
from worker.web.board.report import read_page
from worker.web.board.search import search
from worker.web.board.sign_in import fields_of, is_foreign, not_signed_in
from worker.web.ledger_pool import LedgerPool
from worker.web.publisher import Publisher

#: What the forms hand to the workers: each task with its queue.
TASKS: dict[type[Payload], tuple[str, str]] = {
    AcknowledgeEvent: ("conferencing.acknowledge", "intake"),
    ChooseProfile: ("conferencing.choose_profile", "urgent"),
    DecideIncident: (DECIDE, "urgent"),
}
#: Who decides here, unless they give a name: all share one token.
BOARD = "board"
STATIC = {
    "board.css": "text/css; charset=utf-8",
    "board.js": "text/javascript; charset=utf-8",
    "sign-in.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

log = structlog.get_logger()


class Board:
    """Answers browsers."""

    def __init__(self, settings: Settings, access: Access, publisher: Publisher) -> None:
        self._settings = settings
        self._access = access
        self._publisher = publisher
        self._queues = Queues.of(settings.key_prefix)
        self._pool = LedgerPool(settings, 2, "board")
        folder = files("worker.web.board") / "static"
        self._static = {name: (folder / name).read_bytes() for name in STATIC}

    def routes(self) -> list[Route]:
        """The pages and their static files."""
        return [
            Route("/", self.overview),
            Route("/events", self.events, methods=["GET"]),
            Route("/incidents", self.incidents, methods=["GET"]),
            Route("/report", self.report, methods=["GET"]),
            Route("/incidents/{incident}", self.incident, methods=["GET"]),
            Route("/incidents/{incident}", self.decide, methods=["POST"]),
            Route("/board/live", self.live),
            Route("/board/search", self.found),
            Route("/board/event", self.event),
            Route("/board/acknowledge", self.acknowledge, methods=["POST"]),
            Route("/board/choose", self.choose, methods=["POST"]),
            Route("/board/static/{name}", self.static),
        ]

    def close(self) -> None:
        """End the threads and close the connections."""
        self._pool.close()

    async def overview(self, request: Request) -> Response:
        """The first page."""
        return await self._answer(
            request, lambda ledger: page("overview.html", board=read_overview(ledger, self._settings))
        )

    async def live(self, request: Request) -> Response:
        """The changing part of the first page, for its refresh script."""
        return await self._answer(
            request, lambda ledger: page("live.html", board=read_overview(ledger, self._settings))
        )

    async def found(self, request: Request) -> Response:
        """The search results, or a redirect if there is only one."""
        text = request.query_params.get("q", "")

        def find(ledger: Ledger) -> Response:
            found = search(ledger, text)
            if len(found.hits) == 1 and not found.partly:
                hit = found.hits[0]
                return RedirectResponse(event_url(hit.sub, hit.calendar_id, hit.event_id), 303)
            return page("found.html", found=found, q=text)

        return await self._answer(request, find)

    async def events(self, request: Request) -> Response:
        """Pending events that have something in common, a page at a time."""
        return await self._answer(
            request, lambda ledger: page("events.html", found=read_events(ledger, request.query_params))
        )

    async def event(self, request: Request) -> Response:
        """Why one event has no link, as in `explain --offline`."""
        sub, calendar_id, event_id = (
            request.query_params.get(name, "") for name in ("account", "calendar", "event")
        )

        def show(ledger: Ledger) -> Response:
            key = EventKey(calendar_id, event_id)
            case = recorded_case(ledger, self._settings, sub, key)
            if case is None:
                ids = sub, calendar_id, event_id
                return page("untracked.html", 404, ids=ids, found=not_tracked(ledger, sub, key))
            sent = "sent" in request.query_params
            removed = case.cause is Cause.PROFILE_REMOVED
            return page(
                "event.html",
                case=case,
                sent=sent,
                form=self._access.form(request),
                candidates=candidates_for(case.event, case.account) if removed else (),
                choice=case.account.choice_about(case.event),
            )

        return await self._answer(request, show)

    async def report(self, request: Request) -> Response:
        """How the meetings of the last days began."""
        return await self._answer(
            request, lambda ledger: read_page(ledger, request.query_params.get("days", ""))
        )

    async def incidents(self, request: Request) -> Response:
        """What needs a person now."""
        return await self._answer(request, lambda ledger: page("incidents.html", rows=read_incidents(ledger)))

    async def incident(self, request: Request) -> Response:
        """One incident, and what can be decided about it."""
        incident_id = request.path_params["incident"]

        def show(ledger: Ledger) -> Response:
            shown = read_incident(ledger, incident_id)
            if shown is None:
                return page(
                    "trouble.html", 404, title="Not found", text="There is no such incident any more."
                )
            form, action = self._access.form(request), incident_url(incident_id)
            sent = "sent" in request.query_params
            return page("incident.html", shown=shown, action=action, form=form, sent=sent)

        return await self._answer(request, show)

    async def decide(self, request: Request) -> Response:
        """Something is decided about an incident."""
        incident_id = request.path_params["incident"]
        back = f"{incident_url(incident_id)}?sent="
        return await self._send(
            request, lambda given: (DecideIncident, decision_of(incident_id, given, _by(given)), back)
        )

    async def choose(self, request: Request) -> Response:
        """What takes the place of an event's removed profile, for it alone or all of its account."""

        def choice(given: dict[str, str]) -> tuple[type[Payload], dict[str, Any], str]:
            ids = _ids(given)
            kwargs = {"sub": ids[0], "profile_id": given.get("profile", ""), "by": _by(given)}
            kwargs["to_profile_id"] = given.get("to", "")
            if given.get("which") == "one":
                kwargs |= {"calendar_id": ids[1], "event_id": ids[2]}
            return ChooseProfile, kwargs, event_url(*ids) + "&sent="

        return await self._send(request, choice)

    async def acknowledge(self, request: Request) -> Response:
        """Somebody answers for an event, or takes that back."""

        def answer(given: dict[str, str]) -> tuple[type[Payload], dict[str, Any], str]:
            ids = _ids(given)
            kwargs: dict[str, Any] = dict(zip(("sub", "calendar_id", "event_id"), ids, strict=True), by=BOARD)
            if "withdraw" in given:
                kwargs["withdraw"] = True
            else:
                kwargs |= {name: given[name] for name in ("note", "until") if given.get(name)}
            return AcknowledgeEvent, kwargs, event_url(*ids) + "&sent="

        return await self._send(request, answer)

    async def _send(
        self, request: Request, read: Callable[[dict[str, str]], tuple[type[Payload], dict[str, Any], str]]
    ) -> Response:
        """Hand what one of our forms says to a worker: on to its page once the broker has the task.

        `read` makes of its fields the task's payload and arguments, and the page's address.
        """
        refused = self._access.board(request)
        if refused is not None:
            return not_signed_in(refused, request)
        given = fields_of(await request.body())
        if is_foreign(request) or not self._access.is_own_form(request, given.get("form", "")):
            text = "Another site sent you here, or you signed in again since. Try again on the page itself."
            return page("trouble.html", 403, title="Not done", text=text)
        model, kwargs, back = read(given)
        try:
            parse(model, (), kwargs)
            task, queue = TASKS[model]
            await self._publisher.publish(task, kwargs, getattr(self._queues, queue))
        except BadPayload as bad:
            return page("trouble.html", 400, title="Not done", text=str(bad))
        except BrokerAway as away:
            log.warning("board.put_off", reason=str(away))
            text = "The broker is unavailable, so no worker heard of it. Try again."
            return page("trouble.html", 503, title="Not done", text=text)
        return RedirectResponse(back, 303)

    async def static(self, request: Request) -> Response:
        """The style sheet, script and icon: public, since they reveal nothing."""
        name = request.path_params["name"]
        if name not in self._static:
            return page("trouble.html", 404, title="Not found", text="There is nothing here.")
        kept = {"Cache-Control": "no-cache"}
        return Response(self._static[name], media_type=STATIC[name], headers=kept)

    async def _answer(self, request: Request, show: Callable[[Ledger], Response]) -> Response:
        """The page from `show`, for whoever may read it; 503 if the ledger is down, 500 if `show` fails."""
        refused = self._access.board(request)
        if refused is not None:
            return not_signed_in(refused, request)
        try:
            return await self._pool.run(show, self._pool.ledger)
        except RedisError as error:
            log.warning("board.unreadable", reason=type(error).__name__)
            unavailable = "The ledger is unavailable. Try again, or run reconciler doctor to find out why."
            text = sentence(error) or unavailable
            return page("trouble.html", 503, title="No answer", text=text)
        except Exception:
            # A damaged record, for example; only the log says which.
            log.exception("board.failed")
            text = "This page could not be rendered. The log says why."
            return page("trouble.html", 500, title="No answer", text=text)


def _ids(given: dict[str, str]) -> tuple[str, str, str]:
    return given.get("account", ""), given.get("calendar", ""), given.get("event", "")


def _by(given: dict[str, str]) -> str:
    return given.get("by", "").strip() or BOARD
