"""What an episode says of itself, without the emails: for looks, and for whoever explains an event. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from worker.diagnosis.model import Remedy
from worker.ledger.records import Episode, Obstacle, from_ms

#: What the operator is told about each obstacle; no sentence holds a URL.
OBSTACLES: Mapping[Obstacle, str] = {
    Obstacle.NO_ADDRESS: "The user must reconnect the profile, but we have no email address for them.",
    Obstacle.BAD_ADDRESS: "The user must reconnect the profile, but the email address on file is invalid.",
    Obstacle.NO_LINK: (
        "The profile must be reconnected, but Cronofy gave no relink URL for it: the user may be unable to, "
        "and an administrator may have to (Enterprise Connect, Teams, Meet)."
    ),
    Obstacle.LINK_REFUSED: "The user must reconnect the profile, but its relink URL may not be emailed.",
}
#: The same for a connect email.
CONNECT_OBSTACLES: Mapping[Obstacle, str] = {
    Obstacle.NO_ADDRESS: "The user must connect a profile, but we have no email address for them.",
    Obstacle.BAD_ADDRESS: "The user must connect a profile, but the email address on file is invalid.",
    Obstacle.UNSURE: (
        "A profile was connected after the user was asked to, but not by our link, and it may be another "
        "person's: a person has to choose."
    ),
}
#: What the key of a connect email's episode begins with; no profile's id has a colon.
_CONNECT = "connect:"


def connect_key(diagnosis: Mapping[str, Any] | None) -> str | None:
    """The key of the episode in which the user is asked to connect what an event needs; None if they aren't.

    `diagnosis` is the event's, as contract JSON.
    """
    if not diagnosis or diagnosis["remedy"] != Remedy.CONNECT_EMAIL:
        return None
    return key_of_service(str(diagnosis["detail"].get("provider_name")))


def key_of_service(provider_name: str) -> str:
    """The key of the episode in which the user is asked to connect a service."""
    return _CONNECT + provider_name


def is_of_service(key: str) -> bool:
    """Whether an episode with this key asks for a service, not for a profile."""
    return key.startswith(_CONNECT)


def service_of(key: str) -> str:
    """The service that an episode with this key asks for."""
    return key.removeprefix(_CONNECT)


def is_postponed(episode: Episode) -> bool:
    """Whether the first email has to wait, since the user got as many as they may about other profiles."""
    return not episode.mails and episode.obstacle is None


def next_reminder(episode: Episode, reminders: Sequence[timedelta]) -> datetime | None:
    """When an episode's next reminder is due; None if none is left or no email could be sent."""
    if episode.obstacle or not 0 < episode.mails <= len(reminders):
        return None
    return from_ms(episode.started_at) + reminders[episode.mails - 1]
