"""The control plane: what a test or a person does to the sandbox from outside.

Each verb is defined once, here. It is served under `/sandbox`, and `sandbox.control.control.Control` calls it
there under the same name. JSON in, JSON out, no authentication: the sandbox is for local use.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import validate_call
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.mailbox import Manner
from sandbox.personality import TRAITS, Personality
from sandbox.state import Sandbox
from sandbox.world.accounts import Account, CalendarProfile, ConferencingProfile
from sandbox.world.events import Event, render, validate
from sandbox.world.faults import Fault
from sandbox.world.moments import utc_text
from sandbox.world.registry import Unknown

Json = dict[str, Any]
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Verb:
    """How a method of `Admin` is called over HTTP.

    Path arguments come from the path, others from the query (GET, DELETE) or the body (POST); an argument
    named `body` is the whole body. A list is returned as an object with one field, named after the end of
    the path.
    """

    method: str
    path: str
    function: Callable[..., Any]

    @property
    def takes_body(self) -> bool:
        """Whether an argument is the whole body."""
        return "body" in self.function.__annotations__

    @property
    def list_name(self) -> str:
        """The answer's field that contains a list."""
        return self.path.rpartition("/")[2]


#: Every verb, by its method's name.
VERBS: dict[str, Verb] = {}

ACCOUNT = "/accounts/{sub}"
PROFILE = "/accounts/{sub}/profiles/{profile_id}"
EVENT = "/events/{calendar_id}/{event_id}"


def _verb(method: str, path: str) -> Callable[[Function], Function]:
    def note(function: Function) -> Function:
        VERBS[function.__name__] = Verb(method, path, function)
        return function

    return note


class Admin:
    """The verbs."""

    def __init__(self, sandbox: Sandbox) -> None:
        """Control this sandbox."""
        self.sandbox = sandbox

    # -- the sandbox --------------------------------------------------------------------------------

    @_verb("GET", "/health")
    def health(self) -> Json:
        """Return `{"status": "ok"}`."""
        return {"status": "ok"}

    @_verb("POST", "/reset")
    def reset(self) -> None:
        """Forget everything and restore the initial options."""
        self.sandbox.reset()

    @_verb("GET", "/settings")
    def settings(self) -> Json:
        """Return the current options."""
        options = asdict(self.sandbox.options)
        del options["personality"]  # which has verbs of its own
        return {**options, "mail_dir": options["mail_dir"] and str(options["mail_dir"])}

    @_verb("POST", "/settings")
    def set_settings(self, **changes: Any) -> Json:
        """Change options by their `SandboxOptions` name, and return all of them."""
        self.sandbox.configure(changes)
        return Admin.settings(self)

    @_verb("GET", "/personality")
    def personality(self) -> list[Json]:
        """Return every trait: its `name`, `value`, `values` (the default first), `question` and `source`."""
        chosen = self.sandbox.options.personality
        return [{"value": getattr(chosen, name), **asdict(trait)} for name, trait in TRAITS.items()]

    @_verb("POST", "/personality")
    def set_personality(self, **traits: Any) -> None:
        """Choose traits by name; the others stay."""
        chosen = self.sandbox.options.personality.model_dump() | traits
        self.sandbox.configure({"personality": Personality.model_validate(chosen)})

    @_verb("GET", "/clock")
    def clock(self) -> Json:
        """Return `now`, the time in the sandbox."""
        return {"now": utc_text(self.sandbox.world.now())}

    @_verb("POST", "/clock")
    def advance_clock(self, seconds: float) -> Json:
        """Move the sandbox's clock ahead, do what falls due, and return `now`; a client's own clock stays."""
        if seconds < 0:
            raise ValueError("the clock only moves ahead")
        self.sandbox.ahead += timedelta(seconds=seconds)
        self.sandbox.world.advance()
        return Admin.clock(self)

    # -- accounts -----------------------------------------------------------------------------------

    @_verb("POST", "/accounts")
    def create_account(self, **fields: Any) -> Json:
        """Add an account (fields of `sandbox.world.accounts.Account`), and return it with ids and tokens.

        By default it has one Google calendar profile with one calendar, and no conferencing profile.
        """
        return self.sandbox.world.registry.add_account(Account.model_validate(fields)).model_dump()

    @_verb("GET", "/accounts")
    def accounts(self) -> list[Json]:
        """Return all accounts."""
        return [account.model_dump() for account in self.sandbox.world.registry.accounts()]

    @_verb("GET", ACCOUNT)
    def account(self, sub: str) -> Json:
        """Return one account."""
        return self.sandbox.world.registry.account(sub).model_dump()

    @_verb("POST", f"{ACCOUNT}/scope")
    def set_scope(self, sub: str, scope: str) -> None:
        """Change the scope the account granted."""
        self.sandbox.world.registry.account(sub).scope = scope

    @_verb("POST", f"{ACCOUNT}/default_profile")
    def set_default_profile(self, sub: str, profile_id: str | None) -> None:
        """Set the profile that `default` means; None for the calendar's integrated service."""
        self.sandbox.world.registry.account(sub).default_profile = profile_id

    @_verb("POST", f"{ACCOUNT}/missing_meeting_url")
    def set_missing_meeting_url(self, sub: str, on: bool) -> None:
        """Make the account's integrated service return no meeting URL."""
        self.sandbox.world.registry.account(sub).missing_meeting_url = on

    @_verb("POST", f"{ACCOUNT}/expire_access_token")
    def expire_access_token(self, sub: str) -> None:
        """Expire all access tokens of the account now."""
        self.sandbox.world.registry.expire_access_tokens(sub)

    @_verb("POST", f"{ACCOUNT}/refresh_access_token")
    def refresh_access_token(self, sub: str) -> Json:
        """The application refreshes the token itself; returns the account with it."""
        registry = self.sandbox.world.registry
        registry.refresh(registry.account(sub))
        return registry.account(sub).model_dump()

    @_verb("POST", f"{ACCOUNT}/revoke_refresh_token")
    def revoke_refresh_token(self, sub: str) -> None:
        """Revoke the refresh token; access tokens stay valid until they expire."""
        self.sandbox.world.registry.revoke_refresh_token(sub)

    @_verb("POST", f"{ACCOUNT}/authorization_code")
    def create_code(self, sub: str, redirect_uri: str) -> Json:
        """The person lets the application in; returns the `code` that their browser would bring."""
        return {"code": self.sandbox.world.registry.code(sub, redirect_uri)}

    @_verb("POST", f"{ACCOUNT}/authorize")
    def authorize(self, sub: str) -> Json:
        """The person authorises the application again; returns the account with fresh tokens."""
        return self.sandbox.world.registry.authorize(sub).model_dump()

    # -- profiles -----------------------------------------------------------------------------------

    @_verb("POST", f"{ACCOUNT}/conferencing_profiles")
    def add_conferencing_profile(self, sub: str, **fields: Any) -> Json:
        """Add a profile (fields of `sandbox.world.accounts.ConferencingProfile`; Zoom by default)."""
        profile = ConferencingProfile.model_validate(fields)
        self.sandbox.world.registry.add_profile(sub, profile)
        return profile.model_dump()

    @_verb("POST", f"{ACCOUNT}/calendar_profiles")
    def add_calendar_profile(self, sub: str, **fields: Any) -> Json:
        """Add a profile (fields of `sandbox.world.accounts.CalendarProfile`; Google by default)."""
        profile = CalendarProfile.model_validate(fields)
        self.sandbox.world.registry.add_profile(sub, profile)
        return profile.model_dump()

    @_verb("POST", f"{PROFILE}/disconnect")
    def disconnect_profile(self, sub: str, profile_id: str) -> None:
        """Disconnect a profile, calendar or conferencing."""
        self.sandbox.world.registry.set_connected(sub, profile_id, connected=False)

    @_verb("POST", f"{PROFILE}/reconnect")
    def reconnect_profile(self, sub: str, profile_id: str) -> None:
        """Reconnect a profile, calendar or conferencing; it keeps its id."""
        self.sandbox.world.registry.set_connected(sub, profile_id, connected=True)

    @_verb("DELETE", PROFILE)
    def remove_profile(self, sub: str, profile_id: str) -> None:
        """Remove a profile, calendar or conferencing, for good."""
        self.sandbox.world.registry.remove_profile(sub, profile_id)

    # -- events -------------------------------------------------------------------------------------

    @_verb("POST", f"{ACCOUNT}/events/{{calendar_id}}")
    def create_event(self, sub: str, calendar_id: str, body: Json) -> None:
        """Write an event as the application would, with a Create or Update Event body."""
        account = self.sandbox.world.registry.account(sub)
        home = account.calendar(calendar_id)
        if home is None:
            raise Unknown(f"calendar {calendar_id}")
        if errors := validate(body, account, home[1], self.sandbox.options.personality):
            raise ValueError(errors)
        self.sandbox.world.upsert(account, calendar_id, body, via="sandbox")

    @_verb("POST", f"{ACCOUNT}/external_events/{{calendar_id}}")
    def create_external_event(self, sub: str, calendar_id: str, summary: str, start: Any, end: Any) -> Json:
        """The person adds an event of their own; returns it."""
        return self._described(self.sandbox.world.add_external(sub, calendar_id, summary, start, end))

    @_verb("GET", EVENT)
    def event(self, calendar_id: str, event_id: str) -> Json:
        """Return an event as a read shows it, with `sub`, `requested_profile_id` and `generation`."""
        return self._described(self.sandbox.world.event(calendar_id, event_id))

    @_verb("POST", f"{EVENT}/move")
    def move_event(self, calendar_id: str, event_id: str, **changes: Any) -> Json:
        """The person changes `start`, `end` or `summary`."""
        return self._described(self.sandbox.world.move(calendar_id, event_id, **changes))

    @_verb("DELETE", EVENT)
    def delete_event(self, calendar_id: str, event_id: str) -> Json:
        """The person deletes the event from their calendar."""
        return self._described(self.sandbox.world.delete_by_owner(calendar_id, event_id))

    @_verb("POST", f"{EVENT}/cancel")
    def cancel_event(self, calendar_id: str, event_id: str) -> Json:
        """The person cancels the event; reads go on showing it, with `status: cancelled`."""
        return self._described(self.sandbox.world.cancel(calendar_id, event_id))

    @_verb("POST", f"{EVENT}/restore")
    def restore_event(self, calendar_id: str, event_id: str) -> Json:
        """The person undoes a deletion or cancellation."""
        return self._described(self.sandbox.world.restore(calendar_id, event_id))

    @_verb("POST", f"{EVENT}/stuck")
    def set_stuck(self, calendar_id: str, event_id: str, on: bool = True) -> None:
        """Keep an event, even one not yet written, pending without reason or notification; or stop that."""
        self.sandbox.world.set_stuck(calendar_id, event_id, on)

    # -- trouble ------------------------------------------------------------------------------------

    @_verb("POST", "/outages/{provider_name}")
    def begin_outage(self, provider_name: str) -> None:
        """Take a conferencing provider down."""
        self.sandbox.world.outages.add(provider_name)

    @_verb("DELETE", "/outages/{provider_name}")
    def end_outage(self, provider_name: str) -> None:
        """Bring the provider back."""
        self.sandbox.world.outages.discard(provider_name)

    @_verb("POST", "/faults")
    def add_fault(self, kind: str, **fields: Any) -> None:
        """Add a fault to the API: the kinds and fields of `sandbox.world.faults.Fault`."""
        self.sandbox.faults.append(Fault.model_validate({"kind": kind, **fields}))

    @_verb("GET", "/faults")
    def faults(self) -> list[Json]:
        """Return the active faults, with their `hits`."""
        return [rule.model_dump() for rule in self.sandbox.faults]

    @_verb("DELETE", "/faults")
    def clear_faults(self) -> None:
        """Remove all faults."""
        self.sandbox.faults.clear()

    @_verb("POST", "/mailbox")
    def set_mailbox(self, **manner: Any) -> None:
        """Refuse emails, hang up or stall: fields of `sandbox.mailbox.Manner`; none: accept emails."""
        self.sandbox.mailbox.manner = Manner(**manner)

    # -- what was seen ------------------------------------------------------------------------------

    @_verb("GET", "/requests")
    def requests(self, path: str = "") -> list[Json]:
        """Return the API requests whose path contains `path`, oldest first."""
        return self.sandbox.traffic.requests(path)

    @_verb("GET", "/rates")
    def rates(self) -> Json:
        """Return `max_per_second` and `max_per_minute` over any sliding window so far."""
        return self.sandbox.traffic.rates()

    @_verb("GET", "/writes")
    def writes(self) -> list[Json]:
        """Return the accepted event writes, oldest first."""
        return list(self.sandbox.world.writes)

    @_verb("GET", "/invitations")
    def invitations(self) -> list[Json]:
        """Return what attendees were sent, oldest first."""
        return list(self.sandbox.world.invitations)

    @_verb("GET", "/notifications")
    def notifications(self) -> list[Json]:
        """Return every notification and what happened to it, oldest first."""
        return [asdict(delivery) for delivery in self.sandbox.courier.deliveries]

    @_verb("GET", "/channels")
    def channels(self, sub: str | None = None) -> list[Json]:
        """Return the open channels with their `sub`, of all accounts or of one."""
        channels = self.sandbox.world.channels.values()
        return [asdict(channel) for channel in channels if sub in (None, channel.sub)]

    @_verb("DELETE", "/channels/{channel_id}")
    def close_channel(self, channel_id: str) -> None:
        """Close a channel silently, as Cronofy does."""
        self.sandbox.world.close_channel(channel_id)

    @_verb("GET", "/mail")
    def mail(self) -> list[Json]:
        """Return the received emails, oldest first."""
        return [mail.described() for mail in self.sandbox.mailbox.mails]

    def _described(self, event: Event) -> Json:
        """Return the event as a read shows it, plus what only Cronofy knows."""
        account = self.sandbox.world.registry.account(event.sub)
        return {
            **render(event, account, self.sandbox.options.personality, localized=True),
            "sub": event.sub,
            "requested_profile_id": event.profile_id,
            "generation": event.generation,
        }


def routes(sandbox: Sandbox) -> list[Route]:
    """Return the verbs' routes; an unknown id gets 404, a bad argument 422."""
    admin = Admin(sandbox)
    return [Route(f"/sandbox{v.path}", _served(v, admin), methods=[v.method]) for v in VERBS.values()]


def _served(verb: Verb, admin: Admin) -> Callable[[Request], Awaitable[Response]]:
    checked = validate_call(verb.function)

    async def endpoint(request: Request) -> Response:
        try:
            body = json.loads(await request.body() or b"{}")
            given = {"body": body} if verb.takes_body else body
            answer = checked(admin, **given, **request.query_params, **request.path_params)
        except Unknown as unknown:
            return JSONResponse({"error": f"unknown {unknown}"}, status_code=404)
        except (ValueError, TypeError) as wrong:
            return JSONResponse({"error": f"{type(wrong).__name__}: {wrong}"}, status_code=422)
        return JSONResponse({verb.list_name: answer} if isinstance(answer, list) else answer or {})

    return endpoint
