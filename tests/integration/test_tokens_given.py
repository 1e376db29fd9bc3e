"""Accounts whose application gives their access tokens: asked for in time, waited for without a call."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.integration.channels import URL
from tests.integration.ledgers import LONG, claim
from tests.integration.world import Begin, World
from worker.doctor.fleet import examine_fleet
from worker.explain.chronicle import following, what_helps
from worker.explain.explanation import recorded_case
from worker.explain.reply import reply
from worker.intake import accept
from worker.intake.payloads import ConnectAccount
from worker.ledger.figures import read_figures
from worker.ledger.leases import Change
from worker.ledger.ledger import Credentials
from worker.ledger.packing import pack_token
from worker.ledger.records import AccessToken, to_ms
from worker.run import looks
from worker.status.snapshot import read_status
from worker.status.table import status_lines
from worker.web.board.overview import read_overview

HOUR = timedelta(hours=1)


def give(world: World, *, again: bool = False, **fields: Any) -> dict[str, Any]:
    """The application gives the account's newest access token, good for an hour."""
    token = world.control.account(world.sub)["access_token"]
    given = {"sub": world.sub, "access_token": token, "expires_in": 3600, **fields}
    accept.connect_account(world.services, ConnectAccount(**given), again=again)
    return given


def give_next(world: World) -> None:
    """The application refreshes the token itself, and gives it."""
    world.control.refresh_access_token(world.sub)
    give(world)


def pass_time(world: World, lapses: timedelta, asks: timedelta | None) -> None:
    """Let so much time pass that the token lapses and is asked for after these."""
    ledger = world.services.ledger
    now, sealed = ledger.now(), ledger.account(world.sub).credentials or b""
    token = AccessToken(to_ms(now + lapses), None if asks is None else to_ms(now + asks))
    ledger.redis.hset(ledger.keys.account(world.sub), "token", pack_token(token, sealed))
    ledger.release(claim(ledger, world.sub))


def sweep(world: World) -> int:
    """Move what is due and look at it; returns at how many accounts."""
    world.services.ledger.promote(10)
    return looks.look_at_ready(world.services, 10).looked_at


def waiting(world: World) -> int:
    """How many accounts wait for a token, as status and metrics count them."""
    ledger = world.services.ledger
    return read_figures(ledger.redis, ledger.keys).without_token


def test_the_next_token_is_asked_for_once_before_it_lapses(begin: Begin) -> None:
    """Whoever looks, however often; the event's own looks go on meanwhile, and the answer ends the matter."""
    world = begin()
    give(world)
    world.track()
    pass_time(world, HOUR / 12, -HOUR / 60)

    assert (world.standing(), sweep(world), world.calls()) == ({"ready"}, 1, [])
    assert (sweep(world), world.standing()) == (0, {"waiting"})
    assert world.look()["cause"] == "generating"
    assert (world.types(), waiting(world)) == (["token_needed"], 0)
    [asked] = world.outcomes()
    assert (asked["sub"], asked["event_id"], asked["cause"]) == (world.sub, None, None)
    assert asked["detail"]["reason"].startswith("The account's access token lapses at ")
    give_next(world)
    assert (world.look()["cause"], world.types()) == ("generating", ["token_needed"])
    pass_time(world, HOUR / 12, -HOUR / 60)
    sweep(world)
    assert world.types() == ["token_needed"] * 2


def test_an_idle_account_is_not_asked_for(begin: Begin) -> None:
    """Nobody needs a token for an account without pending events; once one is tracked, its look asks."""
    world = begin()
    give(world)
    pass_time(world, -HOUR, -2 * HOUR)
    assert (world.standing(), sweep(world), world.types(), waiting(world)) == (set(), 0, [], 0)

    world.track()
    assert world.look()["cause"] == "account_unauthorized"

    assert (world.types(), world.calls(), waiting(world)) == (["token_needed"], [], 1)
    world.services.ledger.untrack(world.sub, world.key())
    assert (world.standing(), waiting(world)) == (set(), 0)


@pytest.mark.parametrize("how", ["lapsed", "refused", "refused between two calls"])
def test_without_a_token_the_account_waits_and_costs_no_call(begin: Begin, how: str) -> None:
    """It is not lost and not refreshed; its events stay pending until the next token, which wakes it."""
    world = begin()
    give(world)
    world.track("e1")
    world.track("e2")
    assert world.look("e1")["cause"] == "generating"
    if how == "lapsed":
        pass_time(world, timedelta(), -HOUR)
    elif how == "refused":
        world.control.expire_access_token(world.sub)
    else:
        world.control.add_fault("status", status=401, match={"path_prefix": "/v1/userinfo"})
    before = len(world.calls())

    answer = world.look("e1")
    tried = len(world.calls()) - before

    assert tried == {"lapsed": 0, "refused": 1}.get(how, 2)
    assert (answer["state"], answer["cause"]) == ("pending", "account_unauthorized")
    assert (answer["remedy"], answer["next_check_at"] is not None) == ("wait", True)
    assert "until the application gives another one" in answer["evidence"][1]
    for event_id in ("e1", "e2"):
        world.look(event_id)
        assert world.explain(event_id).answer["evidence"][:2] == answer["evidence"]
    assert len(world.calls()) == before + tried
    assert (world.types(), waiting(world)) == (["token_needed"], 1)
    assert (world.services.ledger.account(world.sub).lost, world.standing()) == (False, {"waiting"})

    world.control.clear_faults()
    give_next(world)

    assert (world.standing(), waiting(world)) == ({"ready"}, 0)
    assert sweep(world) == 1
    assert [str(world.stored(name).event.cause) for name in ("e1", "e2")] == ["generating"] * 2
    assert world.types() == ["token_needed"]


def test_a_token_that_is_refused_again_is_asked_for_again(begin: Begin) -> None:
    """Once for each token that was given."""
    world = begin()
    give(world)
    world.track()
    for number in (1, 2, 3):
        world.control.expire_access_token(world.sub)
        world.look()
        world.look()
        assert world.types() == ["token_needed"] * number
        give_next(world)
        assert world.look()["cause"] == "generating"


def test_however_many_find_it_refused_at_once_one_asks(begin: Begin) -> None:
    """The lease lets one look at a time, and the first to find out tells all others."""
    world = begin()
    give(world)
    names = [f"e{number}" for number in range(6)]
    for name in names:
        world.track(name)
    world.control.expire_access_token(world.sub)

    with ThreadPoolExecutor(len(names)) as pool:
        answers = list(pool.map(world.look, names))

    assert {answer["cause"] for answer in answers} == {"account_unauthorized"}
    assert (world.types(), len(world.calls())) == (["token_needed"], 1)


def test_a_person_is_told_before_the_start_what_is_owed(begin: Begin) -> None:
    """Once, in the stream and by email; every page says it in plain words."""
    world = begin(escalation_email="operator@example.org")
    give(world, email="dana@example.org")
    world.track("near", hours=0.5)
    world.track("far", hours=48)
    pass_time(world, -HOUR, None)
    ledger = world.services.ledger
    for name in ("near", "far"):
        event = world.stored(name).event
        ledger.track(world.sub, replace(event, asked_at=event.asked_at - 7_200_000))

    for _ in range(3):
        world.look("near")

    assert world.types() == ["escalated"]
    [escalated] = world.outcomes()
    assert (escalated["event_id"], escalated["cause"]) == ("near", "account_unauthorized")
    assert "until the application gives another one" in escalated["detail"]["reason"]
    [mail] = world.mails()
    assert b"operator@example.org" in mail.message
    assert world.calls() == []
    case = recorded_case(ledger, world.services.settings, world.sub, world.key("near"))
    assert case is not None
    told = [*reply(case), *following(case), *what_helps(case)]
    assert "has to be renewed" in told[0]
    assert "Nothing needs to be done on your side" in told[1]
    assert sum("access token" in sentence for sentence in told) == 2
    assert "access_token" in told[-1]


def test_every_page_says_that_an_account_waits(begin: Begin) -> None:
    """In plain words, with what to do about it; nothing is said while none does."""
    world = begin()
    settings, ledger = world.services.settings, world.services.ledger
    give(world)
    world.track()

    def told() -> list[str]:
        status = read_status(ledger.redis, settings)
        lines = ["".join(text for text, _ in line) for line in status_lines(status)]
        attention = read_overview(ledger, settings).attention
        shown = [*lines, *(each.sentence for each in attention)]
        return [line.strip() for line in shown if "access token" in line]

    assert told() == []
    pass_time(world, -HOUR, None)
    world.look()

    assert told() == [
        "Accounts wait for an access token: 1 account waits for the application to give the next one.",
        "accounts      0 due, 0 being looked at, 1 waiting for an access token",
        "Accounts wait for an access token: 1 account waits for the application to give the next one.",
    ]
    [finding] = [f for f in examine_fleet(settings) if f.name == "access tokens"]
    assert (finding.health, finding.what) == (
        "warning",
        "Accounts wait for an access token: 1 account waits for the application to give the next one",
    )
    assert "conferencing.connect_account" in finding.fix


def test_a_token_given_during_the_look_is_not_asked_for(begin: Begin) -> None:
    """What the look found was about the former one: the event is looked at again with the next."""
    world = begin()
    give(world)
    world.track()
    ledger = world.services.ledger
    lease = claim(ledger, world.sub)
    world.control.expire_access_token(world.sub)
    give_next(world)

    result = world.services.looker.look(lease, [world.key()])

    assert "access token" in (result.failure or "")
    assert (world.types(), waiting(world)) == ([], 0)
    assert world.look()["cause"] == "generating"


def test_a_redelivered_token_starts_nothing_over(begin: Begin) -> None:
    """It neither prolongs the token nor has it asked for again; another one does."""
    world = begin()
    give(world)
    world.track()
    world.control.expire_access_token(world.sub)
    world.look()

    give(world, again=True)
    world.look()
    assert world.types() == ["token_needed"]
    world.control.refresh_access_token(world.sub)
    give(world, again=True)

    assert world.look()["cause"] == "generating"


def test_a_channel_waits_for_the_token_too(begin: Begin) -> None:
    """An idle account with a refused token asks for nothing and is not tried over and over; a channel that is
    known is not looked for again with each token.
    """
    world = begin(webhook_url=URL)
    give(world)
    world.control.expire_access_token(world.sub)

    assert sweep(world) == 1
    assert (sweep(world), world.standing(), world.types()) == (0, set(), [])
    give_next(world)
    assert (sweep(world), len(world.control.channels(world.sub))) == (1, 1)
    calls = len(world.calls())
    give_next(world)
    assert (sweep(world), len(world.calls())) == (0, calls)


def test_our_refused_client_does_not_concern_them(begin: Begin) -> None:
    """They need no refresh: they are looked at, and leave the try of a refresh to accounts that have one."""
    world = begin()
    give(world)
    world.track()
    cronofy, redis = world.services.looker.cronofy, world.services.ledger.redis
    cronofy.budget(cronofy.origin("us")).refuse_client()
    probes = f"{world.services.ledger.prefix}*:probe"
    redis.delete(*redis.keys(probes))

    assert world.look()["cause"] == "generating"

    assert (redis.keys(probes), world.types()) == ([], [])


def test_refresh_tokens_end_the_wait(begin: Begin) -> None:
    """From then on we refresh: also if a release that knows no other tokens stored them."""
    world = begin()
    give(world)
    world.track()
    pass_time(world, -HOUR, None)
    assert world.look()["cause"] == "account_unauthorized"
    world.connect()
    assert (world.standing(), waiting(world)) == ({"ready"}, 0)
    assert (world.look()["cause"], world.services.ledger.account(world.sub).token) == ("generating", None)

    give(world)
    pass_time(world, -HOUR, None)
    account = world.control.account(world.sub)
    ledger = world.services.ledger
    tokens = Credentials(account["refresh_token"], account["access_token"])
    sealed = ledger.seal_credentials(world.sub, tokens)
    ledger.redis.hset(ledger.keys.account(world.sub), "credentials", sealed)
    assert (world.look()["cause"], waiting(world)) == ("generating", 0)


def test_an_ask_whose_lease_was_lost_is_made_by_the_next_look(begin: Begin) -> None:
    """And one that was connected meanwhile changes nothing."""
    world = begin()
    give(world)
    world.track()
    ledger = world.services.ledger
    lease = claim(ledger, world.sub)
    give_next(world)
    token = AccessToken(0)

    assert ledger.commit(lease, Change(token=token), done=False).void
    assert ledger.commit(lease, Change(), done=True).void is False
    assert ledger.account(world.sub).token != token
    assert ledger.claim_account(world.sub, LONG)
