"""What needs attention: it appears when it happens, with what resolves it, and goes when that is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from config.queues import Queues
from sandbox.server import RunningSandbox
from tests.integration.poison import QUICK
from tests.integration.test_acknowledge import acknowledge, escalated
from tests.integration.test_parking import park
from tests.integration.world import Begin, World
from tests.receivers import SECRET, receiving
from tests.waiting import wait_until
from worker.intake import accept
from worker.intake.payloads import AccountOnly
from worker.ledger.figures import announce
from worker.ledger.records import to_ms
from worker.run import delivery, telling
from worker.status import trouble
from worker.status.snapshot import read_status
from worker.status.table import status_lines
from worker.status.trouble import Trouble, troubles
from worker.trouble import WORDS, Kind
from worker.web.board.overview import read_overview
from worker.web.board.page import render, trouble_url

#: Begins the world, makes it happen, and returns how it is resolved.
Make = Callable[[Begin, RunningSandbox, pytest.MonkeyPatch], tuple[World, Callable[[], object]]]


def _well(begin: Begin, running: RunningSandbox, profiles: int = 1, **settings: Any) -> World:
    """A fleet with a worker and beat."""
    world = begin(profiles, smtp_url=running.smtp_url, **settings)
    _report(world)
    return world


def _report(world: World, *queues: str) -> None:
    ledger = world.services.ledger
    ledger.redis.delete(ledger.keys.workers)
    announce(ledger.redis, ledger.keys, "one@host", queues or Queues.of(ledger.prefix))
    ledger.promote(0)


def _stuck_mail(begin: Begin, running: RunningSandbox, patch: pytest.MonkeyPatch) -> Any:
    world = _well(begin, running)
    world.control.set_mailbox(refuse_status=451, refuse_at="connect")
    world.track()
    world.control.disconnect_profile(world.sub, world.profiles[0])
    world.look()
    patch.setattr(delivery, "FIRST_MAIL_PAUSE", 0 * delivery.FIRST_MAIL_PAUSE)
    patch.setattr(delivery, "MAIL_SECONDS", 0.1)
    delivery.send_mails(world.services)
    assert Kind.MAIL_STUCK not in _kinds(world), "a server may ask to try again"
    patch.setattr(trouble, "MAIL_AFTER", 0 * trouble.MAIL_AFTER)

    def resolve() -> None:
        world.control.set_mailbox()
        assert delivery.send_mails(world.services) == 1

    return world, resolve


def _unconsumed(begin: Begin, running: RunningSandbox, _: pytest.MonkeyPatch) -> Any:
    world = _well(begin, running)
    queues = Queues.of(world.services.ledger.prefix)
    _report(world, queues.urgent, queues.intake, queues.looks)
    return world, lambda: _report(world)


def _late(begin: Begin, running: RunningSandbox, _: pytest.MonkeyPatch) -> Any:
    world = _well(begin, running)
    world.track()
    ledger = world.services.ledger
    ledger.redis.zadd(ledger.keys.due, {world.sub: to_ms(ledger.now()) - 240_000})
    return world, lambda: ledger.redis.zrem(ledger.keys.due, world.sub)


def _lost(begin: Begin, running: RunningSandbox, _: pytest.MonkeyPatch) -> Any:
    world = _well(begin, running)
    _lose(world)

    def resolve() -> None:
        world.control.authorize(world.sub)
        world.connect()

    return world, resolve


def _lost_and_forgotten(begin: Begin, running: RunningSandbox, _: pytest.MonkeyPatch) -> Any:
    world = _well(begin, running)
    _lose(world)
    return world, lambda: accept.forget_account(world.services, AccountOnly(sub=world.sub))


def _lose(world: World) -> None:
    world.track()
    world.control.revoke_refresh_token(world.sub)
    world.control.expire_access_token(world.sub)
    world.look()
    assert "account_lost" in world.types()


def _came_back(begin: Begin, running: RunningSandbox, _: pytest.MonkeyPatch) -> Any:
    world = escalated(begin, smtp_url=running.smtp_url)
    _report(world)
    ledger = world.services.ledger
    acknowledge(world, until="0.3")
    ends = ledger.acknowledgement(world.sub, world.key())
    assert ends is not None
    wait_until(lambda: to_ms(ledger.now()) > (ends.until or 0), 5, what="its end")
    assert Kind.CAME_BACK not in _kinds(world)
    world.look()
    world.look()
    return world, lambda: acknowledge(world, until="P3D")


def _came_back_and_settled(begin: Begin, running: RunningSandbox, patch: pytest.MonkeyPatch) -> Any:
    world, _ = _came_back(begin, running, patch)
    return world, lambda: world.services.ledger.untrack(world.sub, world.key())


def _incident(begin: Begin, running: RunningSandbox, _: pytest.MonkeyPatch) -> Any:
    world = escalated(begin, smtp_url=running.smtp_url)
    _report(world)
    return world, lambda: acknowledge(world)


def _dead_letter(begin: Begin, running: RunningSandbox, _: pytest.MonkeyPatch) -> Any:
    world = _well(begin, running)
    letters = world.services.ledger.dead_letters
    letters.keep("conferencing.track", "bad", (), {})
    return world, lambda: world.services.ledger.redis.delete(world.services.ledger.keys.dead_letters)


def _parked(begin: Begin, running: RunningSandbox, patch: pytest.MonkeyPatch) -> Any:
    world = _well(begin, running, 1, **QUICK)
    park(world, patch)
    assert Kind.DEAD_LETTERS not in _kinds(world), "its letter is no other thing"
    return world, lambda: world.services.ledger.untrack(world.sub, world.key("bad"))


def _given_up(begin: Begin, running: RunningSandbox, patch: pytest.MonkeyPatch) -> Any:
    patch.setattr(delivery, "MOST_TRIES", 1)
    with receiving(lambda _: 500) as receiver:
        world = _well(begin, running, outcome_url=receiver.url, outcome_secret=SECRET)
        world.track()
        delivery.post_outcomes(world.services)
    posts = world.services.ledger.posts
    return world, lambda: posts.drop([each.entry_id for each in posts.dead()])


def _owed(begin: Begin, running: RunningSandbox, _: pytest.MonkeyPatch) -> Any:
    with receiving(lambda _: 500) as receiver:
        world = _well(begin, running, outcome_url=receiver.url, outcome_secret=SECRET)
        delivery.post_outcomes(world.services)
    ledger = world.services.ledger
    return world, lambda: ledger.redis.delete(ledger.keys.outcomes_owed("url"))


def _refused_mail(begin: Begin, running: RunningSandbox, _: pytest.MonkeyPatch) -> Any:
    world = _well(begin, running)
    world.control.set_mailbox(refuse_status=550, refuse_at="recipient")
    world.track()
    world.control.disconnect_profile(world.sub, world.profiles[0])
    world.look()
    delivery.send_mails(world.services)

    def resolve() -> None:
        world.control.reconnect_profile(world.sub, world.profiles[0])
        world.look()

    return world, resolve


def _paused(begin: Begin, running: RunningSandbox, _: pytest.MonkeyPatch) -> Any:
    world = _well(begin, running)
    ledger = world.services.ledger
    ledger.set_paused(True)
    return world, lambda: ledger.set_paused(False)


CASES: dict[str, tuple[Kind, Make]] = {
    "stuck mail": (Kind.MAIL_STUCK, _stuck_mail),
    "a queue that nobody consumes": (Kind.QUEUE_UNCONSUMED, _unconsumed),
    "late accounts": (Kind.LOOKS_LATE, _late),
    "a lost account": (Kind.ACCOUNTS_LOST, _lost),
    "a lost account that is forgotten": (Kind.ACCOUNTS_LOST, _lost_and_forgotten),
    "an acknowledged event that came back": (Kind.CAME_BACK, _came_back),
    "one that came back and is untracked": (Kind.CAME_BACK, _came_back_and_settled),
    "an incident": (Kind.INCIDENTS, _incident),
    "a dead letter": (Kind.DEAD_LETTERS, _dead_letter),
    "a parked event": (Kind.EVENTS_PARKED, _parked),
    "outcomes given up": (Kind.OUTCOMES_GIVEN_UP, _given_up),
    "outcomes owed": (Kind.OUTCOMES_OWED, _owed),
    "refused mail": (Kind.ADDRESS_REFUSED, _refused_mail),
    "a pause": (Kind.FLEET_PAUSED, _paused),
}


def _found(world: World) -> list[Trouble]:
    services = world.services
    return list(troubles(read_status(services.ledger.redis, services.settings)))


def _kinds(world: World) -> set[Kind]:
    return {each.kind for each in _found(world)}


@pytest.mark.parametrize(("kind", "make"), CASES.values(), ids=CASES)
def test_it_is_shown_with_what_resolves_it_until_it_is_resolved(
    begin: Begin, running: RunningSandbox, monkeypatch: pytest.MonkeyPatch, kind: Kind, make: Make
) -> None:
    """A sentence each: by `status` with a command to type, on the board with a link or that command."""
    world, resolve = make(begin, running, monkeypatch)
    [found] = [each for each in _found(world) if each.kind is kind]
    status, board = _shown(world)

    assert found.sentence.startswith(WORDS[kind].sentence)
    assert found.sentence in status
    assert found.command in status
    address = trouble_url(kind)
    assert (
        f'<a href="{address}">{found.sentence}</a>' if address else f"<code>{found.command}</code>"
    ) in board

    resolve()

    assert kind not in _kinds(world)
    assert all(WORDS[kind].sentence not in text for text in _shown(world))


def test_a_fleet_that_is_well_needs_no_attention(begin: Begin, running: RunningSandbox) -> None:
    """Also while events wait for their links, and for their users."""
    world = _well(begin, running)
    world.track()
    world.look()
    world.control.disconnect_profile(world.sub, world.profiles[0])
    world.look()
    telling.tell_incidents(world.services)
    delivery.send_mails(world.services)

    assert _found(world) == []
    assert all("Needs attention" not in text for text in _shown(world))


def _shown(world: World) -> tuple[str, str]:
    """What `status` and the board's first page show."""
    services = world.services
    status = read_status(services.ledger.redis, services.settings)
    lines = status_lines(status)
    shown = "\n".join("".join(text for text, _ in line) for line in lines)
    return shown, render("live.html", board=read_overview(services.ledger, services.settings))
