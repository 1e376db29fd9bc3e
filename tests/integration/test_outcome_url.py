"""Posting outcomes to a URL: signed, each event's in order, tried again, given up, replayed, erased."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from config.settings import load_settings
from tests.integration.ledgers import NOW
from tests.ports import free_port
from tests.receivers import OLD_SECRET, SECRET, Receiver, receiving
from tests.waiting import wait_until
from worker.bootstrap import Services, bootstrap
from worker.cli import main
from worker.intake import accept
from worker.intake.payloads import AccountOnly
from worker.ledger.outcomes import Outcome, OutcomeType
from worker.run import delivery
from worker.run.delivery import post_outcomes

Command = Callable[..., tuple[int, str, str]]
QUICK = timedelta(milliseconds=20)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not taken is tried again at once."""
    monkeypatch.setattr(delivery, "FIRST_WAIT", QUICK)
    monkeypatch.setattr(delivery, "LONGEST_WAIT", QUICK)
    monkeypatch.setattr(delivery, "REST", QUICK)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One that takes everything, unless told otherwise."""
    with receiving() as started:
        yield started


@pytest.fixture
def key() -> str:
    """A vault key."""
    return Fernet.generate_key().decode()


@pytest.fixture
def services(redis_url: str, prefix: str, tmp_path: Path, receiver: Receiver, key: str) -> Iterator[Services]:
    """A fleet that posts to the receiver, and signs with two secrets."""
    with ExitStack() as stack:
        started = bootstrap(_settings(redis_url, prefix, tmp_path, receiver.url, key))
        stack.callback(started.close)
        yield started


def _settings(redis_url: str, prefix: str, tmp_path: Path, url: str, key: str) -> Any:
    return load_settings(
        redis_url=redis_url,
        key_prefix=prefix,
        data_dir=tmp_path,
        vault_keys=key,
        cronofy_client_id="id",
        cronofy_client_secret="client-secret",
        outcome_url=url,
        outcome_secret=f"{SECRET},{OLD_SECRET}",
    )


def add(services: Services, *events: str) -> list[dict[str, Any]]:
    """Append an outcome for each of these events; returns them."""
    added = []
    for event in events:
        text = Outcome(OutcomeType.ASSIGNED, "acc", NOW, "cal", event).to_json()
        services.ledger.redis.xadd(services.ledger.keys.outcomes, {"outcome": text})
        added.append(json.loads(text))
    return added


def ids(outcomes: list[dict[str, Any]]) -> list[str]:
    """Their ids."""
    return [outcome["id"] for outcome in outcomes]


def test_each_outcome_is_posted_once_in_order_with_its_id_and_both_signatures(
    services: Services, receiver: Receiver
) -> None:
    """The body is the outcome as in the stream; the next turn posts only what is new."""
    added = add(services, "e1", "e2", "e1")

    assert post_outcomes(services) == 3
    assert post_outcomes(services) == 0

    assert receiver.taken == added
    assert [got.headers["webhook-id"] for got in receiver.got] == ids(added)
    assert {got.headers["webhook-signature"].count("v1,") for got in receiver.got} == {2}
    assert {got.headers["content-type"] for got in receiver.got} == {"application/json"}


@pytest.mark.parametrize("secret", [SECRET, OLD_SECRET], ids=["newest", "older"])
def test_a_receiver_with_either_secret_takes_it(
    redis_url: str, prefix: str, tmp_path: Path, key: str, secret: str
) -> None:
    """So a secret can be rotated."""
    with receiving(secret=secret) as receiver, ExitStack() as stack:
        services = bootstrap(_settings(redis_url, prefix, tmp_path, receiver.url, key))
        stack.callback(services.close)
        added = add(services, "e1")

        post_outcomes(services)

        assert receiver.taken == added


def test_a_receiver_that_fails_half_of_the_time_gets_all_of_it_in_order(
    services: Services, receiver: Receiver
) -> None:
    """Nothing is lost; what comes twice has the same id; no event's outcomes change places."""
    dice = random.Random(5)
    receiver.answer = lambda _: dice.choice([204, 500])
    added = add(services, *(f"e{number % 40}" for number in range(200)))

    def all_taken() -> bool:
        post_outcomes(services)
        return len(receiver.taken) >= len(added)

    wait_until(all_taken, 30, what="everything to be taken")

    assert sorted(ids(receiver.taken)) == sorted(ids(added))
    for event in {each["event_id"] for each in added}:
        of_event = [[o for o in some if o["event_id"] == event] for some in (added, receiver.taken)]
        assert of_event[0] == of_event[1]
    assert services.ledger.posts.counts() == (0, 0)
    assert not services.ledger.posts.has_due(services.ledger.now())


def test_a_receiver_that_took_it_but_did_not_say_so_gets_it_again_with_the_same_id(
    services: Services, receiver: Receiver
) -> None:
    """At least once."""
    [outcome] = add(services, "e1")
    receiver.answer = lambda number: 502 if number == 0 else 204

    wait_until(lambda: post_outcomes(services), what="the second try")

    assert [got.headers["webhook-id"] for got in receiver.got] == [outcome["id"]] * 2
    assert receiver.got[0].body == receiver.got[1].body


def test_what_one_event_is_refused_holds_up_no_other(
    services: Services, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later outcomes of that event wait; once it is given up they go out, and it is kept with the reason."""
    monkeypatch.setattr(delivery, "MOST_TRIES", 3)
    bad, other, behind = add(services, "bad", "other", "bad")
    # The first, and its two tries after that.
    receiver.answer = lambda number: 422 if number in {0, 2, 3} else 200

    assert post_outcomes(services) == 1
    assert receiver.taken == [other]
    assert services.ledger.posts.counts() == (2, 0)
    wait_until(lambda: post_outcomes(services), what="the event's second outcome")

    assert receiver.taken == [other, behind]
    [dead] = services.ledger.posts.dead()
    assert (dead.outcome, dead.reason, dead.tries) == (bad, "the receiver answered 422", 3)
    assert services.ledger.posts.counts() == (0, 1)


def test_a_receiver_that_is_away_is_left_alone_for_a_while(
    services: Services, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a few failures in a row the turn ends, and no other begins at once; nothing else is tried."""
    monkeypatch.setattr(delivery, "REST", timedelta(seconds=30))
    add(services, *(f"e{number}" for number in range(50)))
    receiver.answer = lambda _: 503

    assert post_outcomes(services) == 0
    assert post_outcomes(services) == 0

    assert len(receiver.got) == delivery.FAILURES
    assert not services.ledger.posts.has_due(services.ledger.now())


def test_nobody_listening_is_a_failure_like_any_other(
    redis_url: str, prefix: str, tmp_path: Path, key: str
) -> None:
    """What could not be posted is owed, and goes out once somebody listens."""
    port = free_port()
    services = bootstrap(_settings(redis_url, prefix, tmp_path, f"http://127.0.0.1:{port}/hook", key))
    added = add(services, "e1", "e1")
    assert post_outcomes(services) == 0

    with receiving(port=port) as receiver:
        wait_until(lambda: post_outcomes(services) or len(receiver.taken) == 2, what="both")
        wait_until(lambda: post_outcomes(services) == 0 and len(receiver.taken) == 2, what="both")

        assert receiver.taken == added
    services.close()


def test_no_redirect_is_followed(services: Services, receiver: Receiver) -> None:
    """It would take the outcome to an address that nobody chose."""
    add(services, "e1")
    receiver.answer = lambda _: 307

    assert post_outcomes(services) == 0

    assert len(receiver.got) == 1
    assert services.ledger.posts.counts() == (1, 0)


def test_what_was_trimmed_is_no_longer_owed(services: Services, receiver: Receiver) -> None:
    """The stream is what keeps it."""
    add(services, "e1")
    receiver.answer = lambda _: 500
    post_outcomes(services)
    services.ledger.redis.xtrim(services.ledger.keys.outcomes, maxlen=0)

    wait_until(lambda: services.ledger.posts.has_due(services.ledger.now()), what="the next try to be due")
    post_outcomes(services)

    assert services.ledger.posts.counts() == (0, 0)
    assert len(receiver.got) == 1


def test_a_forgotten_account_has_nothing_owed_and_nothing_given_up(
    services: Services, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its outcomes are erased wherever they are."""
    monkeypatch.setattr(delivery, "MOST_TRIES", 1)
    add(services, "e1")
    receiver.answer = lambda _: 500
    post_outcomes(services)
    monkeypatch.setattr(delivery, "MOST_TRIES", 5)
    add(services, "e2")
    post_outcomes(services)
    assert services.ledger.posts.counts() == (1, 1)

    accept.forget_account(services, AccountOnly(sub="acc"))
    wait_until(lambda: services.ledger.posts.has_due(services.ledger.now()), what="the next try to be due")
    post_outcomes(services)

    assert services.ledger.posts.counts() == (0, 0)
    assert len(receiver.got) == 2
    assert not services.ledger.posts.has_due(services.ledger.now())


@pytest.fixture
def command(
    services: Services, key: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Runs `reconciler outcomes` in this process; returns exit code, output and errors."""
    for name, value in {
        "REDIS_URL": services.settings.ledger_url,
        "KEY_PREFIX": services.ledger.prefix,
    }.items():
        monkeypatch.setenv(f"RECONCILER_{name}", value)

    def run(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["reconciler", "outcomes", *args])
        code = 0
        capsys.readouterr()
        try:
            main()
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_outcomes_are_replayed_by_id_by_time_and_out_of_those_given_up(
    services: Services, receiver: Receiver, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With their own ids, in order; an id that nobody has is named, and the exit code is 1."""
    monkeypatch.setattr(delivery, "MOST_TRIES", 1)
    receiver.answer = lambda number: 400 if number == 1 else 200
    added = add(services, "e1", "e2", "e3")
    post_outcomes(services)
    assert [each.outcome for each in services.ledger.posts.dead()] == [added[1]]
    listed = json.loads(command("--json")[1])
    assert listed["owed"] == 0
    assert [(each["outcome"]["id"], each["reason"]) for each in listed["given_up"]] == [
        (added[1]["id"], "the receiver answered 400")
    ]

    by_id = command("replay", added[0]["id"], "no-such-id")
    post_outcomes(services)
    assert (by_id[0], receiver.taken[-1]) == (1, added[0])
    assert "no-such-id" in by_id[2]

    # Also when the stream no longer has it.
    [dead] = services.ledger.posts.dead()
    services.ledger.redis.xdel(services.ledger.keys.outcomes, dead.entry_id)
    command("replay", "--given-up")
    post_outcomes(services)
    assert receiver.taken[-1] == added[1]
    assert services.ledger.posts.counts() == (0, 0)

    by_time = command("replay", "--since", "PT1H")
    post_outcomes(services)
    assert "2 outcomes will be posted again" in by_time[1]
    assert receiver.taken[-2:] == [added[0], added[2]]
    assert not command("replay", "--since", "PT1H", "--until", "PT50M")[0]
    assert post_outcomes(services) == 0


def test_what_was_given_up_can_be_dropped(
    services: Services, receiver: Receiver, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One by one, or all."""
    monkeypatch.setattr(delivery, "MOST_TRIES", 1)
    receiver.answer = lambda _: 500
    added = add(services, "e1", "e2", "e3")
    post_outcomes(services)

    one = command("drop", added[1]["id"], "no-such-id", "--yes")
    assert (one[0], ids([each.outcome for each in services.ledger.posts.dead()])) == (
        1,
        ids([added[0], added[2]]),
    )
    assert command("drop", "--all", "--yes")[1] == "2 dropped\n"
    assert services.ledger.posts.counts() == (0, 0)
