"""The Cronofy API's endpoints for one account: events, batch, identity, channels, profiles.

The gate has checked the token and the limits before any of them is called.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sandbox.cronofy.gate import Call, call_of
from sandbox.cronofy.reading import Query, page_of, page_token, read_page_token
from sandbox.state import Sandbox
from sandbox.world.accounts import Account, Calendar, CalendarProfile, userinfo
from sandbox.world.errors import Invalid, error, missing
from sandbox.world.events import validate

#: What a batch may call (§4), and its maximum number of entries.
BATCHED = re.compile(r"/v1/calendars/(?P<calendar_id>[^/]+)/events")
BATCH_MOST = 50
#: The longest channel address that older documentation allows (§6b).
LONGEST_CALLBACK = 128

#: What a client that calls anything else is told.
NOT_HERE = (
    "The sandbox does not stand in for this call. It has events, calendars, channels, profiles, UserInfo and "
    "OAuth; it has no availability, free-busy, scheduling, smart invites, application calendars, elevated "
    "permissions, external events or delegated access."
)

Handler = Callable[[Request, Account, Call], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


def listed(account: Account, profile: CalendarProfile, calendar: Calendar) -> dict[str, Any]:
    """Return a calendar as it is listed on its own, with its profile."""
    return {
        "provider_name": profile.provider_name,
        "profile_id": profile.profile_id,
        "profile_name": profile.profile_name or account.email,
        **calendar.described(),
    }


class Api:
    """The endpoints under `/v1`."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    def routes(self) -> list[Route]:
        """Return the routes, each with the scope it needs (§1)."""
        table: list[tuple[str, str, Handler, str | None]] = [
            ("GET", "/v1/events", self.read_events, "read_events"),
            ("GET", "/v1/events/pages/{token}", self.read_page, "read_events"),
            ("DELETE", "/v1/events", self.delete_events, "delete_event"),
            ("POST", "/v1/calendars/{calendar_id}/events", self.write_event, "create_event"),
            ("DELETE", "/v1/calendars/{calendar_id}/events", self.write_event, "delete_event"),
            ("POST", "/v1/batch", self.batch, None),
            ("GET", "/v1/userinfo", self.userinfo, None),
            ("GET", "/v1/calendars", self.calendars, "list_calendars"),
            ("POST", "/v1/calendars", self.create_calendar, "create_calendar"),
            ("GET", "/v1/profiles", self.profiles, None),
            ("GET", "/v1/account", self.account, "read_account"),
            ("POST", "/v1/channels", self.open_channel, None),
            ("GET", "/v1/channels", self.channels, None),
            ("DELETE", "/v1/channels/{channel_id}", self.close_channel, None),
            ("POST", "/v1/profiles/{profile_id}/revoke", self.revoke_profile, None),
            ("POST", "/v1/conferencing_service_authorizations", self.authorize_conferencing, None),
        ]
        served = [Route(path, _guarded(act, scope), methods=[method]) for method, path, act, scope in table]
        return [*served, Route("/v1/{rest:path}", not_here, methods=["GET", "POST", "DELETE"])]

    # -- events -------------------------------------------------------------------------------------

    async def read_events(self, request: Request, account: Account, _call: Call) -> Response:
        """Read Events, first page."""
        return self._page(request, account, request.url.query, 1)

    async def read_page(self, request: Request, account: Account, _call: Call) -> Response:
        """Read Events, a later page, by the opaque token of `next_page`."""
        page = read_page_token(request.path_params["token"], account.sub)
        return self._page(request, account, *page) if page else Response(status_code=404)

    def _page(self, request: Request, account: Account, query_string: str, number: int) -> Response:
        given = QueryParams(query_string)
        query = Query.parse(given, given.getlist("calendar_ids[]"), account)
        options = self.sandbox.options
        if options.personality.disconnected_calendars == "hidden":
            query = query.connected(account)
        shown, total = page_of(
            self.sandbox.world, account, options.personality, query, number, options.page_size
        )
        pages: dict[str, Any] = {"current": number, "total": max(total, 1)}
        if number < total:
            # Absolute, and on the origin that the client called.
            token = page_token(account.sub, query_string, number + 1)
            pages["next_page"] = str(request.base_url.replace(path=f"/v1/events/pages/{token}"))
        events = [{**event, **options.event_fields} for event in shown]
        return JSONResponse({"pages": pages, "events": events})

    async def write_event(self, request: Request, account: Account, call: Call) -> Response:
        """Create or Update Event, and Delete Event: 202 with an empty body."""
        if call.malformed:
            raise Invalid({"base": error("errors.invalid", "body must be a JSON object")})
        calendar_id = request.path_params["calendar_id"]
        status = self._write(account, request.method, calendar_id, call.body, "event")
        return Response(status_code=status)

    def _write(self, account: Account, method: str, calendar_id: str, body: dict[str, Any], via: str) -> int:
        home = account.calendar(calendar_id)
        if home is None or home[1].deleted:
            return 404
        if home[1].readonly:
            return 403
        if method == "DELETE":
            if not body.get("event_id"):
                raise Invalid(missing("event_id"))
            self.sandbox.world.delete(account, calendar_id, str(body["event_id"]), via)
            return 202
        if errors := validate(body, account, home[1], self.sandbox.options.personality):
            raise Invalid(errors)
        self.sandbox.world.upsert(account, calendar_id, body, via)
        return 202

    async def delete_events(self, request: Request, account: Account, call: Call) -> Response:
        """Bulk Delete of the application's events, `delete_all` or by `calendar_ids`."""
        own, asked = account.calendar_ids(), request.query_params
        # The Python SDK asks in the query, the others in the body.
        everything = call.body.get("delete_all") or asked.get("delete_all", "").lower() == "true"
        wanted = (
            own if everything else call.body.get("calendar_ids") or asked.getlist("calendar_ids[]") or None
        )
        if not isinstance(wanted, list) or not set(wanted) <= set(own):
            invalid = error("errors.invalid_calendar_ids", "calendar_ids are not valid")
            raise Invalid({"calendar_ids": invalid})
        for calendar_id in wanted:
            for event in list(self.sandbox.world.events(calendar_id)):
                if event.event_id is not None and not event.deleted:
                    self.sandbox.world.delete(account, calendar_id, event.event_id)
        return Response(status_code=202)

    async def batch(self, _request: Request, account: Account, call: Call) -> Response:
        """Several writes in one call, each with its own status (§4)."""
        entries = call.body.get("batch")
        if not isinstance(entries, list):
            raise Invalid(missing("batch"))
        if len(entries) > BATCH_MOST:
            too_long = error("errors.too_long", f"batch must have at most {BATCH_MOST} entries")
            raise Invalid({"batch": too_long})
        answers = [self._batched(account, entry) for entry in entries]
        return JSONResponse({"batch": answers}, status_code=self.sandbox.options.personality.batch_status)

    def _batched(self, account: Account, entry: Any) -> dict[str, Any]:
        if not isinstance(entry, dict) or not isinstance(entry.get("data"), dict):
            return {"status": 422, "data": {"errors": {"data": error("errors.required", "data is missing")}}}
        method = str(entry.get("method", "")).upper()
        target = BATCHED.fullmatch(str(entry.get("relative_url", "")))
        scopes = {"POST": "create_event", "DELETE": "delete_event"}
        if target is None or method not in scopes:
            return {"status": 404}
        if not account.allows(scopes[method]):
            return {"status": 403}
        calendar_id = target["calendar_id"]
        if self.sandbox.options.personality.batch_urls == "decoded":
            calendar_id = unquote(calendar_id)
        try:
            return {"status": self._write(account, method, calendar_id, entry["data"], "batch")}
        except Invalid as invalid:
            return {"status": 422, "data": {"errors": invalid.errors}}

    # -- identity -----------------------------------------------------------------------------------

    async def userinfo(self, _request: Request, account: Account, _call: Call) -> Response:
        options = self.sandbox.options
        return JSONResponse(userinfo(account, options.public_url, options.personality))

    async def calendars(self, _request: Request, account: Account, _call: Call) -> Response:
        calendars = [listed(account, p, c) for p in account.calendar_profiles for c in p.calendars]
        return JSONResponse({"calendars": calendars})

    async def create_calendar(self, _request: Request, account: Account, call: Call) -> Response:
        absent = [name for name in ("profile_id", "name") if not call.text(name)]
        if absent:
            raise Invalid(missing(*absent))
        profile = account.profile(call.body["profile_id"])
        if not isinstance(profile, CalendarProfile):
            return Response(status_code=404)
        if not profile.connected:
            return Response(status_code=423)  # The account is locked: nothing can be written (§8).
        if any(calendar.name == call.body["name"] for calendar in profile.calendars):
            taken = error("errors.duplicate_calendar_name", "a calendar has this name already")
            raise Invalid({"name": taken})
        calendar = Calendar(name=call.body["name"], primary=False)
        self.sandbox.world.registry.add_calendar(account, profile, calendar)
        return JSONResponse({"calendar": listed(account, profile, calendar)})

    async def profiles(self, _request: Request, account: Account, _call: Call) -> Response:
        public_url = self.sandbox.options.public_url
        profiles = [p.described(account.email, public_url) for p in account.calendar_profiles]
        return JSONResponse({"profiles": profiles})

    async def account(self, _request: Request, account: Account, _call: Call) -> Response:
        described = {
            "account_id": account.sub,
            "email": account.email,
            "name": account.name,
            "scope": account.scope,
            "default_tzid": account.zoneinfo,
        }
        return JSONResponse({"account": described})

    # -- channels and profiles ----------------------------------------------------------------------

    async def open_channel(self, _request: Request, account: Account, call: Call) -> Response:
        """Create a notification channel (§6b)."""
        callback_url = call.text("callback_url")
        if not callback_url:
            raise Invalid(missing("callback_url"))
        if len(callback_url) > LONGEST_CALLBACK:
            too_long = error("errors.too_long", f"callback_url must be at most {LONGEST_CALLBACK} characters")
            raise Invalid({"callback_url": too_long})
        filters = {k: v for k, v in (call.body.get("filters") or {}).items() if v}
        channel = self.sandbox.world.open_channel(account, callback_url, filters)
        return JSONResponse({"channel": channel.described()})

    async def channels(self, _request: Request, account: Account, _call: Call) -> Response:
        listed = [c.described() for c in self.sandbox.world.channels.values() if c.sub == account.sub]
        return JSONResponse({"channels": listed})

    async def close_channel(self, request: Request, account: Account, _call: Call) -> Response:
        channel = self.sandbox.world.channels.get(request.path_params["channel_id"])
        if channel is None or channel.sub != account.sub:
            return Response(status_code=404)
        self.sandbox.world.close_channel(channel.channel_id)
        return Response(status_code=202)

    async def revoke_profile(self, request: Request, account: Account, _call: Call) -> Response:
        """Remove a profile of either kind: Cronofy does not say whether conferencing counts (§7)."""
        self.sandbox.world.registry.remove_profile(account.sub, request.path_params["profile_id"])
        return Response(status_code=202)

    async def authorize_conferencing(self, _request: Request, account: Account, call: Call) -> Response:
        """Return the address where the person connects a new conferencing profile (§7)."""
        redirect_uri = call.text("redirect_uri")
        if not redirect_uri:
            raise Invalid(missing("redirect_uri"))
        token = secrets.token_urlsafe(18)
        provider = str(call.body.get("provider_name") or "zoom")
        self.sandbox.world.authorizations[token] = (account.sub, provider, redirect_uri)
        url = f"{self.sandbox.options.public_url}/conferencing_services/{token}"
        return JSONResponse({"authorization_request": {"url": url}})


async def not_here(_request: Request) -> Response:
    """Say what the sandbox does not stand in for."""
    return PlainTextResponse(NOT_HERE, status_code=404)


def _guarded(act: Handler, scope: str | None) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        call = call_of(request)
        account = call.account
        if account is None:
            return Response(status_code=401)
        if scope is not None and not account.allows(scope):
            return Response(status_code=403)
        return await act(request, account, call)

    return endpoint
