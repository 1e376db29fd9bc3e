"""An application that calls the sandbox as it would call Cronofy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

NOW = datetime.now(UTC).replace(microsecond=0)


class Caller:
    """The application, calling the API for one account."""

    def __init__(self, url: str, account: dict[str, Any]) -> None:
        """Open a connection with the account's token."""
        self.account = account
        self.calendar_id = account["calendar_profiles"][0]["calendars"][0]["calendar_id"]
        headers = {"Authorization": f"Bearer {account['access_token']}"}
        self.http = httpx.Client(base_url=url, headers=headers, trust_env=False)

    def read(self, **query: Any) -> httpx.Response:
        """Call Read Events."""
        return self.http.get("/v1/events", params={"tzid": "Etc/UTC", **query})

    def ids(self, **query: Any) -> list[str]:
        """Return the ids of the application's events and the summaries of others, in read order."""
        return [e.get("event_id", e["summary"]) for e in self.read(**query).json()["events"]]

    def write(self, **fields: Any) -> httpx.Response:
        """Call Create or Update Event; a field of None is omitted."""
        body = {k: v for k, v in {**an_event(), **fields}.items() if v is not None}
        return self.http.post(f"/v1/calendars/{self.calendar_id}/events", json=body)

    def the_event(self, **query: Any) -> dict[str, Any]:
        """Return the application's only event."""
        (event,) = self.read(only_managed="true", **query).json()["events"]
        found: dict[str, Any] = event
        return found


def an_event(days: float = 1) -> dict[str, Any]:
    """Return a valid body for an event that starts in `days` days."""
    start = NOW + timedelta(days=days)
    return {
        "event_id": "e1",
        "summary": "Interview",
        "start": start.isoformat(),
        "end": (start + timedelta(minutes=30)).isoformat(),
    }
