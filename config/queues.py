"""The names of our queues."""

from __future__ import annotations

from typing import NamedTuple

from config.settings import Settings, SettingsError


class Queues(NamedTuple):
    """The names of our queues, in the order in which a worker that consumes several takes from them."""

    urgent: str
    intake: str
    mail: str
    looks: str

    @classmethod
    def of(cls, prefix: str) -> Queues:
        """The queues of the fleet with this ``RECONCILER_KEY_PREFIX``."""
        return cls(*(f"{prefix}.{name}" for name in cls._fields))


def check_outcome_queue(settings: Settings) -> None:
    """Raise SettingsError if outcomes would go to a queue of ours, whose workers would drop them."""
    if settings.outcome_queue in Queues.of(settings.key_prefix):
        raise SettingsError(
            f"RECONCILER_OUTCOME_QUEUE names {settings.outcome_queue}, a queue of our own, where every "
            "outcome would be lost: name the queue of the program that takes them."
        )
