"""What a push notification is about (Cronofy API reference §6), read as leniently as possible.

Its body is a hint, never evidence: we take ids and the kind of interaction from it, then read the facts
from Cronofy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from worker.cronofy.wire import object_in, text_in
from worker.diagnosis.model import Interaction

#: Cronofy's words; `conferencing_success` is from older documentation.
_INTERACTIONS = {**{each.value: each for each in Interaction}, "conferencing_success": Interaction.ASSIGNED}
#: A channel was opened; a user wants their data erased at Cronofy.
GDPR_REQUESTED = "gdpr_requested"
#: Cronofy could not use one of the account's conferencing profiles; it does not say which.
PROFILE_DISCONNECTED = "conferencing_profile_disconnected"
_NO_NEWS = ("verification", GDPR_REQUESTED)
_LONGEST_WORD = 64


@dataclass(frozen=True, slots=True)
class PushNotification:
    """What a notification says; any part may be missing."""

    calendar_id: str | None = None
    event_id: str | None = None
    interaction: Interaction | None = None
    subtype: str | None = None
    #: Cronofy's word for what it is about, such as ``change`` (reference §6b).
    kind: str | None = None
    #: The channel it came over; None for an event's own subscription.
    channel_id: str | None = None
    #: The address of that channel.
    callback_url: str | None = None
    #: About when it was sent; only a ``change`` says so, as ``changes_since``.
    said_at: datetime | None = None

    @property
    def is_news(self) -> bool:
        """Whether an event may have changed; an unknown kind counts as news, too."""
        return self.kind not in _NO_NEWS

    @property
    def only_waits(self) -> bool:
        """Whether it says only that an event's conferencing service fails: nothing can be done about it."""
        return self.interaction is Interaction.FAILING and self.subtype is None


def read_notification(body: str) -> PushNotification:
    """Read a notification's body; empty if it is not a JSON object or says nothing we know."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return PushNotification()
    content = object_in(content)
    notification = object_in(content.get("notification"))
    channel = object_in(content.get("channel"))
    said = (notification, content)
    # Last, since it may only repeat what was subscribed to.
    subscriptions = [object_in(place.get("subscription")) for place in said]
    events = [object_in(place.get("event")) for place in (content, notification, *subscriptions)]
    event = next(filter(None, events), {})
    interaction, subtype = _interaction(said) or _interaction(subscriptions) or (None, None)
    return PushNotification(
        kind=_word(notification.get("type")),
        channel_id=_text(channel.get("channel_id")),
        callback_url=_text(channel.get("callback_url")),
        said_at=_moment(notification.get("changes_since")),
        calendar_id=_text(event.get("calendar_id")),
        event_id=_text(event.get("event_id")),
        interaction=interaction,
        subtype=subtype,
    )


def _interaction(places: Iterable[Mapping[str, Any]]) -> tuple[Interaction, str | None] | None:
    """What these places say: `interactions`, `interaction` or `type`, as a list, an object or a word.

    If they say both, the conference is there: an earlier failure is over.
    """
    known = []
    for place in places:
        for value in (place.get("interactions"), place.get("interaction"), place):
            for item in value if isinstance(value, list) else [value]:
                word = item if isinstance(item, str) else object_in(item).get("type")
                interaction = _INTERACTIONS.get(word) if isinstance(word, str) else None
                if interaction:
                    subtype = _word(object_in(item).get("subtype")) or _word(place.get("subtype"))
                    known.append((interaction, subtype))
    assigned = (each for each in known if each[0] is Interaction.ASSIGNED)
    return next(assigned, known[0] if known else None)


def _moment(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment if moment is None or moment.tzinfo else None


def _word(value: Any) -> str | None:
    text = _text(value)
    return text[:_LONGEST_WORD] if text else None


def _text(value: Any) -> str | None:
    return text_in(value) or None
