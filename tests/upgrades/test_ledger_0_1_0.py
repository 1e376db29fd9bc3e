"""What version 0.1.0 left in a ledger is read and worked on as before.

`ledger-0.1.0.json` is such a ledger, with every kind of record, and how 0.1.0 itself read it (`make.py`).
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from config.logging import redaction_of
from config.settings import load_settings
from sandbox.world.accounts import Account, Calendar, CalendarProfile
from tests.faults import simulation as simulated_world
from tests.faults.cronofy import calendar_of
from tests.faults.simulation import BEGINNING, Simulation, simulated
from tests.upgrades import stored
from worker import cli
from worker.doctor.examination import CHECKS, examine
from worker.doctor.finding import Health
from worker.explain.explanation import recorded_case
from worker.host.embedded import embedded_server
from worker.intake import accept
from worker.intake.payloads import AccountOnly, ConnectAccount
from worker.intake.replay import as_json
from worker.ledger.figures import read_backlog
from worker.ledger.layout import layout_of, settle
from worker.ledger.ledger import Ledger
from worker.ledger.opening import open_ledger
from worker.ledger.records import EventKey
from worker.mail.compose import read_back
from worker.run import looks
from worker.run.delivery import deliver_outcomes
from worker.status.snapshot import read_status

FILE = stored.read(stored.V0_1_0)
READ, NOW = FILE["read"], datetime.fromisoformat(FILE["read"]["now"])
SETTINGS = {"vault_keys": READ["vault_key"], "max_attempts": 3, "webhook_url": "https://hooks.example.org"}
#: What the contract says of a diagnosis, without the words for people.
FIELDS = ("state", "cause", "certainty", "remedy", "detail", "join_url", "next_check_at")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own: replayed letters go to the queues, whose names have no prefix."""
    with embedded_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def redis(server: str) -> Iterator[Redis]:
    """A client of that server, with nothing but the ledger."""
    with Redis.from_url(server) as client:
        client.flushall()
        stored.load(client, stored.PREFIX, FILE["ledger"])
        yield client


@pytest.fixture
def ledger(redis: Redis, server: str) -> Ledger:
    """The ledger, opened by this version."""
    return open_ledger(load_settings(redis_url=server, **SETTINGS), redis)


def test_the_ledger_has_every_kind_of_record() -> None:
    """Each key that 0.1.0 lists in its scripts."""
    names = list(FILE["ledger"])
    found = {kind for kind in READ["kinds"] if any(f"{name}:".startswith(f"{kind}:") for name in names)}

    assert found == set(READ["kinds"])
    assert {event["state"] for event in READ["events"]} == {"pending", "assigned", "closed"}


def test_it_has_the_first_layout(ledger: Ledger) -> None:
    """It holds no number; a worker of this version gives it one, and nothing else changes."""
    assert layout_of(ledger.redis, ledger.keys) == 1
    settle(ledger.redis, ledger.keys)

    assert ledger.redis.hgetall(ledger.keys.about) == {b"layout": b"1"}


@pytest.mark.parametrize("event", READ["events"], ids=lambda event: f"{event['sub']} {event['event_id']}")
def test_an_event_is_explained_as_before(ledger: Ledger, server: str, event: dict[str, Any]) -> None:
    """Its diagnosis is the same, and whether its relink email was sent."""
    key = EventKey(event["calendar_id"], event["event_id"])

    case = recorded_case(ledger, load_settings(redis_url=server), event["sub"], key)

    assert case is not None
    assert {name: case.answer[name] for name in FIELDS} == {name: event[name] for name in FIELDS}
    assert case.delivery == event["delivery"]


def test_all_that_is_sealed_can_be_opened(ledger: Ledger, server: str) -> None:
    """Tokens, emails and dead letters; doctor agrees."""
    settings = load_settings(redis_url=server, **SETTINGS)
    opened = {sub: ledger.open_credentials(ledger.account(sub)) for sub in READ["tokens"]}
    waiting: Any = ledger.redis.zrange(ledger.keys.outbox, 0, -1)
    mails = [read_back(ledger.vault.open(_message(ledger, mail.decode()), "mail")) for mail in waiting]
    letters = [as_json(kept, redaction_of(settings)) for kept in ledger.dead_letters]
    [finding] = examine(settings, {"vault keys": CHECKS["vault keys"]})[-1:]

    assert {sub: [c.refresh_token, c.access_token] for sub, c in opened.items() if c} == READ["tokens"]
    assert {(mail["To"], mail["Subject"]) for mail in mails} == {
        (mail["to"], mail["subject"]) for mail in READ["mails"]
    }
    assert letters == READ["letters"]
    assert any(kept.letter.traceback for kept in ledger.dead_letters)
    assert any(kept.letter.record == b"\x00broken" for kept in ledger.dead_letters)
    assert finding.health is Health.OK


def _message(ledger: Ledger, mail_id: str) -> bytes:
    value: Any = ledger.redis.hget(ledger.keys.mail(mail_id), "message")
    return bytes(value)


def test_every_account_is_readable(ledger: Ledger) -> None:
    """Profile, what looks remember, notices, and the channel."""
    accounts = [ledger.account(sub) for sub in READ["tokens"]]

    assert [account.unreadable for account in accounts] == [()] * len(accounts)
    assert {account.sub for account in accounts if account.lost} == {"lost"}
    assert {sub for sub in READ["tokens"] if ledger.account(sub).memo.episodes} == {
        *("asked", "no-address", "unreachable", "refused-mail", "unsent-mail")
    }
    assert not any(account.profile_names for account in accounts)
    assert ledger.account("asked").channel is not None
    assert ledger.account("due").data_center == "au"


@pytest.mark.parametrize("sub", ["past", "gone"])
def test_what_it_closed_can_be_taken_up_again(ledger: Ledger, sub: str) -> None:
    """With all that was known of it."""
    key = EventKey(calendar_of(sub), "first")
    closed = ledger.find_closed(sub, key)
    assert closed is not None

    assert ledger.reopen(sub, key)

    reopened = ledger.find_pending(sub, key)
    assert reopened is not None
    assert (reopened.event.body, reopened.event.history) == (closed.event.body, closed.event.history)
    assert ledger.find_closed(sub, key) is None


def test_the_status_is_the_same(ledger: Ledger, server: str) -> None:
    """All figures that do not depend on the time."""
    status = read_status(ledger.redis, load_settings(redis_url=server)).as_json

    same = ("events", "causes", "unseen", "parked", "dead_letters", "soonest_start", "paused_since")
    assert {name: status[name] for name in same} == {name: READ["status"][name] for name in same}
    assert status["mail"].items() >= READ["status"]["mail"].items()
    assert sum(sample.pending for sample in read_backlog(ledger.redis, ledger.keys)) > 0


def test_outcomes_go_on_where_they_were_left(ledger: Ledger) -> None:
    """Five were delivered; the others follow, once each and in order, when the turn taken is over."""
    sent: list[str] = []
    assert deliver_outcomes(ledger.outcomes, sent.append) == 0
    ledger.redis.delete(ledger.keys.outcomes_lock)

    deliver_outcomes(ledger.outcomes, sent.append)

    ids = [outcome["id"] for outcome in reversed(ledger.outcomes.newest())]
    assert [json.loads(each)["id"] for each in sent] == ids[5:]


DAMAGED = READ["letters"][1]["id"]
COMMANDS = {
    "status": "3 assigned",
    "status --json": '"parked": 1',
    "explain asked cal_asked first --offline": "Zoom connection",
    "explain past cal_past first --offline --json": '"event_in_past"',
    "dead-letters": "Parked: 3 looks in a row",
    f"dead-letters show {DAMAGED} --json": '"record": "AGJyb2tlbg=="',
    "dead-letters drop --all --yes": "4 dropped",
    "untrack generating cal_generating first": "no longer tracked",
    "forget asked --yes": "Forgot asked, with its credentials and 2 pending events",
    "pause": "Paused",
    "resume": "Resumed",
}


def _run(server: str, monkeypatch: pytest.MonkeyPatch, arguments: str) -> None:
    values = {
        "REDIS_URL": server,
        "VAULT_KEYS": READ["vault_key"],
        "CRONOFY_CLIENT_ID": "simulated-client",
        "CRONOFY_CLIENT_SECRET": "secret",
        "CRONOFY_API_URL": "http://127.0.0.1:1",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"RECONCILER_{name}", value)
    monkeypatch.setattr(sys, "argv", ["reconciler", *arguments.split()])
    with ExitStack() as stack:
        if arguments.startswith("dead-letters replay"):
            stack.enter_context(pytest.raises(SystemExit, match="0"))
        cli.main()


@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_command_works_on_it(
    server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: str
) -> None:
    """It does what it says."""
    _run(server, monkeypatch, arguments)

    assert COMMANDS[arguments] in capsys.readouterr().out


def test_dead_letters_are_replayed(redis: Redis, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each task goes back to its queue, with what was sealed; none is left."""
    _run(server, monkeypatch, "dead-letters replay --all")

    assert (redis.llen("reconciler.intake"), redis.llen("reconciler.urgent")) == (3, 1)
    assert redis.xlen(f"{stored.PREFIX}:dead-letters") == 0


def test_a_forgotten_account_leaves_nothing(ledger: Ledger) -> None:
    """Neither a key of its own nor a place in one of all accounts."""
    for sub in READ["tokens"]:
        ledger.forget(sub)

    left = {key.decode().split(":")[1] for key in ledger.redis.scan_iter(f"{stored.PREFIX}:*")}
    assert left == {
        *("backlog", "budget", "budgets", "counters", "dead-letters", "outcomes", "paused", "refused"),
        *("resuming", "sampled", "slot", "swept", "workers"),
    }
    counters = ledger.counters()
    gauges = {name for name in counters if name.startswith(("events:", "cause:"))}
    assert {name: counters[name] for name in gauges} == dict.fromkeys(gauges, 0)


# The work goes on, at the time at which 0.1.0 was stopped.


@pytest.fixture
def simulation(
    redis: Redis, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Simulation]:
    """This version on that ledger, at a Cronofy where everything works again."""
    monkeypatch.setattr(
        simulated_world, "load_settings", lambda **values: load_settings(**{**values, **SETTINGS})
    )
    with simulated(redis, server, stored.PREFIX, tmp_path, monkeypatch) as simulation:
        simulation.begin()
        simulation.clock.advance(NOW - BEGINNING)
        stored.load(redis, stored.PREFIX, FILE["ledger"])
        world = simulation.cronofy.world
        for sub, (refresh_token, access_token) in READ["tokens"].items():
            calendar = CalendarProfile(calendars=[Calendar(calendar_id=calendar_of(sub))])
            account = Account(
                sub=sub,
                refresh_token=None if sub == "lost" else refresh_token,
                access_token=access_token,
                email=f"{sub}@example.org",
                calendar_profiles=[calendar],
            )
            world.registry.add_account(account)
            for profile_id, provider in {"z1": "zoom", "z2": "zoom", "z3": "zoom", "t1": "teams"}.items():
                simulation.cronofy.connect(sub, profile_id, provider)
            for each in simulation.services.ledger.pending(sub):
                world.upsert(account, calendar_of(sub), dict(each.event.body), via="sandbox")
        yield simulation


def test_all_that_was_pending_comes_to_its_end(simulation: Simulation) -> None:
    """Nothing is lost or done twice: each event is assigned once, nobody is asked again, all mail is sent."""
    services = simulation.services
    ledger = services.ledger
    asked_before = Counter(o["sub"] for o in ledger.outcomes.newest() if o["type"] == "relink_requested")

    ledger.set_paused(False)
    simulation.work(timedelta(days=2))
    # As a person would: replay the parked event's letter, and connect the lost account.
    looks.reconcile_event(services, "parked", EventKey("cal_parked", "poisoned"))
    refresh_token = simulation.cronofy.world.registry.authorize("lost").refresh_token or ""
    accept.connect_account(services, ConnectAccount(sub="lost", refresh_token=refresh_token))
    simulation.work(timedelta(days=1))

    outcomes = ledger.outcomes.newest()
    assigned = Counter((o["sub"], o["event_id"]) for o in outcomes if o["type"] == "assigned")
    expected = {(e["sub"], e["event_id"]) for e in READ["events"] if e["state"] != "closed"}
    assert assigned == dict.fromkeys(expected, 1)
    assert Counter(o["sub"] for o in outcomes if o["type"] == "relink_requested") == asked_before
    assert {o["sub"] for o in outcomes if o["type"] == "relinked"} == {
        *("asked", "back", "no-address", "unreachable", "refused-mail", "unsent-mail")
    }
    assert ledger.redis.zcard(ledger.keys.outbox) == 0
    assert [kept.letter_id for kept in ledger.dead_letters] == [letter["id"] for letter in READ["letters"]]
    assert (ledger.counters()["events:pending"], ledger.counters()["events:parked"]) == (0, 0)
    assert simulation.cronofy.wrongs == []
    assert simulation.errors == []


def test_an_account_is_forgotten_with_its_channel(simulation: Simulation) -> None:
    """The task closes the channel that 0.1.0 opened."""
    services, world = simulation.services, simulation.cronofy.world
    channel = services.ledger.account("asked").channel
    assert channel is not None
    channel_id = channel.channel_id or ""
    opened = world.open_channel(world.registry.account("asked"), channel.callback_url, {})
    world.channels = {channel_id: replace(opened, channel_id=channel_id)}

    services.ledger.set_paused(False)
    accept.forget_account(services, AccountOnly(sub="asked"))

    assert world.channels == {}
    assert services.ledger.account("asked").credentials is None
