"""A glitch at every step: whichever side effect fails or kills the process, the end is the same."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence

import pytest

from tests.faults.effects import DEAD, Glitch
from tests.faults.endstate import EndState
from tests.faults.record import Record
from tests.faults.recovery import Recovery, recover, undisturbed
from tests.faults.remedies import CASES, Case
from tests.faults.stage import OUTCOME_TASK, Stage


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    """Each remedy in turn."""
    return CASES[request.param]


@pytest.fixture
def stage(case: Case, stage_with: Callable[..., Stage]) -> Stage:
    """The services that look at the account, send its email and publish its outcomes."""
    return stage_with(**case.settings)


Undisturbed = tuple[EndState, list[str]]

_known: dict[int, Undisturbed] = {}


@pytest.fixture
def calm(stage: Stage, case: Case) -> Undisturbed:
    """How the case ends without a glitch, and through which side effects; computed once."""
    if id(case) not in _known:
        _known[id(case)] = undisturbed(stage, case)
    return _known[id(case)]


@pytest.mark.parametrize("death", [False, True], ids=["an exception", "a death"])
def test_it_ends_as_without_the_glitch(
    stage: Stage, case: Case, calm: Undisturbed, death: bool, long: bool, record: Record
) -> None:
    """The same events settle, with the same outcomes once each; only the step in progress may repeat."""
    expected, effects = calm
    numbers = range(1, len(effects) + 1)
    glitches = [Glitch(number, after, death) for number in numbers for after in (False, True)]
    if not long:
        # Every fourth one as an exception, and those halfway between as a death.
        glitches = _sample(glitches, effects)[2 * death :: 4]
    complaints = []
    for glitch in glitches:
        world = case.begin(stage)
        if death:
            assert stage.die(case.first(world), glitch) == DEAD
        else:
            assert stage.work(case.first(world), glitch).struck
        recovery = recover(stage, world, expected)
        wrong = recovery.wrong + _too_often(recovery, effects, glitch, len(expected.written))
        complaints += [f"{glitch} ({effects[glitch.number - 1]}): {complaint}" for complaint in wrong]
        recovery.enter(
            record, f"{'The process dies' if death else 'An exception'} at any one side effect", expected
        )

    assert complaints == []


def test_a_command_sent_again_takes_effect_once(
    stage: Stage, case: Case, calm: Undisturbed, long: bool, seed: int, record: Record
) -> None:
    """Redis's client bridges short outages by resending commands that may already have taken effect."""
    expected, _ = calm
    world = case.begin(stage)
    answers = stage.resend(case.first(world)).names
    numbers = list(range(1, len(answers) + 1))
    if not long:
        once_each = [answers.index(name) + 1 for name in dict.fromkeys(answers)]
        numbers = random.Random(seed).sample(once_each, min(2, len(once_each)))
    complaints = []
    for number in numbers:
        world = case.begin(stage)
        assert stage.resend(case.first(world), Glitch(number, after=True, death=False)).struck
        recovery = recover(stage, world, expected)
        wrong = recovery.wrong + ([f"{recovery.twice} things were done twice"] if recovery.twice else [])
        complaints += [f"answer {number} ({answers[number - 1]}): {complaint}" for complaint in wrong]
        recovery.enter(record, "An answer of Redis is lost, and its command sent again", expected)

    assert complaints == []


def _too_often(recovery: Recovery, effects: Sequence[str], glitch: Glitch, written: int) -> list[str]:
    """What was done or published more often than docs/reliability.md allows at this point."""
    found = []
    # Cronofy may have applied the update before the ledger noted it.
    writing = _between(effects, glitch, {"HTTP POST events", "HTTP POST batch"}, "Redis commit")
    if recovery.writes > (written if writing else 0):
        found.append(f"{recovery.writes} more Update Events")
    # The mail server may have accepted the email before the outbox noted it.
    mailing = _between(effects, glitch, {"SMTP data"}, "Redis finish_mail")
    if recovery.mails > (1 if mailing else 0):
        found.append(f"{recovery.mails} more emails")
    # The outcome was published before the cursor moved.
    publishing = _between(effects, glitch, {f"publish {OUTCOME_TASK}"}, "Redis SET")
    if recovery.repeats > (1 if publishing else 0):
        found.append(f"{recovery.repeats} outcomes sent again")
    return found


def _between(effects: Sequence[str], glitch: Glitch, begins: Collection[str], ends: str) -> bool:
    """Whether the glitch comes after one of these side effects and before the next that completes it."""
    here = glitch.number - 1 if glitch.after else glitch.number - 2
    for name in reversed(effects[: here + 1]):
        if name == ends:
            return False
        if name in begins:
            return True
    return False


def _sample(glitches: Sequence[Glitch], effects: Sequence[str]) -> list[Glitch]:
    """The first, the last, and those after each call, email, commit and publish.

    What happens before a side effect is nearly always what happens after the one before it.
    """
    key = ("HTTP", "SMTP data", "Redis commit", "Redis finish_mail", f"publish {OUTCOME_TASK}")
    return [
        glitch
        for glitch in glitches
        if glitch.number in (1, len(effects)) or (glitch.after and effects[glitch.number - 1].startswith(key))
    ]
