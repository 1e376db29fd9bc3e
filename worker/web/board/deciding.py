"""`/decide/TOKEN`: where the link in an email about an incident leads, without signing in.

Whoever has the link may decide about that incident, once, for a week. Opening it changes nothing, since mail
scanners follow every link; its form hands the decision to a worker.
"""

from __future__ import annotations

import structlog
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from config.settings import Settings
from worker.intake.payloads import BadPayload, DecideIncident, parse
from worker.ledger.connection import BrokerAway
from worker.ledger.opening import vault_of
from worker.mail.decision_links import PATH, DecisionLink, read_link
from worker.web.board.incidents import TASK, IncidentPage, decision_of, read_incident
from worker.web.board.page import NO_BROKER, page, trouble
from worker.web.board.sign_in import fields_of, is_foreign
from worker.web.ledger_pool import LedgerPool
from worker.web.publisher import Publisher

#: Longer than any name.
LONGEST_NAME = 100
USED_UP = "The link is used up: it does nothing more."

log = structlog.get_logger()


class Deciding:
    """Answers whoever follows the link of an incident."""

    def __init__(self, settings: Settings, publisher: Publisher) -> None:
        self._publisher = publisher
        self._vault = vault_of(settings)
        self._pool = LedgerPool(settings, 2, "decide")
        self._ledger = self._pool.ledger

    def routes(self) -> list[Route]:
        return [Route(PATH + "/{token}", self.answer, methods=["GET", "POST"])]

    def close(self) -> None:
        self._pool.close()

    async def answer(self, request: Request) -> Response:
        """The incident, and what will happen; what came of its form; or why there is nothing to decide."""
        link = read_link(self._vault, request.path_params["token"])
        if link is None:
            return _said(
                404, "This link does not work", "Open it again from the email, in full. Nothing was done."
            )
        try:
            found = await self._pool.run(read_incident, self._ledger, link.incident_id)
            if await self._pool.run(self._ledger.now) > link.until:
                return _said(410, "This link is too old", "It was good for a week. Nothing was done.")
            if found is None:
                text = "It has been over for long. Nothing was done."
                return _said(410, "This incident is not known any more", text)
            if found.incident.link_used:
                return _used(found, 409 if request.method == "POST" else 200)
            if not found.is_open:
                text = "Nobody has to help with it any more. Nothing was done."
                return _said(410, "This incident is over", text)
            if request.method != "POST":
                return page("decide.html", shown=found, action=request.url.path, form="")
            if is_foreign(request):
                return trouble(403, "Not done", "Another site sent you here. Open the link from the email.")
            return await self._decide(link, fields_of(await request.body()))
        except RedisError as error:
            log.warning("board.unreadable", reason=type(error).__name__)
            return trouble(503, "No answer", "The ledger is unavailable. Try again later.")

    async def _decide(self, link: DecisionLink, given: dict[str, str]) -> Response:
        """Use the link up, and hand the decision to a worker."""
        incident_id = link.incident_id
        by = f"{given.get('by', '').strip()[:LONGEST_NAME] or link.address[:LONGEST_NAME]}, by link"
        kwargs = decision_of(incident_id, given, by)
        try:
            # The link is still good after what no task takes.
            parse(DecideIncident, (), kwargs)
        except BadPayload as bad:
            return trouble(400, "Not done", str(bad))
        if not await self._pool.run(self._ledger.use_link, incident_id, by):
            return _used(await self._pool.run(read_incident, self._ledger, incident_id), 409)
        try:
            await self._publisher.publish(TASK, kwargs)
        except BrokerAway as away:
            log.warning("decision.put_off", reason=str(away))
            await self._pool.run(self._ledger.give_link_back, incident_id)
            return trouble(503, "Not done", NO_BROKER)
        log.info("incident.decided", incident=incident_id)
        found = await self._pool.run(read_incident, self._ledger, incident_id)
        text = f"A worker carries it out now. {USED_UP}"
        return _said(200, "Decided", text, found)


def _said(status: int, title: str, text: str, found: IncidentPage | None = None) -> Response:
    return page("decided.html", status, title=title, text=text, shown=found)


def _used(found: IncidentPage | None, status: int) -> Response:
    text = f"This link was used before; nothing was done now. {USED_UP}"
    return _said(status, "Decided already", text, found)
