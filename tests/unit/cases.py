"""Examples of one event in every state, made by the real diagnosis and records."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from config.settings import Settings
from tests.unit.builders import DAY, NOW, SUB, Sighting, concluded
from worker.diagnosis.model import Notice, Profiles
from worker.explain.case import Case
from worker.ledger.records import Account, Episode, Memo, Obstacle, TrackedEvent, to_ms
from worker.reconcile.answer import live_answer, recorded_answer

SETTINGS = Settings()


def looked_at(
    event: TrackedEvent,
    sighting: Sighting | None = None,
    profiles: Profiles | None = None,
    *,
    notice: Notice | None = None,
) -> TrackedEvent:
    """The record after a look at NOW that saw this, and after these notices."""
    if notice:
        event = event.noticed(notice.interaction.value, notice.subtype, to_ms(notice.at))
    return concluded(event, sighting, profiles).after


def case(
    event: TrackedEvent,
    *,
    lost: bool = False,
    connected: bool = True,
    episode: Episode | None = None,
    now: datetime = NOW,
    **changed: Any,
) -> Case:
    """What the ledger knows of the event just after the last look."""
    memo = Memo({"pro_a": episode} if episode else {}, {"pro_a": "zoom"})
    account = Account(SUB, b"sealed" if connected else None, lost, memo=memo)
    answer = recorded_answer(SUB, event, lost)
    return replace(Case(answer, event, account, now, SETTINGS), **changed)


def live(event: TrackedEvent, profiles: Profiles) -> Case:
    """A live read of an event that no look has reached: the record is unchanged."""
    diagnosis = concluded(event, profiles=profiles).diagnosis
    account = Account(SUB, b"sealed", lost=False)
    return Case(live_answer(SUB, event, diagnosis), event, account, NOW, SETTINGS, live=True)


def asked(mails: int = 1, *, obstacle: Obstacle | None = None, missed: int = 0) -> Episode:
    """An episode of pro_a that began a day ago, with this many emails, `missed` of which were never sent."""
    ids = tuple(f"mail_{n}" for n in range(mails - missed))
    return Episode(to_ms(NOW - DAY), mails, ids, (), obstacle)
