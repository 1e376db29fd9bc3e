"""Finds out which events make a plan fail that is made for all events of a look at once. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from worker.ledger.records import TrackedEvent
from worker.reconcile.verdict import Verdict

P = TypeVar("P")

#: Makes something of a look's verdicts and the account's other events; calls nobody and changes nothing.
Plan = Callable[[Sequence[Verdict], Sequence[TrackedEvent]], P]


def sifted(
    plan: Plan[P], verdicts: Sequence[Verdict], others: Sequence[TrackedEvent]
) -> tuple[P, list[tuple[Verdict, Exception]]]:
    """The plan for all events that it does not fail for, and the verdicts that it does, each with its error.

    Raises what the plan raises where no single event can be blamed.
    """
    try:
        return plan(verdicts, others), []
    except Exception:
        sound: list[Verdict] = []
        blamed: list[tuple[Verdict, Exception]] = []
        for verdict in verdicts:
            error = _error_of(plan, [verdict], [])
            if error is None:
                sound.append(verdict)
            else:
                blamed.append((verdict, error))
        return plan(sound, [other for other in others if _error_of(plan, sound, [other]) is None]), blamed


def _error_of(plan: Plan[P], verdicts: Sequence[Verdict], others: Sequence[TrackedEvent]) -> Exception | None:
    try:
        plan(verdicts, others)
    except Exception as error:
        return error
    return None
