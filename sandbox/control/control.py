"""A client of the control plane: one method for each thing that can be done to the sandbox."""

from __future__ import annotations

from typing import Any, Self
from urllib.parse import quote

import httpx

Json = dict[str, Any]


class Control:
    """Synchronous; may be used from any thread. A refusal raises `httpx.HTTPStatusError`."""

    def __init__(self, base_url: str) -> None:
        """Talk to the sandbox at `base_url`, its origin."""
        self.base_url = base_url.rstrip("/")
        self._http = httpx.Client(base_url=self.base_url, timeout=30.0, trust_env=False)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def __enter__(self) -> Self:
        """Give the client, to be closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self.close()

    def _call(
        self, method: str, path: str, body: Json | None = None, query: dict[str, str] | None = None
    ) -> Any:
        response = self._http.request(method, f"/sandbox{path}", json=body, params=query)
        if response.is_error:
            raise httpx.HTTPStatusError(
                f"{method} {path}: {response.status_code} {response.text}",
                request=response.request,
                response=response,
            )
        return response.json()

    # -- the sandbox --------------------------------------------------------------------------------

    def health(self) -> Json:
        """Return `{"status": "ok"}`."""
        return self._json("GET", "/health")

    def reset(self) -> None:
        """Forget everything and go back to the options of the start."""
        self._call("POST", "/reset")

    def settings(self) -> Json:
        """Return the options in force."""
        return self._json("GET", "/settings")

    def set_settings(self, **changes: object) -> Json:
        """Change options by their `SandboxOptions` name, and return all of them."""
        return self._json("POST", "/settings", changes)

    def set_limits(self, **changes: object) -> Json:
        """Change `per_second`, `per_minute`, `retry_after` or `batch_cost`; a limit of 0 is none."""
        return self.set_settings(**changes)

    # -- accounts -----------------------------------------------------------------------------------

    def create_account(self, **fields: object) -> Json:
        """Add an account (fields of `sandbox.world.accounts.Account`), and return it with ids and tokens.

        Without any field it has one Google calendar profile with one calendar, and no conferencing
        profile.
        """
        return self._json("POST", "/accounts", fields)

    def create_accounts(self, accounts: list[Json]) -> list[Json]:
        """Add many accounts at once."""
        return self._list("POST", "/accounts", "accounts", {"accounts": accounts})

    def accounts(self) -> list[Json]:
        """Return all accounts."""
        return self._list("GET", "/accounts", "accounts")

    def account(self, sub: str) -> Json:
        """Return one account."""
        return self._json("GET", _path("accounts", sub))

    def set_scope(self, sub: str, scope: str) -> None:
        """Change what the account has granted."""
        self._call("POST", _path("accounts", sub, "scope"), {"scope": scope})

    def set_default_profile(self, sub: str, profile_id: str | None) -> None:
        """Say which profile `default` stands for; None for the calendar's integrated service."""
        self._call("POST", _path("accounts", sub, "default_profile"), {"profile_id": profile_id})

    def expire_access_token(self, sub: str) -> None:
        """Let all access tokens of the account expire now."""
        self._call("POST", _path("accounts", sub, "expire_access_token"))

    def revoke_refresh_token(self, sub: str) -> None:
        """Revoke the refresh token; access tokens live out their time."""
        self._call("POST", _path("accounts", sub, "revoke_refresh_token"))

    def authorize(self, sub: str) -> Json:
        """Let the person authorise the application anew; returns the account with fresh tokens."""
        return self._json("POST", _path("accounts", sub, "authorize"))

    # -- profiles -----------------------------------------------------------------------------------

    def add_conferencing_profile(self, sub: str, **fields: object) -> Json:
        """Add a profile (fields of `sandbox.world.accounts.ConferencingProfile`; Zoom by default)."""
        return self._json("POST", _path("accounts", sub, "conferencing_profiles"), fields)

    def add_calendar_profile(self, sub: str, **fields: object) -> Json:
        """Add a profile (fields of `sandbox.world.accounts.CalendarProfile`; Google by default)."""
        return self._json("POST", _path("accounts", sub, "calendar_profiles"), fields)

    def disconnect_profile(self, sub: str, profile_id: str) -> None:
        """Disconnect a profile of either kind."""
        self._call("POST", _path("accounts", sub, "profiles", profile_id, "disconnect"))

    def reconnect_profile(self, sub: str, profile_id: str) -> None:
        """Reconnect a profile of either kind; it keeps its id."""
        self._call("POST", _path("accounts", sub, "profiles", profile_id, "reconnect"))

    def remove_profile(self, sub: str, profile_id: str) -> None:
        """Remove a profile of either kind for good."""
        self._call("DELETE", _path("accounts", sub, "profiles", profile_id))

    def set_missing_meeting_url(self, sub: str, on: bool, profile_id: str | None = None) -> None:
        """Let the account's integrated service, or one conferencing profile, give no meeting URL."""
        where = ("profiles", profile_id) if profile_id else ()
        self._call("POST", _path("accounts", sub, *where, "missing_meeting_url"), {"on": on})

    def follow_relink(self, url: str) -> None:
        """Do what a person does who opens a relink URL and presses the button."""
        self._http.post(url).raise_for_status()

    # -- events -------------------------------------------------------------------------------------

    def create_event(self, sub: str, calendar_id: str, event: Json) -> None:
        """Write an event as the application would, with a Create or Update Event body."""
        self._call("POST", _path("accounts", sub, "events", calendar_id), event)

    def create_external_event(
        self, sub: str, calendar_id: str, *, summary: str, start: object, end: object
    ) -> Json:
        """Let the person add an event of their own; returns it."""
        body = {"summary": summary, "start": start, "end": end}
        return self._json("POST", _path("accounts", sub, "external_events", calendar_id), body)

    def event(self, calendar_id: str, event_id: str) -> Json:
        """Return an event as a read shows it, with `sub`, `requested_profile_id` and `generation`."""
        return self._json("GET", _path("events", calendar_id, event_id))

    def move_event(self, calendar_id: str, event_id: str, **changes: object) -> Json:
        """Let the person change `start`, `end` or `summary`."""
        return self._json("POST", _path("events", calendar_id, event_id, "move"), changes)

    def delete_event(self, calendar_id: str, event_id: str) -> Json:
        """Let the person delete the event from their calendar."""
        return self._json("DELETE", _path("events", calendar_id, event_id))

    def set_stuck(self, calendar_id: str, event_id: str, on: bool = True) -> None:
        """Leave an event, also one not yet written, pending without a reason or a word; or end that."""
        self._call("POST", _path("events", calendar_id, event_id, "stuck"), {"on": on})

    def set_after_failure(self, calendar_id: str, event_id: str, shown: str) -> None:
        """Say what a read of an event, also a future one, shows after a final failure: pending or absent."""
        body = {"after_failure": shown}
        self._call("POST", _path("events", calendar_id, event_id, "after_failure"), body)

    # -- trouble ------------------------------------------------------------------------------------

    def begin_outage(self, provider_name: str) -> None:
        """Take a conferencing provider down."""
        self._call("POST", _path("outages", provider_name))

    def end_outage(self, provider_name: str) -> None:
        """Bring it back."""
        self._call("DELETE", _path("outages", provider_name))

    def add_fault(self, kind: str, **fields: object) -> None:
        """Lay a fault on the API: the kinds and fields of `sandbox.world.faults.Fault`."""
        self._call("POST", "/faults", {"kind": kind, **fields})

    def faults(self) -> list[Json]:
        """Return the faults in force, with their `hits`."""
        return self._list("GET", "/faults", "faults")

    def clear_faults(self) -> None:
        """Lift all faults."""
        self._call("DELETE", "/faults")

    def set_mailbox(
        self,
        *,
        refuse_status: int | None = None,
        refuse_times: int | None = None,
        refuse_at: str = "message",
        hang_up: str | None = None,
        delay_seconds: float = 0.0,
    ) -> None:
        """Refuse mail with an SMTP status, hang up on it, or be slow; no argument: none of it.

        `refuse_at` is the step: "connect", "sender", "recipient" or "message". `hang_up` ends the connection
        at the message, after it was "kept" or with it "unkept". Both happen `refuse_times` times.
        """
        body = {
            "refuse_status": refuse_status,
            "refuse_times": refuse_times,
            "refuse_at": refuse_at,
            "hang_up": hang_up,
            "delay_seconds": delay_seconds,
        }
        self._call("POST", "/mailbox", body)

    # -- what was seen ------------------------------------------------------------------------------

    def requests(self, path: str = "") -> list[Json]:
        """Return the API requests whose path holds `path`, oldest first."""
        return self._list("GET", "/requests", "requests", query={"path": path})

    def rates(self) -> Json:
        """Return `max_per_second` and `max_per_minute` over any sliding window so far."""
        return self._json("GET", "/rates")

    def writes(self) -> list[Json]:
        """Return the accepted event writes, oldest first."""
        return self._list("GET", "/writes", "writes")

    def invitations(self) -> list[Json]:
        """Return what was sent to attendees, oldest first."""
        return self._list("GET", "/invitations", "invitations")

    def notifications(self) -> list[Json]:
        """Return every notification and what became of it, oldest first."""
        return self._list("GET", "/notifications", "notifications")

    def channels(self, sub: str | None = None) -> list[Json]:
        """Return the open channels, with the `sub` of each; of all accounts, or of one."""
        listed = self._list("GET", "/channels", "channels")
        return [channel for channel in listed if sub in (None, channel["sub"])]

    def close_channel(self, channel_id: str) -> None:
        """Close a channel as Cronofy does by itself, with no word to anybody."""
        self._call("DELETE", _path("channels", channel_id))

    def mail(self) -> list[Json]:
        """Return the received mail, oldest first."""
        return self._list("GET", "/mail", "mail")

    def _json(self, method: str, path: str, body: Json | None = None) -> Json:
        answer: Json = self._call(method, path, body)
        return answer

    def _list(
        self, method: str, path: str, name: str, body: Json | None = None, query: dict[str, str] | None = None
    ) -> list[Json]:
        answer: list[Json] = self._call(method, path, body, query)[name]
        return answer


def _path(*parts: str) -> str:
    return "/" + "/".join(quote(part, safe="") for part in parts)
