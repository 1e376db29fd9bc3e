"""Python's SDK makes each call; prints the method's name for each that worked, or the error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from pycronofy import Client
from pycronofy.batch import BatchBuilder

given = json.loads(sys.argv[1])
tokens = {name: given[name] for name in ("client_id", "client_secret", "access_token", "refresh_token")}
sdk = Client(**tokens)
sdk.request_handler.base_url = given["url"]
calendar = given["calendar_id"]


def event(event_id: str) -> dict[str, Any]:
    """A body for upsert_event, which changes it."""
    return {
        "event_id": event_id,
        "summary": "Interview",
        "description": "",
        "tzid": "Etc/UTC",
        "start": given["start"],
        "end": given["end"],
    }


def call(name: str, method: str, act: Callable[[], Any]) -> None:
    """Make one call; `act` returns what must be true."""
    try:
        worked = act()
        said = method if worked else f"{method}: unexpected answer"
    except Exception as error:
        worked, said = False, f"{method}: {error!r}"
    print(json.dumps([name, bool(worked), said]))


def batch() -> bool:
    """Write an event and delete it."""
    builder = BatchBuilder()
    builder.upsert_event(calendar, event("e4"))
    builder.delete_event(calendar, "e4")
    return sdk.batch(builder) is not None


def channel() -> str:
    """The id of the first channel."""
    return str(sdk.list_notification_channels()[0]["channel_id"])


def read() -> list[str]:
    """The ids of the application's events."""
    return sorted(e["event_id"] for e in sdk.read_events(tzid="Etc/UTC"))


call(
    "exchange a code",
    "get_authorization_from_code",
    lambda: sdk.get_authorization_from_code(given["code"], given["redirect_uri"])["access_token"],
)
call("refresh", "refresh_authorization", lambda: sdk.refresh_authorization()["access_token"])
call("UserInfo", "userinfo", lambda: sdk.userinfo()["sub"] == given["sub"])
call("account", "account", lambda: sdk.account()["account_id"] == given["sub"])
call("calendars", "list_calendars", lambda: sdk.list_calendars()[0]["calendar_id"] == calendar)
call("create a calendar", "create_calendar", lambda: sdk.create_calendar(given["profile_id"], "Interviews"))
call("profiles", "list_profiles", lambda: sdk.list_profiles()[0]["profile_id"] == given["profile_id"])
call(
    "write an event",
    "upsert_event",
    lambda: [sdk.upsert_event(calendar, event(name)) for name in ("e1", "e2", "e3")],
)
call("read events, page by page", "read_events", lambda: read() == ["e1", "e2", "e3"])
call("batch", "batch", batch)
call("delete an event", "delete_event", lambda: sdk.delete_event(calendar, "e1") or read() == ["e2", "e3"])
call("delete all events", "delete_all_events", lambda: sdk.delete_all_events() or read() == [])
call(
    "open a channel",
    "create_notification_channel",
    lambda: sdk.create_notification_channel("urn:x")["channel_id"],
)
call("channels", "list_notification_channels", channel)
call(
    "close a channel",
    "close_notification_channel",
    lambda: sdk.close_notification_channel(channel()) or sdk.list_notification_channels() == [],
)
call(
    "connect a conferencing service",
    "get_conferencing_services_auth_link",
    lambda: sdk.get_conferencing_services_auth_link("https://app.example/back"),
)
call("check a signature", "hmac_valid", lambda: sdk.hmac_valid(given["signature"], given["body"]))
call("revoke a profile", "revoke_profile", lambda: sdk.revoke_profile(given["profile_id"]) or True)
call("revoke", "revoke_authorization", lambda: sdk.revoke_authorization() or True)
