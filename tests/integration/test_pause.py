"""An operator's pause: no call to Cronofy and no email, and nothing is lost."""

from __future__ import annotations

from datetime import timedelta

from tests.integration.world import Begin
from worker.run import looks


def test_a_paused_fleet_makes_no_calls_and_resumes_where_it_was(quick: Begin) -> None:
    """Intake continues, no look is started, a question is answered from the ledger; then all resumes."""
    world = quick()
    world.services.ledger.set_paused(True)

    world.track()
    world.services.ledger.nudge(world.sub, world.key())
    woken = looks.sweep(world.services)
    answer = world.look()

    assert woken == 0
    assert world.calls() == []
    assert answer["evidence"][-1] == "Not re-read: An operator paused the fleet (reconciler pause)."
    assert world.types() == []

    world.services.ledger.set_paused(False)
    looks.look_at_ready(world.services, 10)

    assert world.types() == ["assigned"]


def test_a_paused_fleet_sends_no_email(begin: Begin) -> None:
    """Emails stay in the outbox, and are due again afterwards."""
    world = begin()
    world.control.disconnect_profile(world.sub, world.profiles[0])
    world.track()
    world.look()

    world.services.ledger.set_paused(True)

    assert not world.services.outbox.has_due()
    assert world.services.outbox.take() is None

    world.services.ledger.set_paused(False)

    assert world.services.outbox.has_due()
    assert len(world.mails()) == 1


def test_a_pause_keeps_the_time_at_which_it_began(begin: Begin) -> None:
    """Pausing a paused fleet changes nothing, nor does resuming one that is not paused."""
    ledger = begin().services.ledger
    assert ledger.paused_since() is None

    ledger.set_paused(True)
    since = ledger.paused_since()
    ledger.set_paused(True)

    assert since is not None
    assert ledger.paused_since() == since
    assert timedelta(0) <= ledger.now() - since < timedelta(minutes=1)

    ledger.set_paused(False)
    ledger.set_paused(False)

    assert ledger.paused_since() is None
