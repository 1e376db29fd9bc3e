"""The pages for people: relinking a profile, connecting a new one, the mailbox."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from sandbox.state import Sandbox
from sandbox.world.accounts import Account, ConferencingProfile

#: The services' display names.
NAMES = {
    "zoom": "Zoom",
    "go_to": "GoTo Meeting",
    "ms_teams": "Microsoft Teams",
    "google_meet_api": "Google Meet",
    "google": "Google Calendar",
    "office365": "Microsoft 365",
    "exchange": "Microsoft Exchange",
    "apple": "Apple iCloud",
    "live_connect": "Outlook.com",
}


def service_name(provider_name: str) -> str:
    """Return the service's display name; an unknown one is derived from its identifier."""
    return NAMES.get(provider_name, provider_name.replace("_", " ").title())


def _redirected(redirect_uri: str, answer: dict[str, str]) -> Response:
    joint = "&" if "?" in redirect_uri else "?"
    return RedirectResponse(f"{redirect_uri}{joint}{urlencode(answer)}", status_code=303)


class Pages:
    """The HTML pages; all work without JavaScript, and only POST changes anything."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._templates = Jinja2Templates(directory=Path(__file__).parent / "templates")

    def routes(self) -> list[Route]:
        """Return the routes; conferencing and calendar profiles have their own addresses (§5)."""
        return [
            Route("/oauth/authorize", self.authorize, methods=["GET", "POST"]),
            Route("/v2/relink/{provider}", self.relink, methods=["GET", "POST"]),
            Route("/relink/{provider}", self.relink, methods=["GET", "POST"]),
            Route("/conferencing_services/{token}", self.connect, methods=["GET", "POST"]),
            Route("/mail", self.mail, methods=["GET"]),
        ]

    async def authorize(self, request: Request) -> Response:
        """Ask who authorises the application; POST redirects back with a code, or with a refusal (§7)."""
        asked = request.query_params
        redirect_uri = asked.get("redirect_uri", "")
        if asked.get("client_id") != self.sandbox.options.client_id or not redirect_uri:
            return PlainTextResponse("client_id is not known, or there is no redirect_uri", status_code=400)
        registry = self.sandbox.world.registry
        if request.method == "POST":
            answer = {"state": asked["state"]} if "state" in asked else {}
            if "refuse" in asked:
                answer["error"] = "access_denied"
            else:
                given = {"scope": asked["scope"]} if asked.get("scope") else {}
                sub = asked.get("sub") or registry.add_account(Account(**given)).sub
                answer["code"] = registry.code(sub, redirect_uri)
            return _redirected(redirect_uri, answer)
        people = [account for account in registry.accounts() if account.type == "account"]
        context = {"query": str(request.url.query), "people": people}
        return self._templates.TemplateResponse(request, "authorize.html", context)

    async def relink(self, request: Request) -> Response:
        """Show which profile needs reconnecting; POST reconnects it under the same id (§3)."""
        registry = self.sandbox.world.registry
        account, profile = registry.relinked(request.query_params.get("token", ""))
        if request.method == "POST":
            registry.set_connected(account.sub, profile.profile_id, connected=True)
        return self._templates.TemplateResponse(
            request,
            "relink.html",
            {
                "service": service_name(profile.provider_name),
                "account": account,
                "profile_name": profile.profile_name or account.email,
                "profile": profile,
                "done": request.method == "POST",
            },
        )

    async def connect(self, request: Request) -> Response:
        """Ask whether to connect a new conferencing profile; POST connects it and redirects back (§7)."""
        token = request.path_params["token"]
        authorization = self.sandbox.world.authorizations.get(token)
        if authorization is None:
            return Response(status_code=404)
        sub, provider, redirect_uri = authorization
        registry = self.sandbox.world.registry
        if request.method == "POST":
            del self.sandbox.world.authorizations[token]
            profile = ConferencingProfile(provider_name=provider)
            registry.add_profile(sub, profile)
            return _redirected(redirect_uri, {"last_linked_profile_id": profile.profile_id})
        context = {"service": service_name(provider), "account": registry.account(sub)}
        return self._templates.TemplateResponse(request, "connect.html", context)

    async def mail(self, request: Request) -> Response:
        """List the received emails, newest first."""
        mails = [mail.described() for mail in reversed(self.sandbox.mailbox.mails)]
        return self._templates.TemplateResponse(request, "mail.html", {"mails": mails})
