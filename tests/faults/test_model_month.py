"""A month of random life, in seconds: much happens, much goes wrong, and in the end all is well."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest

from tests.faults.callers import Callers
from tests.faults.cronofy import Answer, Cronofy, Disturbance, answers, nonsense, silence
from tests.faults.record import Record
from tests.faults.simulation import Simulation
from worker.diagnosis.model import Rung
from worker.diagnosis.replacement import WITHOUT_PROFILE
from worker.ledger.outcomes import OutcomeType
from worker.mail.smtp import MailError
from worker.run.deciding import SAME_PROVIDER

MONTH = timedelta(days=30)
HOUR = timedelta(hours=1)


def test_a_month_of_life(
    simulation: Simulation, long: bool, seed: int, record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    """The invariants hold every hour, and no meeting that could have had a link began without one.

    Once all faults are gone, every event ends assigned or closed.
    """
    dice, accounts = random.Random(seed), 40 if long else 4
    callers = Callers(simulation)
    simulation.set_last_resort(*Rung)
    for number in range(accounts):
        callers.join(f"acc{number}")
        callers.connect(f"acc{number}")
    simulation.cronofy.disturb = _unreliable(simulation.cronofy, dice)
    life = _life(callers, dice)
    began, happened = time.monotonic(), 0

    end = simulation.clock.now() + MONTH
    while simulation.clock.now() < end:
        for _ in range(dice.randrange(accounts)):
            dice.choice(life)()
            happened += 1
        simulation.work(timedelta(hours=dice.choice([1, 2, 6, 12])))
        callers.invariants.check()
    simulation.cronofy.disturb = None
    callers.converge()
    assert callers.invariants.missed == []

    seconds = time.monotonic() - began
    outcomes, mails = callers.invariants.outcomes, simulation.mail_server.taken
    with capsys.disabled():
        print(
            f"\n{accounts} accounts, {happened} happenings, {simulation.looks} looks, "
            f"{simulation.cronofy.calls} calls, {len(mails)} mails: "
            f"{MONTH.days / seconds:.1f} simulated days and {simulation.looks / seconds:.0f} looks a second"
        )
    record(
        "A simulated month in which a tenth of all calls fail",
        injected=simulation.cronofy.calls // 10,
        events=outcomes["assigned"] + outcomes["closed"],
        lost=len(callers.invariants.unsettled()),
        mails=len(mails),
    )
    # With few people, something may never happen to any of them; nothing is owed to the application.
    quiet = {kind.value for kind in OutcomeType if kind is not OutcomeType.MAIL_OWED} - set(outcomes)
    quiet = quiet if long else set()
    assert not quiet, f"the month was too quiet: {quiet} never came"


def _unreliable(cronofy: Cronofy, dice: random.Random) -> Disturbance:
    ways = [answers(500), answers(503), answers(429), answers(423), silence, nonsense, cronofy.unheard]
    ways += [cronofy.death_before, cronofy.death_after]

    def disturb(request: httpx.Request, answer: Answer) -> httpx.Response:
        way = dice.choice(ways) if dice.random() < 0.1 else None
        return way(request, answer) if way else answer(request)

    return disturb


def _life(callers: Callers, dice: random.Random) -> list[Callable[[], None]]:
    """A random thing that may happen to somebody."""

    def someone() -> str:
        return dice.choice(callers.simulation.cronofy.subs())

    def event() -> str:
        return f"e{dice.randrange(6)}"

    def profile() -> str:
        return dice.choice(["z1", "z2", "t1"])

    def later() -> timedelta:
        return dice.choice([timedelta(minutes=5), HOUR, 30 * HOUR, 200 * HOUR, 500 * HOUR])

    def one_that(final: str | None) -> tuple[str, str]:
        """An event that is pending or closed, if there is one."""
        watched = callers.invariants.watched
        return dice.choice([key for key in watched if watched[key].final == final] or [(someone(), event())])

    def refuse() -> None:
        permanent = dice.random() < 0.2
        callers.simulation.mail_server.refusals.append(MailError("no", permanent=permanent))

    return [
        *[lambda: callers.write_and_track(someone(), event(), later(), profile())] * 6,
        lambda: callers.track(someone(), event()),
        lambda: callers.untrack(someone(), event()),
        lambda: callers.move(someone(), event(), later(), told=dice.random() < 0.5),
        lambda: callers.delete(someone(), event()),
        lambda: callers.stick(someone(), event()),
        lambda: callers.bring_back(*one_that("closed"), later()),
        *[lambda: callers.outage(*one_that(None))] * 3,
        lambda: callers.notify(someone(), event(), "conferencing_failing", "profile_missing"),
        lambda: callers.notify(someone(), event(), "conferencing_assigned", None),
        *[lambda: callers.lose(someone(), profile())] * 2,
        *[lambda: callers.link(someone(), profile())] * 2,
        lambda: callers.tell_of_a_lapse(someone()),
        lambda: callers.adopt(someone(), event(), later(), profile()),
        *[lambda: callers.remove(someone(), profile())] * 2,
        lambda: callers.follow(someone()),
        lambda: callers.connect_instead(someone()),
        lambda: callers.choose(someone(), profile(), dice.choice([profile(), *WITHOUT_PROFILE])),
        lambda: callers.decide(dice.choice([SAME_PROVIDER, "integrated", None])),
        *[lambda: callers.acknowledge(*one_that(None))] * 2,
        lambda: callers.revoke(someone()),
        *[lambda: callers.connect(someone())] * 2,
        lambda: callers.lend(someone()),
        lambda: callers.ask_for_erasure(someone()),
        refuse,
    ]
