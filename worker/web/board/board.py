"""The board at `/`: the state of the fleet, and why an event has no link, in a browser.

Its pages only read the ledger. What somebody decides it hands to a worker, as any caller would; a dead letter
it sends again or drops itself, as the command does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
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
from worker.ledger.records import EventKey
from worker.run.incidents import candidates_for
from worker.web.access import Access
from worker.web.board.account import read_account
from worker.web.board.accounts import read_accounts
from worker.web.board.events import read_events
from worker.web.board.incidents import TASK as DECIDE
from worker.web.board.incidents import decision_of, read_incident, read_incidents
from worker.web.board.letters import read_letter, read_letters
from worker.web.board.listing import Listing
from worker.web.board.mails import read_mails
from worker.web.board.outcomes import read_outcomes
from worker.web.board.overview import read_overview
from worker.web.board.page import page
from worker.web.board.report import read_page
from worker.web.board.search import search
from worker.web.board.sign_in import fields_of, is_foreign, not_signed_in
from worker.web.board.urls import account_url, event_url, incident_url, list_url
from worker.web.board.workers import read_workers_page
from worker.web.ledger_pool import LedgerPool
from worker.web.publisher import Publisher

#: What the forms hand to the workers.
TASKS: dict[type[Payload], str] = {
    AcknowledgeEvent: "conferencing.acknowledge",
    ChooseProfile: "conferencing.choose_profile",
    DecideIncident: DECIDE,
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
        self._pool = LedgerPool(settings, 2, "board", with_vault=True)
        folder = files("worker.web.board") / "static"
        self._redaction = redaction_of(settings)
        self._static = {name: (folder / name).read_bytes() for name in STATIC}

    def routes(self) -> list[Route]:
        """The pages and their static files."""
        return [
            Route("/", self.overview),
            Route("/events", self.events, methods=["GET"]),
            Route("/incidents", self.incidents, methods=["GET"]),
            Route("/accounts", self.accounts, methods=["GET"]),
            Route("/mails", self.mails, methods=["GET"]),
            Route("/outcomes", self.outcomes, methods=["GET"]),
            Route("/workers", self.workers, methods=["GET"]),
            Route("/dead-letters", self.letters, methods=["GET"]),
            Route("/dead-letters/{letter}", self.letter, methods=["GET"]),
            Route("/dead-letters/{letter}", self.handle_letter, methods=["POST"]),
            Route("/report", self.report, methods=["GET"]),
            Route("/incidents/{incident}", self.incident, methods=["GET"]),
            Route("/incidents/{incident}", self.decide, methods=["POST"]),
            Route("/board/live", self.live),
            Route("/board/search", self.found),
            Route("/board/event", self.event),
            Route("/board/account", self.account),
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
            if len(found.hits) == 1:
                hit = found.hits[0]
                return RedirectResponse(event_url(hit.sub, hit.calendar_id, hit.event_id), 303)
            if len(found.accounts) == 1:
                return RedirectResponse(account_url(found.accounts[0]), 303)
            return page("found.html", found=found, q=text)

        return await self._answer(request, find)

    async def events(self, request: Request) -> Response:
        """Pending events that have something in common, a page at a time."""
        return await self._list(request, lambda ledger: read_events(ledger, request.query_params))

    async def accounts(self, request: Request) -> Response:
        """All accounts, or those in one state."""
        return await self._list(request, lambda ledger: read_accounts(ledger, request.query_params))

    async def mails(self, request: Request) -> Response:
        """The emails that wait, and those that left."""
        given = request.query_params
        return await self._list(request, lambda ledger: read_mails(ledger, self._settings, given))

    async def outcomes(self, request: Request) -> Response:
        """The outcomes that the stream still has."""
        return await self._list(request, lambda ledger: read_outcomes(ledger, request.query_params))

    async def workers(self, request: Request) -> Response:
        """The workers and the queues."""
        return await self._list(request, lambda ledger: read_workers_page(ledger, self._settings))

    async def letters(self, request: Request) -> Response:
        """The dead letters."""
        given = request.query_params
        done = {"replayed": "Sent again.", "dropped": "Dropped."}.get(given.get("done", ""), "")
        return await self._list(request, lambda ledger: read_letters(ledger, self._redaction, given), done)

    async def letter(self, request: Request) -> Response:
        """One dead letter, and what can be done with it."""

        def show(ledger: Ledger) -> Response:
            shown = read_letter(ledger, self._redaction, request.path_params["letter"])
            if shown is None:
                return _no_letter()
            return page("letter.html", shown=shown, form=self._access.form(request))

        return await self._answer(request, show)

    async def handle_letter(self, request: Request) -> Response:
        """A dead letter is sent again, or dropped."""
        given, refusal = await self._own_form(request)
        if refusal is not None:
            return refusal
        return await self._guarded(self._handle(request.path_params["letter"], given))

    async def _handle(self, letter_id: str, given: dict[str, str]) -> Response:
        shown = await self._pool.run(read_letter, self._pool.ledger, self._redaction, letter_id)
        if shown is None:
            return _no_letter()
        replays, letter = given.get("what") == "replay", shown.kept.letter
        if "sure" not in given and (shown.brings_back or not replays):
            return _not_done("Tick the box first: this cannot be undone.")
        if replays and shown.obstacle:
            return _not_done(f"It cannot be sent again: {shown.obstacle}.")
        if replays:
            kwargs = dict(letter.kwargs)
            args = kwargs.pop(POSITIONAL, ())
            await self._publisher.publish(letter.task, kwargs, args=args)
        how = REPLAYED if replays else DROPPED
        await self._pool.run(self._pool.ledger.dead_letters.settle, shown.kept, how, _by(given))
        log.info("letter.handled", letter=letter_id, how=how)
        return RedirectResponse(list_url("/dead-letters", done=how), 303)

    async def account(self, request: Request) -> Response:
        """One account."""
        sub = request.query_params.get("account", "")

        def show(ledger: Ledger) -> Response:
            shown = read_account(ledger, self._settings, sub)
            if shown is None:
                return _not_found("Nothing is known of such an account.")
            sent = "sent" in request.query_params
            return page("account.html", shown=shown, form=self._access.form(request), sent=sent)

        return await self._answer(request, show)

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
                return page("untracked.html", 404, ids=ids, found=not_tracked(ledger, sub, key, at_once=True))
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
        return await self._answer(
            request, lambda ledger: page("incidents.html", shown=read_incidents(ledger))
        )

    async def incident(self, request: Request) -> Response:
        """One incident, and what can be decided about it."""
        incident_id = request.path_params["incident"]

        def show(ledger: Ledger) -> Response:
            shown = read_incident(ledger, incident_id)
            if shown is None:
                return _not_found("There is no such incident any more.")
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
        """What takes the place of an event's removed profile, for it or for all; or no more."""

        def choice(given: dict[str, str]) -> tuple[type[Payload], dict[str, Any], str]:
            ids = _ids(given)
            kwargs: dict[str, Any] = {"sub": ids[0], "profile_id": given.get("profile", ""), "by": _by(given)}
            if given.get("which") == "one":
                kwargs |= {"calendar_id": ids[1], "event_id": ids[2]}
            if "withdraw" in given:
                return ChooseProfile, {**kwargs, "withdraw": True}, account_url(ids[0]) + "&sent="
            kwargs["to_profile_id"] = given.get("to", "")
            return ChooseProfile, kwargs, event_url(*ids) + "&sent="

        return await self._send(request, choice)

    async def acknowledge(self, request: Request) -> Response:
        """Somebody answers for an event, or takes that back."""

        def answer(given: dict[str, str]) -> tuple[type[Payload], dict[str, Any], str]:
            ids = _ids(given)
            kwargs: dict[str, Any] = dict(
                zip(("sub", "calendar_id", "event_id"), ids, strict=True), by=_by(given)
            )
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
        given, refusal = await self._own_form(request)
        if refusal is not None:
            return refusal
        return await self._guarded(self._hand_over(*read(given)))

    async def _hand_over(self, model: type[Payload], kwargs: dict[str, Any], back: str) -> Response:
        parse(model, (), kwargs)
        await self._publisher.publish(TASKS[model], kwargs)
        return RedirectResponse(back, 303)

    async def _own_form(self, request: Request) -> tuple[dict[str, str], Response | None]:
        """The fields of one of our forms; or why it is refused."""
        refused = self._access.board(request)
        if refused is not None:
            return {}, not_signed_in(refused, request)
        given = fields_of(await request.body())
        if is_foreign(request) or not self._access.is_own_form(request, given.get("form", "")):
            text = "Another site sent you here, or you signed in again since. Try again on the page itself."
            return {}, _not_done(text, 403)
        return given, None

    async def static(self, request: Request) -> Response:
        """The style sheet, script and icon: public, since they reveal nothing."""
        name = request.path_params["name"]
        if name not in self._static:
            return _not_found("There is nothing here.")
        kept = {"Cache-Control": "no-cache"}
        return Response(self._static[name], media_type=STATIC[name], headers=kept)

    async def _list(self, request: Request, read: Callable[[Ledger], Listing], sent: str = "") -> Response:
        """A page of a list, perhaps with what was just done."""
        return await self._answer(request, lambda ledger: page("listing.html", shown=read(ledger), sent=sent))

    async def _answer(self, request: Request, show: Callable[[Ledger], Response]) -> Response:
        """The page from `show`, for whoever may read it; 503 if the ledger is down, 500 if `show` fails."""
        refused = self._access.board(request)
        if refused is not None:
            return not_signed_in(refused, request)
        return await self._guarded(self._pool.run(show, self._pool.ledger))

    async def _guarded(self, answer: Awaitable[Response]) -> Response:
        """The answer; or the page that says why there is none."""
        try:
            return await answer
        except BadPayload as bad:
            return _not_done(str(bad))
        except BrokerAway as away:
            log.warning("board.put_off", reason=str(away))
            return _not_done("The broker is unavailable, so no worker heard of it. Try again.", 503)
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


def _not_done(text: str, status: int = 400) -> Response:
    return page("trouble.html", status, title="Not done", text=text)


def _not_found(text: str) -> Response:
    return page("trouble.html", 404, title="Not found", text=text)


def _no_letter() -> Response:
    return _not_found("There is no such dead letter any more: somebody sent it again, or dropped it.")


def _ids(given: dict[str, str]) -> tuple[str, str, str]:
    return given.get("account", ""), given.get("calendar", ""), given.get("event", "")


def _by(given: dict[str, str]) -> str:
    return given.get("by", "").strip() or BOARD
