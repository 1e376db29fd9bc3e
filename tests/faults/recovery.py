"""What makes up for a fault: time passes, and the next sweeps, looks and mails do the rest."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.faults.endstate import (
    EndState,
    doubled_mails,
    doubled_tellings,
    doubled_writes,
    end_state,
    faults_of,
)
from tests.faults.record import Record
from tests.faults.remedies import Case
from tests.faults.stage import SWEEP, Stage
from tests.integration.world import World

#: After this many rounds of everybody's work all must be well; without a fault, two are enough.
ROUNDS = 6


@dataclass(slots=True)
class Recovery:
    """How a world stands after a fault and all that makes up for it."""

    #: What is not as it should be, each a sentence.
    wrong: list[str] = field(default_factory=list)
    #: What was done or told beyond once.
    writes: int = 0
    mails: int = 0
    tellings: int = 0
    #: How many emails came in all.
    received: int = 0

    @property
    def twice(self) -> int:
        """All that was done or told beyond once."""
        return self.writes + self.mails + self.tellings

    def enter(self, record: Record, fault: str, expected: EndState) -> None:
        """Add it to a fault's row of the table."""
        events = len(expected.events)
        lost = events if self.wrong else 0
        record(fault, injected=1, events=events, lost=lost, doubled=self.twice, mails=self.received)


def undisturbed(stage: Stage, case: Case) -> tuple[EndState, list[str]]:
    """How a case ends without any fault, and by which side effects."""
    world = case.begin(stage)
    effects = stage.work(case.first(world)).names
    for _ in range(2):
        _round(stage, world)
    assert faults_of(stage, world) == []
    assert (doubled_writes(world), doubled_mails(world), doubled_tellings(stage)) == (0, 0, 0)
    return end_state(stage, world), effects


def recover(stage: Stage, world: World, expected: EndState) -> Recovery:
    """Let everybody work until all is as expected, and once more: nothing is to come of it later."""
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
        wrong,
        doubled_writes(world),
        doubled_mails(world),
        doubled_tellings(stage),
        len(world.control.mail()),
    )


def _round(stage: Stage, world: World) -> None:
    stage.let_time_pass(world.sub)
    stage.work(SWEEP)
