"""The board at `/`: the state of the fleet, and why an event has no link, in a browser.

Its pages only read the ledger. What somebody decides it hands to a worker, as any caller would; a dead letter
it sends again or drops itself, as the command does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Any

import structlog
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from config.logging import redaction_of
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
from worker.intake.replay import DROPPED, REPLAYED
from worker.ledger.connection import BrokerAway, sentence
from worker.ledger.dead_letters import POSITIONAL
from worker.ledger.ledger import Ledger
from worker.ledger.paging import BadCursor
from worker.ledger.records import EventKey
from worker.run.incidents import candidates_for
from worker.web.access import Access
from worker.web.board.account import read_account
from worker.web.board.accounts import read_accounts
from worker.web.board.events import read_events
from worker.web.board.incidents import TASK as DECIDE
from worker.web.board.incidents import decision_of, note_and_end, read_incident, read_incidents
from worker.web.board.letters import read_letter, read_letters
from worker.web.board.listing import Listing
from worker.web.board.mails import read_mails
from worker.web.board.outcomes import read_outcomes
from worker.web.board.overview import read_overview
from worker.web.board.page import NO_BROKER, page, trouble
from worker.web.board.report import read_page
from worker.web.board.search import search
from worker.web.board.sign_in import fields_of, is_foreign, not_signed_in
from worker.web.board.urls import account_url, event_url, incident_url, list_url
from worker.web.board.workers import read_workers_page
from worker.web.ledger_pool import LedgerPool
from worker.web.publisher import Publisher

#: Who decides here, unless they give a name: all share one token.
BOARD = "board"
STATIC = {
    "board.css": "text/css; charset=utf-8",
    "board.js": "text/javascript; charset=utf-8",
    "sign-in.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

Endpoint = Callable[[Request], Awaitable[Response]]

log = structlog.get_logger()


class Board:
    """Answers browsers."""

    def __init__(self, settings: Settings, access: Access, publisher: Publisher) -> None:
        self._settings = settings
        self._access = access
        self._publisher = publisher
        self._pool = LedgerPool(settings, 2, "board", with_vault=True)
        folder = files("worker.web.board") / "static"
        self._redaction = redaction_of(settings)
        self._static = {name: (folder / name).read_bytes() for name in STATIC}

    def routes(self) -> list[Route]:
        """The pages and their static files."""
        settings, redaction = self._settings, self._redaction
        return [
            Route("/", self._page(self.overview)),
            Route("/events", self._list(read_events)),
            Route("/incidents", self._page(self.incidents)),
            Route("/accounts", self._list(read_accounts)),
            Route("/mails", self._list(lambda ledger, given: read_mails(ledger, settings, given))),
            Route("/outcomes", self._list(read_outcomes)),
            Route("/workers", self._list(lambda ledger, _: read_workers_page(ledger, settings))),
            Route("/dead-letters", self._list(lambda ledger, given: read_letters(ledger, redaction, given))),
            Route("/dead-letters/{letter}", self._page(self.letter)),
            Route("/dead-letters/{letter}", self._form(self.handle_letter), methods=["POST"]),
            Route("/report", self._page(self.report)),
            Route("/incidents/{incident}", self._page(self.incident)),
            Route("/incidents/{incident}", self._form(self.decide), methods=["POST"]),
            Route("/board/live", self._page(self.live)),
            Route("/board/search", self._page(self.found)),
            Route("/board/event", self._page(self.event)),
            Route("/board/account", self._page(self.account)),
            Route("/board/acknowledge", self._form(self.acknowledge), methods=["POST"]),
            Route("/board/choose", self._form(self.choose), methods=["POST"]),
            Route("/board/static/{name}", self.static),
        ]

    def close(self) -> None:
        self._pool.close()

    def overview(self, ledger: Ledger, _: Request) -> Response:
        return page("overview.html", board=read_overview(ledger, self._settings))

    def live(self, ledger: Ledger, _: Request) -> Response:
        """The changing part of the first page, for its refresh script."""
        return page("live.html", board=read_overview(ledger, self._settings))

    def found(self, ledger: Ledger, request: Request) -> Response:
        """The search results, or a redirect if there is only one."""
        text = request.query_params.get("q", "")
        found = search(ledger, text)
        if len(found.hits) == 1:
            sub, event = found.hits[0]
            return RedirectResponse(event_url(sub, event.key.calendar_id, event.key.event_id), 303)
        if len(found.accounts) == 1:
            return RedirectResponse(account_url(found.accounts[0]), 303)
        return page("found.html", found=found, q=text)

    def letter(self, ledger: Ledger, request: Request) -> Response:
        """One dead letter, and what can be done with it."""
        shown = read_letter(ledger, self._redaction, request.path_params["letter"])
        if shown is None:
            return _no_letter()
        return self._with_forms(request, "letter.html", shown=shown)

    async def handle_letter(self, request: Request, given: dict[str, str]) -> Response:
        """A dead letter is sent again, or dropped."""
        letter_id = request.path_params["letter"]
        shown = await self._pool.run(read_letter, self._pool.ledger, self._redaction, letter_id)
        if shown is None:
            return _no_letter()
        replays, letter = given.get("what") == "replay", shown.kept.letter
        if "sure" not in given and (shown.brings_back or not replays):
            return _not_done("Tick the box first: this cannot be undone.")
        if replays and shown.kept.obstacle:
            return _not_done(f"It cannot be sent again: {shown.kept.obstacle}.")
        if replays:
            kwargs = dict(letter.kwargs)
            args = kwargs.pop(POSITIONAL, ())
            await self._publisher.publish(letter.task, kwargs, args)
        how = REPLAYED if replays else DROPPED
        await self._pool.run(self._pool.ledger.dead_letters.settle, shown.kept, how, _by(given))
        log.info("letter.handled", letter=letter_id, how=how)
        return RedirectResponse(list_url("/dead-letters", done=how), 303)

    def account(self, ledger: Ledger, request: Request) -> Response:
        shown = read_account(ledger, self._settings, request.query_params.get("account", ""))
        if shown is None:
            return _not_found("Nothing is known of such an account.")
        return self._with_forms(request, "account.html", shown=shown)

    def event(self, ledger: Ledger, request: Request) -> Response:
        """Why one event has no link, as in `explain --offline`."""
        ids = sub, calendar_id, event_id = _ids(request.query_params)
        key = EventKey(calendar_id, event_id)
        case = recorded_case(ledger, self._settings, sub, key)
        if case is None:
            return page("untracked.html", 404, ids=ids, found=not_tracked(ledger, sub, key, at_once=True))
        removed = case.cause is Cause.PROFILE_REMOVED
        return self._with_forms(
            request,
            "event.html",
            case=case,
            candidates=candidates_for(case.event, case.account) if removed else (),
            choice=case.account.choice_about(case.event),
        )

    def report(self, ledger: Ledger, request: Request) -> Response:
        """How the meetings of the last days began."""
        return read_page(ledger, request.query_params.get("days", ""))

    def incidents(self, ledger: Ledger, _: Request) -> Response:
        """What needs a person now."""
        return page("incidents.html", shown=read_incidents(ledger))

    def incident(self, ledger: Ledger, request: Request) -> Response:
        """One incident, and what can be decided about it."""
        incident_id = request.path_params["incident"]
        shown = read_incident(ledger, incident_id)
        if shown is None:
            return _not_found("There is no such incident any more.")
        return self._with_forms(request, "incident.html", shown=shown, action=incident_url(incident_id))

    async def decide(self, request: Request, given: dict[str, str]) -> Response:
        """Something is decided about an incident."""
        incident_id = request.path_params["incident"]
        kwargs = decision_of(incident_id, given, _by(given))
        return await self._send(DECIDE, DecideIncident, kwargs, f"{incident_url(incident_id)}?sent=")

    async def choose(self, _: Request, given: dict[str, str]) -> Response:
        """What takes the place of an event's removed profile, for it or for all; or no more."""
        ids = sub, calendar_id, event_id = _ids(given)
        kwargs: dict[str, Any] = {"sub": sub, "profile_id": given.get("profile", ""), "by": _by(given)}
        if given.get("which") == "one":
            kwargs |= {"calendar_id": calendar_id, "event_id": event_id}
        if "withdraw" in given:
            kwargs["withdraw"], back = True, account_url(sub)
        else:
            kwargs["to_profile_id"], back = given.get("to", ""), event_url(*ids)
        return await self._send("conferencing.choose_profile", ChooseProfile, kwargs, back + "&sent=")

    async def acknowledge(self, _: Request, given: dict[str, str]) -> Response:
        """Somebody answers for an event, or takes that back."""
        ids = sub, calendar_id, event_id = _ids(given)
        kwargs: dict[str, Any] = {"sub": sub, "calendar_id": calendar_id, "event_id": event_id}
        kwargs["by"] = _by(given)
        if "withdraw" in given:
            kwargs["withdraw"] = True
        else:
            kwargs |= note_and_end(given)
        back = event_url(*ids) + "&sent="
        return await self._send("conferencing.acknowledge", AcknowledgeEvent, kwargs, back)

    async def static(self, request: Request) -> Response:
        """The style sheet, script and icon: public, since they reveal nothing."""
        name = request.path_params["name"]
        if name not in self._static:
            return _not_found("There is nothing here.")
        kept = {"Cache-Control": "no-cache"}
        return Response(self._static[name], media_type=STATIC[name], headers=kept)

    async def _send(self, task: str, model: type[Payload], kwargs: dict[str, Any], back: str) -> Response:
        """Hand a task to a worker: on to the page `back` once the broker has it."""
        parse(model, (), kwargs)
        await self._publisher.publish(task, kwargs)
        return RedirectResponse(back, 303)

    def _with_forms(self, request: Request, template: str, **shown: Any) -> Response:
        """A page with forms, perhaps after one of them was sent."""
        sent = "sent" in request.query_params
        return page(template, form=self._access.form(request), sent=sent, **shown)

    def _list(self, read: Callable[[Ledger, Mapping[str, str]], Listing]) -> Endpoint:
        """A page of a list, by the parameters of its address; the first one if its cursor is no good."""

        def show(ledger: Ledger, request: Request) -> Response:
            given = dict(request.query_params)
            try:
                return page("listing.html", shown=read(ledger, given))
            except BadCursor:
                del given["after"]
                return page("listing.html", shown=read(ledger, given))

        return self._page(show)

    def _page(self, show: Callable[[Ledger, Request], Response]) -> Endpoint:
        """The page from `show`."""
        return self._guarded(lambda request: self._pool.run(show, self._pool.ledger, request))

    def _form(self, act: Callable[[Request, dict[str, str]], Awaitable[Response]]) -> Endpoint:
        """What comes of one of our forms; `act` gets its fields."""

        async def checked(request: Request) -> Response:
            given = fields_of(await request.body())
            if is_foreign(request) or not self._access.is_own_form(request, given.get("form", "")):
                text = (
                    "Another site sent you here, or you signed in again since. Try again on the page itself."
                )
                return _not_done(text, 403)
            return await act(request, given)

        return self._guarded(checked)

    def _guarded(self, answer: Endpoint) -> Endpoint:
        """The answer, for whoever may read it; or the page that says why there is none."""

        async def guarded(request: Request) -> Response:
            refused = self._access.board(request)
            if refused is not None:
                return not_signed_in(refused, request)
            try:
                return await answer(request)
            except BadPayload as bad:
                return _not_done(str(bad))
            except BrokerAway as away:
                log.warning("board.put_off", reason=str(away))
                return _not_done(NO_BROKER, 503)
            except RedisError as error:
                log.warning("board.unreadable", reason=type(error).__name__)
                unavailable = (
                    "The ledger is unavailable. Try again, or run reconciler doctor to find out why."
                )
                return trouble(503, "No answer", sentence(error) or unavailable)
            except Exception:
                # A damaged record, for example; only the log says which.
                log.exception("board.failed")
                return trouble(500, "No answer", "This page could not be rendered. The log says why.")

        return guarded


def _not_done(text: str, status: int = 400) -> Response:
    return trouble(status, "Not done", text)


def _not_found(text: str) -> Response:
    return trouble(404, "Not found", text)


def _no_letter() -> Response:
    return _not_found("There is no such dead letter any more: somebody sent it again, or dropped it.")


def _ids(given: Mapping[str, str]) -> tuple[str, str, str]:
    return given.get("account", ""), given.get("calendar", ""), given.get("event", "")


def _by(given: dict[str, str]) -> str:
    return given.get("by", "").strip() or BOARD
