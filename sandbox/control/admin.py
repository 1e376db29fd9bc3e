"""The control plane under `/sandbox`: what a test or a person does to the world from outside Cronofy.

JSON in, JSON out, no authentication: the sandbox is for one's own machine. Each endpoint does what the
method of `sandbox.control.Control` says that calls it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from sandbox.cronofy.api import unprocessable
from sandbox.state import Sandbox
from sandbox.world.accounts import Account, CalendarProfile, ConferencingProfile
from sandbox.world.events import Event, render, validate
from sandbox.world.faults import Fault
from sandbox.world.registry import Unknown

Answer = Callable[[Request, dict[str, Any]], Awaitable[Any]]


class Admin:
    """The control plane's endpoints; each takes the JSON body and returns what is sent back as JSON."""

    def __init__(self, sandbox: Sandbox) -> None:
        """Rule this sandbox."""
        self.sandbox = sandbox

    def routes(self) -> list[Mount]:
        """Return the routes, under one prefix."""
        account, profile = "/accounts/{sub}", "/accounts/{sub}/profiles/{profile_id}"
        event = "/events/{calendar_id}/{event_id}"
        table: list[tuple[str, str, Answer]] = [
            ("GET", "/health", self.health),
            ("POST", "/reset", self.reset),
            ("GET", "/settings", self.settings),
            ("POST", "/settings", self.configure),
            ("POST", "/accounts", self.add_accounts),
            ("GET", "/accounts", self.accounts),
            ("GET", account, self.account),
            ("POST", f"{account}/scope", self.set_scope),
            ("POST", f"{account}/default_profile", self.set_default_profile),
            ("POST", f"{account}/missing_meeting_url", self.set_account_without_url),
            ("POST", f"{account}/expire_access_token", self.expire_access_token),
            ("POST", f"{account}/revoke_refresh_token", self.revoke_refresh_token),
            ("POST", f"{account}/authorize", self.authorize),
            ("POST", f"{account}/conferencing_profiles", self.add_conferencing_profile),
            ("POST", f"{account}/calendar_profiles", self.add_calendar_profile),
            ("POST", f"{profile}/disconnect", self.disconnect),
            ("POST", f"{profile}/reconnect", self.reconnect),
            ("POST", f"{profile}/missing_meeting_url", self.set_profile_without_url),
            ("DELETE", profile, self.remove_profile),
            ("POST", f"{account}/events/{{calendar_id}}", self.create_event),
            ("POST", f"{account}/external_events/{{calendar_id}}", self.create_external_event),
            ("GET", event, self.event),
            ("POST", f"{event}/move", self.move_event),
            ("DELETE", event, self.delete_event),
            ("POST", f"{event}/stuck", self.set_stuck),
            ("POST", f"{event}/after_failure", self.set_after_failure),
            ("POST", "/outages/{provider}", self.begin_outage),
            ("DELETE", "/outages/{provider}", self.end_outage),
            ("POST", "/faults", self.add_fault),
            ("GET", "/faults", self.faults),
            ("DELETE", "/faults", self.clear_faults),
            ("GET", "/requests", self.requests),
            ("GET", "/rates", self.rates),
            ("GET", "/writes", self.writes),
            ("GET", "/invitations", self.invitations),
            ("GET", "/notifications", self.notifications),
            ("GET", "/channels", self.channels),
            ("DELETE", "/channels/{channel_id}", self.close_channel),
            ("GET", "/mail", self.mail),
            ("POST", "/mailbox", self.set_mailbox),
        ]
        return [Mount("/sandbox", routes=[Route(p, _json(act), methods=[m]) for m, p, act in table])]

    # -- the sandbox --------------------------------------------------------------------------------

    async def health(self, _request: Request, _body: dict[str, Any]) -> Any:
        return {"status": "ok"}

    async def reset(self, _request: Request, _body: dict[str, Any]) -> Any:
        await self.sandbox.reset()

    async def settings(self, _request: Request, _body: dict[str, Any]) -> Any:
        options = asdict(self.sandbox.options)
        return {**options, "mail_dir": options["mail_dir"] and str(options["mail_dir"])}

    async def configure(self, request: Request, body: dict[str, Any]) -> Any:
        self.sandbox.configure(body)
        return await self.settings(request, body)

    async def begin_outage(self, request: Request, _body: dict[str, Any]) -> Any:
        self.sandbox.world.outages.add(request.path_params["provider"])

    async def end_outage(self, request: Request, _body: dict[str, Any]) -> Any:
        self.sandbox.world.outages.discard(request.path_params["provider"])

    # -- accounts and profiles ----------------------------------------------------------------------

    async def add_accounts(self, _request: Request, body: dict[str, Any]) -> Any:
        registry = self.sandbox.world.registry
        if "accounts" in body:
            many = [registry.add_account(Account.model_validate(one)) for one in body["accounts"]]
            return {"accounts": [account.model_dump() for account in many]}
        return registry.add_account(Account.model_validate(body)).model_dump()

    async def accounts(self, _request: Request, _body: dict[str, Any]) -> Any:
        return {"accounts": [account.model_dump() for account in self.sandbox.world.registry.accounts()]}

    async def account(self, request: Request, _body: dict[str, Any]) -> Any:
        return self._account(request).model_dump()

    async def set_scope(self, request: Request, body: dict[str, Any]) -> Any:
        self._account(request).scope = body["scope"]

    async def set_default_profile(self, request: Request, body: dict[str, Any]) -> Any:
        self._account(request).default_profile = body["profile_id"]

    async def set_account_without_url(self, request: Request, body: dict[str, Any]) -> Any:
        self._account(request).missing_meeting_url = body["on"]

    async def expire_access_token(self, request: Request, _body: dict[str, Any]) -> Any:
        self.sandbox.world.registry.expire_access_tokens(request.path_params["sub"])

    async def revoke_refresh_token(self, request: Request, _body: dict[str, Any]) -> Any:
        self.sandbox.world.registry.revoke_refresh_token(request.path_params["sub"])

    async def authorize(self, request: Request, _body: dict[str, Any]) -> Any:
        return self.sandbox.world.registry.authorize(request.path_params["sub"]).model_dump()

    async def add_conferencing_profile(self, request: Request, body: dict[str, Any]) -> Any:
        profile = ConferencingProfile.model_validate(body)
        self.sandbox.world.registry.add_profile(request.path_params["sub"], profile)
        return profile.model_dump()

    async def add_calendar_profile(self, request: Request, body: dict[str, Any]) -> Any:
        profile = CalendarProfile.model_validate(body)
        self.sandbox.world.registry.add_profile(request.path_params["sub"], profile)
        return profile.model_dump()

    async def disconnect(self, request: Request, _body: dict[str, Any]) -> Any:
        self.sandbox.world.registry.set_connected(**request.path_params, connected=False)

    async def reconnect(self, request: Request, _body: dict[str, Any]) -> Any:
        self.sandbox.world.registry.set_connected(**request.path_params, connected=True)

    async def set_profile_without_url(self, request: Request, body: dict[str, Any]) -> Any:
        profile = self.sandbox.world.registry.profile(**request.path_params)
        if not isinstance(profile, ConferencingProfile):
            raise Unknown(f"conferencing profile {profile.profile_id}")
        profile.missing_meeting_url = body["on"]

    async def remove_profile(self, request: Request, _body: dict[str, Any]) -> Any:
        self.sandbox.world.registry.remove_profile(**request.path_params)

    # -- events -------------------------------------------------------------------------------------

    async def create_event(self, request: Request, body: dict[str, Any]) -> Any:
        account = self._account(request)
        if account.calendar(request.path_params["calendar_id"]) is None:
            raise Unknown(f"calendar {request.path_params['calendar_id']}")
        if errors := validate(body, account):
            return unprocessable(errors)
        self.sandbox.world.upsert(account, request.path_params["calendar_id"], body, via="sandbox")
        return None

    async def create_external_event(self, request: Request, body: dict[str, Any]) -> Any:
        return self._described(self.sandbox.world.add_external(**request.path_params, **body))

    async def event(self, request: Request, _body: dict[str, Any]) -> Any:
        return self._described(self.sandbox.world.event(**request.path_params))

    async def move_event(self, request: Request, body: dict[str, Any]) -> Any:
        return self._described(self.sandbox.world.move(**request.path_params, **body))

    async def delete_event(self, request: Request, _body: dict[str, Any]) -> Any:
        return self._described(self.sandbox.world.delete_by_owner(**request.path_params))

    async def set_stuck(self, request: Request, body: dict[str, Any]) -> Any:
        self.sandbox.world.set_stuck(**request.path_params, stuck=bool(body["on"]))

    async def set_after_failure(self, request: Request, body: dict[str, Any]) -> Any:
        key = (request.path_params["calendar_id"], request.path_params["event_id"])
        if body["after_failure"] not in ("pending", "absent"):
            raise ValueError(f"after_failure: {body['after_failure']!r}")
        self.sandbox.world.after_failure[key] = body["after_failure"]

    # -- what was seen ------------------------------------------------------------------------------

    async def add_fault(self, _request: Request, body: dict[str, Any]) -> Any:
        self.sandbox.faults.rules.append(Fault.model_validate(body))

    async def faults(self, _request: Request, _body: dict[str, Any]) -> Any:
        return {"faults": [rule.model_dump() for rule in self.sandbox.faults.rules]}

    async def clear_faults(self, _request: Request, _body: dict[str, Any]) -> Any:
        self.sandbox.faults.rules.clear()

    async def requests(self, request: Request, _body: dict[str, Any]) -> Any:
        return {"requests": self.sandbox.traffic.requests(request.query_params.get("path", ""))}

    async def rates(self, _request: Request, _body: dict[str, Any]) -> Any:
        return self.sandbox.traffic.rates()

    async def writes(self, _request: Request, _body: dict[str, Any]) -> Any:
        return {"writes": list(self.sandbox.world.writes)}

    async def invitations(self, _request: Request, _body: dict[str, Any]) -> Any:
        return {"invitations": list(self.sandbox.world.invitations)}

    async def notifications(self, _request: Request, _body: dict[str, Any]) -> Any:
        return {"notifications": self.sandbox.courier.delivered()}

    async def channels(self, _request: Request, _body: dict[str, Any]) -> Any:
        return {"channels": [asdict(channel) for channel in self.sandbox.world.channels.values()]}

    async def close_channel(self, request: Request, _body: dict[str, Any]) -> Any:
        self.sandbox.world.close_channel(request.path_params["channel_id"])

    async def mail(self, _request: Request, _body: dict[str, Any]) -> Any:
        return {"mail": [mail.described() for mail in self.sandbox.mailbox.mails]}

    async def set_mailbox(self, _request: Request, body: dict[str, Any]) -> Any:
        mailbox = self.sandbox.mailbox
        mailbox.refuse_status = body.get("refuse_status")
        mailbox.refuse_times = body.get("refuse_times")
        mailbox.refuse_at = _one_of(body, "refuse_at", "message", "connect", "sender", "recipient")
        mailbox.hang_up = _one_of(body, "hang_up", None, "kept", "unkept")
        mailbox.delay_seconds = float(body.get("delay_seconds") or 0.0)

    def _account(self, request: Request) -> Account:
        return self.sandbox.world.registry.account(request.path_params["sub"])

    def _described(self, event: Event) -> dict[str, Any]:
        """Return the event as a read shows it, with what only Cronofy knows beside it."""
        account = self.sandbox.world.registry.account(event.sub)
        return {
            **render(event, account, localized=True),
            "sub": event.sub,
            "requested_profile_id": event.profile_id,
            "generation": event.generation,
        }


def _one_of(body: dict[str, Any], name: str, *values: Any) -> Any:
    """The value of a field, which has to be one of these; the first one where it is not given."""
    value = body.get(name) or values[0]
    if value not in values:
        raise ValueError(f"{name}: {value!r}")
    return value


def _json(act: Answer) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            body = json.loads(await request.body() or b"{}")
            answer = await act(request, body)
        except Unknown as unknown:
            return JSONResponse({"error": f"unknown {unknown}"}, status_code=404)
        except (ValidationError, ValueError, KeyError, TypeError) as wrong:
            return JSONResponse({"error": f"{type(wrong).__name__}: {wrong}"}, status_code=422)
        return answer if isinstance(answer, Response) else JSONResponse({} if answer is None else answer)

    return endpoint
