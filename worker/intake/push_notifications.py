"""What a push notification speaks of (Cronofy API reference §6), read as leniently as can be.

Its body is a hint, never evidence: ids are taken from it, and the kind of interaction; what is true
is then read from Cronofy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.diagnosis.model import Interaction

#: Words for the same interaction; the second stood in older documentation.
_INTERACTIONS = {
    "conferencing_assigned": Interaction.ASSIGNED,
    "conferencing_success": Interaction.ASSIGNED,
    "conferencing_failing": Interaction.FAILING,
}
#: A channel was opened; somebody wants their data erased at Cronofy.
_NO_NEWS = ("verification", "gdpr_requested")
_LONGEST_WORD = 64


@dataclass(frozen=True, slots=True)
class PushNotification:
    """What a notification says: any of it may be missing."""

    calendar_id: str | None = None
    event_id: str | None = None
    interaction: Interaction | None = None
    subtype: str | None = None
    #: Cronofy's word for what it is about, such as ``change`` (reference §6b).
    kind: str | None = None
    #: The channel that it came over; None for an event's own subscription.
    channel_id: str | None = None

    @property
    def is_news(self) -> bool:
        """Whether an event of ours may stand otherwise than before; so may what an unknown word means."""
        return self.kind not in _NO_NEWS


def read_notification(body: str) -> PushNotification:
    """Read a notification's body; one that is no JSON object, or says nothing known, is an empty one."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return PushNotification()
    if not isinstance(content, Mapping):
        return PushNotification()
    notification = _object(content.get("notification"))
    event = _object(content.get("event")) or _object(notification.get("event"))
    interaction, subtype = _interaction(notification.get("interactions"))
    return PushNotification(
        kind=_word(notification.get("type")),
        channel_id=_text(_object(content.get("channel")).get("channel_id")),
        calendar_id=_text(event.get("calendar_id")),
        event_id=_text(event.get("event_id")),
        interaction=interaction,
        subtype=subtype,
    )


def _interaction(value: Any) -> tuple[Interaction | None, str | None]:
    """The first known interaction of an array, or of one object in its place."""
    for item in value if isinstance(value, list) else [value]:
        interaction = _INTERACTIONS.get(str(_object(item).get("type")))
        if interaction:
            return interaction, _word(_object(item).get("subtype"))
    return None, None


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _word(value: Any) -> str | None:
    text = _text(value)
    return text[:_LONGEST_WORD] if text else None


def _text(value: Any) -> str | None:
    """A text that can be kept: a lone surrogate cannot be written as UTF-8."""
    if not isinstance(value, str) or not value:
        return None
    return None if any("\ud800" <= character <= "\udfff" for character in value) else value
