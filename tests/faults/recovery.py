"""Recovery from a fault: time passes, and the next sweeps, looks and emails do the rest."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.faults.endstate import (
    EndState,
    doubled_mails,
    doubled_outcomes,
    doubled_writes,
    end_state,
    faults_of,
)
from tests.faults.record import Record
from tests.faults.remedies import Case
from tests.faults.stage import SWEEP, Stage
from tests.integration.world import World

#: All must be well after this many rounds; without a fault, two are enough.
ROUNDS = 6


@dataclass(slots=True)
class Recovery:
    """The state after a fault and the recovery."""

    #: What is wrong, each a sentence.
    wrong: list[str] = field(default_factory=list)
    #: What was done or published more than once.
    writes: int = 0
    mails: int = 0
    repeats: int = 0
    #: The total number of emails.
    received: int = 0

    @property
    def twice(self) -> int:
        return self.writes + self.mails + self.repeats

    def enter(self, record: Record, fault: str, expected: EndState) -> None:
        """Add it to a fault's row in the table."""
        events = len(expected.events)
        lost = events if self.wrong else 0
        record(fault, injected=1, events=events, lost=lost, doubled=self.twice, mails=self.received)


def undisturbed(stage: Stage, case: Case) -> tuple[EndState, list[str]]:
    """How a case ends without any fault, and through which side effects."""
    world = case.begin(stage)
    effects = stage.work(case.first(world)).names
    for _ in range(2):
        _round(stage, world)
    assert faults_of(stage, world) == []
    assert (doubled_writes(world), doubled_mails(world), doubled_outcomes(stage)) == (0, 0, 0)
    return end_state(stage, world), effects


def recover(stage: Stage, world: World, expected: EndState) -> Recovery:
    """Run rounds until all is as expected, and then one more, which must change nothing."""
    for _ in range(ROUNDS):
        _round(stage, world)
        if end_state(stage, world) == expected and not faults_of(stage, world):
            break
    _round(stage, world)
    ended, wrong = end_state(stage, world), faults_of(stage, world)
    wrong += [
        f"{name} is {getattr(ended, name)}, not {getattr(expected, name)}"
        for name in EndState.__slots__
        if getattr(ended, name) != getattr(expected, name)
    ]
    return Recovery(
        wrong, doubled_writes(world), doubled_mails(world), doubled_outcomes(stage), len(world.control.mail())
    )


def _round(stage: Stage, world: World) -> None:
    stage.let_time_pass(world.sub)
    stage.work(SWEEP)
