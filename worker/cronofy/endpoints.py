"""One label for each Cronofy endpoint we call, for metrics: a bounded set, whatever the ids."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

_ENDPOINTS: Final = (
    ("/oauth/token", "token"),
    ("/v1/events", "read_events"),
    ("/v1/userinfo", "userinfo"),
    ("/v1/batch", "batch"),
    ("/v1/channels", "channels"),
    ("/v1/calendars", "update_event"),
)
OTHER: Final = "other"
#: All labels.
ENDPOINTS: Final = (*(word for _, word in _ENDPOINTS), OTHER)


def endpoint_of(url: str) -> str:
    """The label of a URL's endpoint; all pages of a read share one."""
    path = urlsplit(url).path
    for start, word in _ENDPOINTS:
        if path == start or path.startswith(f"{start}/"):
            return word
    return OTHER
