"""Diagnoses as contract JSON (§1): what the tasks return and ``explain --json`` prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.diagnosis.model import Cause, Certainty, Diagnosis, Remedy, State
from worker.ledger.records import TrackedEvent, from_ms

PARKED_NOTE = "It stays parked until someone replays it from the dead letters or asks for it."

#: For an event before its first look.
_UNSEEN = Diagnosis(
    State.PENDING,
    Cause.GENERATING,
    Certainty.LIKELY,
    ("This event has not been looked at yet.",),
    Remedy.WAIT,
).as_json
#: For a pending event of a lost account (contract §6).
_LOST = Diagnosis(
    State.PENDING,
    Cause.ACCOUNT_UNAUTHORIZED,
    Certainty.CERTAIN,
    ("Cronofy refuses this account; nothing can be read until it is connected again.",),
    Remedy.CLOSE,
).as_json


@dataclass(frozen=True, slots=True)
class Explained:
    """An event's diagnosis as contract JSON (§1)."""

    answer: dict[str, Any]
    #: It was read at Cronofy just now; otherwise it is from the ledger.
    live: bool = False


def recorded_answer(sub: str, event: TrackedEvent, lost: bool) -> dict[str, Any]:
    """The last look's diagnosis, from the ledger; `lost`: the account is lost."""
    settled = event.last is not None and event.last["state"] != State.PENDING.value
    last = event.last or _UNSEEN
    if event.parked:
        if not lost and last["cause"] == _LOST["cause"]:
            # The account was connected since, or got its token; no look has said more of the event.
            last = _UNSEEN
        last = {**last, "certainty": Certainty.LIKELY.value, "evidence": [event.parked, PARKED_NOTE]}
        last["remedy"] = Remedy.ESCALATE.value
    if lost and last["cause"] != _LOST["cause"] and not settled:
        last = _LOST
    return _answer(sub, event, last, over=settled or lost)


def live_answer(sub: str, event: TrackedEvent, diagnosis: Diagnosis) -> dict[str, Any]:
    """A fresh diagnosis that changed nothing, so the next look stays as planned."""
    over = diagnosis.state is not State.PENDING or diagnosis.remedy is Remedy.CLOSE
    return _answer(sub, event, diagnosis.as_json, over=over)


def _answer(sub: str, event: TrackedEvent, diagnosis: Mapping[str, Any], *, over: bool) -> dict[str, Any]:
    return {
        "sub": sub,
        "calendar_id": event.key.calendar_id,
        "event_id": event.key.event_id,
        **diagnosis,
        "next_check_at": None if over or event.next_look is None else from_ms(event.next_look).isoformat(),
    }
