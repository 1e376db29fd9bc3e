"""`/connect/…`: where our emails lead a user who is to connect a service, and where Cronofy brings them back.

Only the button makes Cronofy's address, since mail scanners follow every link. A worker makes it, as only
they call Cronofy: it waits for the account's lease, and pays from the budget.
"""

from __future__ import annotations

from datetime import timedelta
from importlib.resources import files
from typing import Any, Final
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import structlog
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from config.settings import Settings
from worker.cronofy.callbacks import origin_of
from worker.intake.payloads import LONGEST_ID
from worker.ledger.answers import Answers
from worker.ledger.connection import BrokerAway
from worker.ledger.opening import vault_of
from worker.ledger.records import to_ms
from worker.ledger.vault import VaultError
from worker.mail.connect_links import DONE, PATH, ConnectLink, read_link
from worker.mail.language import N_, first_spoken
from worker.reconcile.episodes import key_of_service
from worker.run.connections import PageNote
from worker.web.headers import HEADERS
from worker.web.ledger_pool import PATIENCE, LedgerPool
from worker.web.publisher import Publisher
from worker.web.templates import templates_of
from worker.wording import provider

TASK, NOTE = "conferencing.authorize_connection", "conferencing.note_connection"
#: Which account and service a browser is about, while it is away at Cronofy.
COOKIE = "reconciler_connect"
AWAY_SECONDS = 3600
#: How long a user waits for the address.
ADDRESS = timedelta(seconds=12)
#: An account's user gets another address no sooner than this.
APART_SECONDS = 5
#: What Cronofy adds to the address that it sends a user back to (reference §7).
LINKED, ERROR = "last_linked_profile_id", "error"
#: Browsers hold a form to where it may lead, redirects too, and this one leads to Cronofy and on. There is
#: no picture but the empty icon.
POLICY = (
    HEADERS["Content-Security-Policy"]
    .replace("form-action 'self'; ", "")
    .replace("img-src 'self'", "img-src data:")
)

#: What a page says, by why there is nothing to do: status, title, text.
_SAID: Final = {
    "changed": (404, N_("This link does not work"), N_("Please open it again from the email, in full.")),
    "old": (
        410,
        N_("This link is too old"),
        N_("If your meetings still have no link, a newer email has a newer one."),
    ),
    PageNote.CONNECTED: (
        200,
        N_("Nothing is left to do"),
        N_("%(service)s is not needed any more, or is connected already."),
    ),
    PageNote.NO_ACCESS: (
        409,
        N_("Your calendar is not connected"),
        N_("Please connect your calendar to the application again first."),
    ),
    PageNote.LATER: (
        503,
        N_("Please try again"),
        N_("This did not work just now. Go back, and try again in a minute."),
    ),
    PageNote.REFUSED: (
        502,
        N_("This cannot be connected here"),
        N_("%(service)s cannot be connected this way. Please connect it in the application itself."),
    ),
    "hurry": (
        429,
        N_("One moment"),
        N_("You asked for this page just now. Go back, and try again in a few seconds."),
    ),
}

log = structlog.get_logger()


class ConnectPages:
    """Answers users who follow our links."""

    def __init__(self, settings: Settings, publisher: Publisher) -> None:
        self._publisher = publisher
        self._vault = vault_of(settings)
        # Whoever waits for an address holds a thread; readers have their own.
        self._reading = LedgerPool(settings, 2, "connect")
        self._waiting = LedgerPool(settings, 8, "connect-wait", ADDRESS + PATIENCE)
        self._ledger = self._reading.ledger
        self._answers = Answers(self._waiting.ledger.redis, self._ledger.keys, self._vault)
        self._return_url = settings.connect_return_url
        self._locale = settings.mail_locale
        home = urlsplit(origin_of(settings.webhook_url or ""))
        self._cookie: dict[str, Any] = {
            "path": home.path + PATH,
            "httponly": True,
            # Not strict: it has to come along when Cronofy leads back.
            "samesite": "lax",
            "secure": home.scheme == "https",
        }
        self._style = (files("worker.web.connecting") / "static" / "style.css").read_bytes()

    def routes(self) -> list[Route]:
        """The page, where Cronofy leads back to, and how both look. All are public."""
        return [
            Route(DONE, self.done),
            Route(f"{PATH}/style.css", self.style),
            Route(PATH + "/{token}", self.answer, methods=["GET", "POST"]),
        ]

    def close(self) -> None:
        for pool in (self._reading, self._waiting):
            pool.close()

    async def answer(self, request: Request) -> Response:
        """Whose connection it is and to which service, with the button; or why there is nothing to do.

        The button leads to Cronofy, at an address of its own for this user.
        """
        token = request.path_params["token"]
        link = read_link(self._vault, token)
        if link is None:
            return self._said("changed", None)
        try:
            why = await self._reading.run(self._why_not, link)
        except RedisError as error:
            log.warning("connect.unreadable", reason=type(error).__name__)
            why = PageNote.LATER
        if why:
            return self._said(why, link)
        if request.method != "POST":
            return self._page(link, "connect.html", 200, address=link.address)
        answer = await self._address(link)
        if "address" not in answer:
            return self._said(answer["said"], link)
        leading = RedirectResponse(answer["address"], 303)
        leading.set_cookie(COOKIE, token, max_age=AWAY_SECONDS, **self._cookie)
        leading.headers["Content-Security-Policy"] = POLICY
        return leading

    async def done(self, request: Request) -> Response:
        """Where Cronofy brings the user back: the meetings are looked at now, and the user is thanked."""
        token = request.cookies.get(COOKIE, "")
        link = read_link(self._vault, token)
        failed, linked = ERROR in request.query_params, request.query_params.get(LINKED, "")[:LONGEST_ID]
        if link and not failed:
            try:
                kwargs = {"sub": link.sub, "provider_name": link.provider_name, "profile_id": linked}
                await self._publisher.publish(NOTE, kwargs)
            except BrokerAway as away:
                # The next look finds out all the same.
                log.warning("connect.not_woken", sub=link.sub, reason=str(away))
        if self._return_url:
            given = {n: request.query_params[n] for n in (LINKED, ERROR) if n in request.query_params}
            joint = "&" if urlsplit(self._return_url).query else "?"
            answer: Response = RedirectResponse(
                self._return_url + (joint + urlencode(given) if given else ""), 303
            )
        else:
            again = token if link and failed else ""
            answer = self._page(link, "done.html", 200, failed=failed, again=again)
        if not failed:
            answer.delete_cookie(COOKIE, **self._cookie)
        return answer

    async def style(self, _: Request) -> Response:
        return Response(self._style, media_type="text/css", headers={"Cache-Control": "no-cache"})

    def _why_not(self, link: ConnectLink) -> str:
        if self._ledger.now() > link.until:
            return "old"
        account = self._ledger.account(link.sub)
        if account.lost or account.credentials is None:
            return PageNote.NO_ACCESS
        return "" if key_of_service(link.provider_name) in account.connects else PageNote.CONNECTED

    async def _address(self, link: ConnectLink) -> dict[str, str]:
        """What a worker says: the address, or why there is none."""
        answer_id = uuid4().hex
        try:
            until_ms = await self._reading.run(self._slot, link)
            if until_ms is None:
                return {"said": "hurry"}
            kwargs = {
                "sub": link.sub,
                "provider_name": link.provider_name,
                "answer_id": answer_id,
                "until_ms": until_ms,
            }
            await self._publisher.publish(TASK, kwargs)
            answer = await self._waiting.run(self._answers.take, answer_id, ADDRESS)
        except (RedisError, BrokerAway, VaultError) as error:
            log.warning("connect.put_off", sub=link.sub, reason=type(error).__name__)
            answer = None
        return dict(answer or {"said": PageNote.LATER})

    def _slot(self, link: ConnectLink) -> int | None:
        """Until when an answer is of use; None if its user asked just now."""
        taken = self._ledger.redis.set(self._ledger.keys.asking(link.sub), 1, nx=True, ex=APART_SECONDS)
        return to_ms(self._ledger.now() + ADDRESS) if taken else None

    def _said(self, why: str, link: ConnectLink | None) -> Response:
        status, title, text = _SAID[why]
        return self._page(link, "said.html", status, title=title, text=text)

    def _page(self, link: ConnectLink | None, template: str, status: int, **shown: Any) -> Response:
        """A page in the language of the email that the link is from."""
        spoken = first_spoken(link.locale if link else None, self._locale)
        service = provider(link.provider_name) if link else ""

        def translate(message: str, /, **values: str) -> str:
            return spoken.catalogue.gettext(message) % values

        page = _TEMPLATES.get_template(template).render(
            lang=spoken.tag, direction=spoken.direction, gettext=translate, service=service, **shown
        )
        return HTMLResponse(page, status, {"Content-Security-Policy": POLICY})


_TEMPLATES = templates_of("worker.web.connecting")
