"""Signing in to the board: a token is typed once, and the browser keeps a cookie in its place."""

from __future__ import annotations

from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from worker.web.access import COOKIE, SESSION_SECONDS, Access
from worker.web.board.page import page

PATH = "/board/sign-in"
#: Three for each removed profile that an incident's page shows, and some more.
MOST_FIELDS = 100
#: How the addresses of the pages begin that signing in may lead to.
PAGES = (
    *("/board/", "/events?", "/incidents", "/accounts?", "/mails?", "/outcomes?", "/workers?"),
    *("/dead-letters", "/report?"),
)
WRONG = {
    401: "This is not the token.",
    403: "Another site sent you here. Sign in from this page.",
    429: "Too many wrong tokens came from your address. Wait a minute.",
}


class SignIn:
    """The form, and where it leads."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def routes(self) -> list[Route]:
        """The form shows itself wherever somebody is not signed in; its own page is where a link leads."""
        return [
            Route(PATH, self.form, methods=["GET"]),
            Route(PATH, self.sign_in, methods=["POST"]),
            Route("/board/sign-out", self.sign_out, methods=["POST"]),
        ]

    async def form(self, _: Request) -> Response:
        """The form; `#` and the token after its address sign in at once, and go into no request or log."""
        return _form(200, "/")

    async def sign_in(self, request: Request) -> Response:
        """Give the cookie to whoever knows the token, and go on to the page that was asked for."""
        given = fields_of(await request.body())
        wanted = given.get("then", "/")
        refused = 403 if is_foreign(request) else self._access.sign_in(request, given.get("token", ""))
        if refused is not None:
            return _form(refused, wanted, WRONG[refused])
        answer = RedirectResponse(_ours(wanted), 303)
        answer.set_cookie(
            COOKIE,
            self._access.session(),
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="lax",
            secure=_is_over_tls(request),
        )
        return answer

    async def sign_out(self, request: Request) -> Response:
        """Take the cookie back."""
        answer = RedirectResponse(PATH, 303)
        if not is_foreign(request):
            answer.delete_cookie(COOKIE, httponly=True, samesite="lax")
        return answer


def not_signed_in(status: int, request: Request) -> Response:
    """What is shown in place of a page: the form, with the page as where it leads."""
    # Not from its URL, which begins with whatever host the request names.
    path, query = request.scope["path"], request.scope["query_string"].decode("latin-1")
    return _form(status, f"{path}?{query}", WRONG[status] if status != 401 else "")


def _form(status: int, then: str, wrong: str = "") -> Response:
    answer = page("sign-in.html", status, then=_ours(then), wrong=wrong)
    # Otherwise browsers keep from us by which scheme the form was sent.
    answer.headers["Referrer-Policy"] = "same-origin"
    if status == 401:
        # Browsers have no prompt of their own for this one.
        answer.headers["WWW-Authenticate"] = 'Bearer realm="reconciler"'
    return answer


def fields_of(body: bytes) -> dict[str, str]:
    """The form's fields; none if the body is no form."""
    try:
        return {
            name: values[0] for name, values in parse_qs(body.decode(), max_num_fields=MOST_FIELDS).items()
        }
    except ValueError:
        return {}


def _ours(path: str) -> str:
    """The path, if it is one of the board's pages; otherwise the first page."""
    return path if path.startswith(PAGES) and not path.startswith("/board/live") else "/"


def is_foreign(request: Request) -> bool:
    """Whether another site's page makes the browser send this."""
    return request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin")


def _is_over_tls(request: Request) -> bool:
    """Whether the browser speaks TLS, to a proxy: it says so itself, and the proxy may.

    Whoever lies about it only harms their own cookie.
    """
    said = request.headers.get("origin", ""), request.headers.get("x-forwarded-proto", "")
    return said[0].startswith("https://") or said[1] == "https"
