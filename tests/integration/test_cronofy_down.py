"""When Cronofy itself fails, that is one fact: few calls, one notice, one all-clear, no event escalated."""

from __future__ import annotations

import pytest

from tests.integration.world import Begin, World
from worker.mail.compose import read_back
from worker.run import looks
from worker.ways.notify import message_of

OVER = "Over: nobody has to help any more with 40 meetings."


def down(begin: Begin, accounts: int = 14, **settings: str) -> list[World]:
    """Accounts with an event each, at a Cronofy that answers 503."""
    first = begin(profiles=1, escalation_email="ops@example.org", **settings)
    worlds = [first, *(first.another() for _ in range(accounts - 1))]
    for world in worlds:
        world.track(hours=0.5)
    first.control.add_fault("status", status=503)
    return worlds


def tick(world: World) -> None:
    """A sweep, whatever the time."""
    ledger = world.services.ledger
    ledger.redis.delete(ledger.keys.slot)
    looks.sweep(world.services)


def let_pass(world: World) -> None:
    """The next call may be tried."""
    ledger = world.services.ledger
    for key in ledger.redis.scan_iter(f"{ledger.prefix}:budget:*:try"):
        ledger.redis.delete(key)


def test_after_ten_failed_calls_hardly_any_is_made(begin: Begin) -> None:
    """What is not looked at stays due, and has not failed."""
    worlds = down(begin)
    for world in worlds:
        world.look()

    assert len(worlds[0].calls()) == 10
    assert [world.stored().event.failures for world in worlds] == [1] * 10 + [0] * 4
    let_pass(worlds[0])
    worlds[10].look()
    worlds[11].look()
    assert len(worlds[0].calls()) == 11


def test_one_notice_and_one_all_clear(begin: Begin) -> None:
    """However often it is looked."""
    worlds = down(begin, escalation_digest="PT0S")
    for world in worlds:
        world.look()
    tick(worlds[0])
    tick(worlds[0])
    [incident] = worlds[0].services.ledger.incidents.open()
    [mail] = worlds[0].mails()
    assert incident.kind == "cronofy_failing"
    assert read_back(mail.message)["Subject"] == "No looks for now: most calls to Cronofy fail"
    worlds[0].control.clear_faults()
    let_pass(worlds[0])
    worlds[12].look()
    worlds[13].look()
    tick(worlds[0])

    [mail] = worlds[0].mails()
    assert read_back(mail.message)["Subject"] == "Over: most calls to Cronofy fail"
    assert worlds[0].services.ledger.incidents.open() == []
    told = [each["type"] for each in worlds[0].outcomes() if each["type"].startswith("incident")]
    assert told == ["incident_opened", "incident_closed"]
    # The limit grows back from a tenth.
    assert (
        worlds[0].services.looker.cronofy.budget(worlds[0].services.looker.cronofy.origin("us")).trouble()
        is None
    )


def test_no_event_is_escalated_for_looks_that_fail_meanwhile(begin: Begin) -> None:
    """The incident says it all."""
    worlds = down(begin, grace="PT0.001S")
    for world in worlds:
        world.look()
    tick(worlds[0])
    for _ in range(4):
        let_pass(worlds[0])
        worlds[0].look()

    assert worlds[0].stored().event.failures == 5
    assert "escalated" not in worlds[0].types()


def test_an_event_that_waits_for_its_user_is_not_escalated_for_failed_looks(begin: Begin) -> None:
    """Nobody but the user can help, and they were asked."""
    world = begin(profiles=1, grace="PT0.001S")
    world.control.disconnect_profile(world.sub, world.profiles[0])
    world.track(hours=0.5)
    world.look()
    world.control.add_fault("status", status=503)
    for _ in range(4):
        world.look()

    assert world.stored().event.failures == 4
    assert "escalated" not in world.types()


def test_a_refused_client_is_told_once(begin: Begin) -> None:
    """Nothing can be looked at until it is accepted."""
    world = begin(profiles=1, escalation_email="ops@example.org", escalation_digest="PT0S")
    cronofy = world.services.looker.cronofy
    cronofy.budget(cronofy.origin("us")).refuse_client()
    tick(world)
    tick(world)

    [mail] = world.mails()
    assert read_back(mail.message)["Subject"] == "No looks for now: Cronofy refuses our client"
    cronofy.budget(cronofy.origin("us")).accept_client()
    tick(world)
    [mail] = world.mails()
    assert read_back(mail.message)["Subject"] == "Over: Cronofy refuses our client"


def test_a_few_failures_among_many_answers_are_no_trouble(begin: Begin) -> None:
    """More than half of a minute's calls have to fail."""
    world = begin(profiles=1)
    budget = world.services.looker.cronofy.budget("https://example.test")
    budget.answered(11, 0)
    budget.answered(0, 10)

    assert budget.trouble() is None
    budget.answered(0, 2)
    assert budget.trouble() == "cronofy_failing"


def test_looks_resume_in_order(begin: Begin) -> None:
    """A batch stops at the first look that is put off, and the sweep wakes one for a try."""
    worlds = down(begin)
    for world in worlds[:10]:
        world.look()
    services = worlds[0].services
    services.ledger.redis.delete(services.ledger.keys.slot)

    assert looks.look_at_ready(services, 10).looked_at == 0


@pytest.mark.parametrize(
    ("kind", "opened", "over"),
    [
        ("cronofy_failing", "No meeting is looked at for now.", "Over: looks are made again."),
        ("provider_outage", "40 meetings of 30 accounts wait.", OVER),
        ("lapsed", "40 meetings of 30 accounts wait.", OVER),
        ("unexplained", "40 meetings of 30 accounts need a person.", OVER),
    ],
)
def test_other_places_are_told_in_fitting_words(kind: str, opened: str, over: str) -> None:
    """What waits together needs no person for each."""
    counts = {"events": 40, "accounts": 30, "acknowledged": 0}
    detail = {"incident": "i1", "reason": kind, "provider_name": None, **counts}

    bodies = [
        message_of({"type": f"incident_{word}", "detail": detail}, None).body for word in ("opened", "closed")
    ]

    assert [body.splitlines()[0] for body in bodies] == [opened, over]
