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
    """Raise SettingsError if what is for others would go to a queue of ours, whose workers would drop it."""
    given = {"OUTCOME": (settings.outcome_queue, "outcome"), "MAIL": (settings.mail_queue, "letter")}
    for name, (queue, what) in given.items():
        if queue in Queues.of(settings.key_prefix):
            raise SettingsError(
                f"RECONCILER_{name}_QUEUE names {queue}, a queue of our own, where every {what} would be "
                "lost: name the queue of the program that takes them."
            )
