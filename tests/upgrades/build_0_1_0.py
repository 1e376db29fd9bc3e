# mypy: ignore-errors
"""Fills a ledger as version 0.1.0 does, with every kind of record; prints how that version reads it, as JSON.

Run by `tests.upgrades.make` on the modules of 0.1.0, so it may use nothing newer. Clock and randomness are
fixed. Its arguments are the URL of an empty server and a directory for files.
"""

from __future__ import annotations

import base64
import json
import os
import random
import re
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import fernet
from redis import Redis

from config.logging import redaction_of
from sandbox.world.accounts import Account, Calendar, CalendarProfile
from tests.faults import simulation as simulated_world
from tests.faults.callers import Callers
from tests.faults.cronofy import ORIGIN, answers, calendar_of, meanwhile
from tests.faults.simulation import Message, Simulation, simulated
from worker.cronofy import client
from worker.cronofy.budget import Budget
from worker.explain.explanation import recorded_case
from worker.intake import accept
from worker.intake.payloads import ConnectAccount
from worker.intake.replay import as_json
from worker.ledger.figures import announce
from worker.ledger.leases import Lease
from worker.ledger.lua import source
from worker.ledger.records import EventKey
from worker.mail.compose import read_back
from worker.mail.smtp import MailError
from worker.reconcile import look, verdict
from worker.run.delivery import deliver_outcomes
from worker.status.snapshot import read_status

PREFIX = "reconciler"
VAULT_KEY = base64.urlsafe_b64encode(b"ledger of version 0.1.0, for tes").decode()
HOUR, DAY, FAR = timedelta(hours=1), timedelta(days=1), timedelta(days=4000)


def fix_randomness() -> None:
    """Ids, tokens and sealed values are the same in every run."""
    dice = random.Random(1)
    os.urandom = random._urandom = dice.randbytes
    random.seed(1)


def fix_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams and the vault use the simulated clock, too; a look takes no time."""
    tally = client.look_tally
    monkeypatch.setattr(client, "look_tally", lambda calls, _: tally(calls, 0.01))
    in_script, simulate = simulated_world.Clock.in_script, simulated_world.Clock.__init__

    def with_ids(clock: simulated_world.Clock, text: str) -> str:
        # Redis would number the entries of a stream by its own clock.
        return in_script(clock, text.replace("'*',", "string.format('%d-*', now_ms()),"))

    def begin(clock: simulated_world.Clock, *args: object) -> None:
        simulate(clock, *args)
        seconds = lambda: clock.now().timestamp()  # noqa: E731
        monkeypatch.setattr(fernet, "time", SimpleNamespace(time=seconds))
        add = Redis.xadd
        monkeypatch.setattr(
            Redis, "xadd", lambda at, name, fields: add(at, name, fields, id=f"{int(seconds() * 1000)}-*")
        )

    monkeypatch.setattr(simulated_world.Clock, "in_script", with_ids)
    monkeypatch.setattr(simulated_world.Clock, "__init__", begin)


def fix_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    load = simulated_world.load_settings
    ours = {
        "vault_keys": VAULT_KEY,
        "history_keep": timedelta(days=7),
        "max_attempts": 3,
        "webhook_url": "https://hooks.example.org",
    }
    monkeypatch.setattr(simulated_world, "load_settings", lambda **values: load(**{**values, **ours}))


class Story:
    """A fleet's two days."""

    def __init__(self, simulation: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
        self.simulation, self.monkeypatch = simulation, monkeypatch
        self.services, self.ledger = simulation.services, simulation.services.ledger
        self.cronofy, self.clock = simulation.cronofy, simulation.clock
        self.callers = Callers(simulation)
        # It may refuse emails here.
        simulation.mail_server.watch = lambda _: None

    def person(self, sub: str, email: str | None = None, **connection: str) -> None:
        """Somebody with three conferencing profiles, whose account is connected."""
        calendar = Calendar(calendar_id=calendar_of(sub))
        account = Account(
            sub=sub,
            email=f"{sub}@example.org" if email is None else email,
            calendar_profiles=[CalendarProfile(calendars=[calendar])],
        )
        self.cronofy.world.registry.add_account(account)
        for profile_id, provider in {"z1": "zoom", "z2": "zoom", "t1": "teams"}.items():
            self.cronofy.connect(sub, profile_id, provider)
        tokens = {"refresh_token": account.refresh_token, "access_token": account.access_token}
        accept.connect_account(self.services, ConnectAccount(sub=sub, name="Dana", **tokens, **connection))

    def event(self, sub: str, event_id: str, away: timedelta = FAR, profile: str = "z1") -> None:
        """An event that gets no conference yet."""
        self.callers.write_and_track(sub, event_id, away, profile)
        self.callers.stick(sub, event_id)

    def let_come(self, sub: str, event_id: str) -> None:
        """At last the event may have its conference."""
        self.callers.stick(sub, event_id)

    def work(self, span: timedelta) -> None:
        self.simulation.work(span)

    def tell(self) -> None:
        self.first_day()
        self.second_day()
        self.last_minutes()

    def first_day(self) -> None:
        """Everything that takes time."""
        self.poison("poisoned")
        for sub in ("generating", "asked", "back", "unreachable", "removed", "moved", "past", "gone"):
            self.person(sub)
            self.event(sub, "first", HOUR if sub == "past" else FAR)
        for sub in ("failing", "outage", "unexplained", "lost", "parked", "damaged"):
            self.person(sub)
            self.event(sub, "first")
        self.person("no-address", email="")
        self.event("no-address", "first")
        self.person("assigned", data_center="de")
        self.event("assigned", "first")
        self.event("assigned", "Besprechung/ü 1")
        self.event("parked", "poisoned")
        self.simulation.mail_server.refusals = [MailError("the address is refused", permanent=True)]
        self.callers.lose("unreachable", "z1")
        self.work(timedelta(minutes=10))

        for sub in ("asked", "back", "no-address"):
            self.callers.lose(sub, "z1")
        self.event("asked", "second")
        for sub in ("removed", "moved"):
            for profile_id in ("z1", "z2"):
                self.callers.remove(sub, profile_id)
        self.cronofy.connect("moved", "z3", "zoom")
        self.callers.delete("gone", "first")
        self.callers.notify("failing", "first", "conferencing_failing", "missing_meeting_url")
        self.callers.outage("outage", "first")
        self.callers.revoke("lost")
        for event_id in ("first", "Besprechung/ü 1"):
            self.let_come("assigned", event_id)
        self.event("damaged", "broken")
        broken = EventKey(calendar_of("damaged"), "broken")
        self.ledger.redis.hset(self.ledger.keys.events("damaged"), broken.field, b"\x00broken")
        self.nudge("damaged")
        self.work(2 * HOUR)
        self.callers.link("back", "z1")
        self.let_come("back", "first")
        self.work(DAY + 6 * HOUR)

    def second_day(self) -> None:
        """What is still under way."""
        refused = {"sub": "generating", "event": {"summary": "Planning"}}
        letters = self.services.dead_letters
        letters.keep("conferencing.track", "event.event_id must be a non-empty string", (), refused)
        letters.keep("conferencing.track", "Only keyword arguments are accepted.", ("generating",), {})
        # One email is refused for now, another is not tried yet.
        self.simulation.mail_server.refusals = [MailError("it does not answer")]
        for sub in ("refused-mail", "unsent-mail"):
            self.person(sub)
            self.event(sub, "first")
            self.callers.lose(sub, "z1")
            self.look(sub)
            if sub == "refused-mail":
                self.simulation.deliver(Message("send_mail"))
        # A failed look, an attempt of an event, and an Update Event whose answer was lost with the worker.
        for sub, event_id in {"troubled": "first", "attempted": "poisoned", "unheard": "first"}.items():
            self.person(sub)
            self.event(sub, event_id)
        self.cronofy.disturb = answers(500)
        self.look("troubled")
        self.cronofy.disturb = None
        self.look("attempted", "poisoned")
        for profile_id in ("z1", "z2"):
            self.callers.remove("unheard", profile_id)
        self.cronofy.connect("unheard", "z3", "zoom")
        quiet = meanwhile(lambda: None)
        self.cronofy.disturbances.extend([quiet, quiet, self.cronofy.death_after])
        self.look("unheard")
        self.simulation.deliver(Message("sweep"))
        self.simulation.bag.clear()

    def last_minutes(self) -> None:
        """What lasts for seconds, and what nobody has taken up yet."""
        ledger, lease = self.ledger, timedelta(seconds=40)
        sent: list[str] = []

        def publish(outcome: str) -> None:
            if len(sent) == 5:
                raise ConnectionError
            sent.append(outcome)

        with suppress(ConnectionError):
            deliver_outcomes(ledger.outcomes, publish)
        ledger.outcomes.take_turn(timedelta(seconds=30))
        for sub in ("due", "held", "freed", "unseen"):
            self.person(sub, data_center="au" if sub == "due" else "us")
            self.event(sub, "first")
        self.nudge("due")
        self.nudge("freed")
        ledger.promote(100)
        # Somebody waits for the one, and somebody waited for the other.
        for sub in ("held", "freed"):
            held = ledger.claim_account(sub, lease)
            assert isinstance(held, Lease)
            ledger.claim_account(sub, lease)
            if sub == "freed":
                ledger.release(held)
        self.callers.notify("asked", "second", "conferencing_failing", None)
        self.callers.notify("asked", "second", "conferencing_failing", None)
        ledger.wakeups.take_sweep(timedelta(seconds=5))
        ledger.wakeups.take_resumption(timedelta(seconds=5))
        announce(ledger.redis, ledger.keys, "reconciler-7@host", ["reconciler.intake", "reconciler.looks"])
        self.services.looker.cronofy.budget(ORIGIN).take(look="last-look")
        former = Budget(ledger.redis, PREFIX, f"former@{ORIGIN}", per_second=50, per_minute=500, share=1)
        former.take(look="urgent-look", kind="urgent")
        former.pause(None)
        former.refuse_client()
        ledger.set_paused(True)
        # What lives for a second or two lives until it is dumped, which rounds it up to as much.
        for key in ledger.redis.scan_iter(f"{PREFIX}:*"):
            if 0 < ledger.redis.pttl(key) < 8_000:
                ledger.redis.pexpire(key, 8_000)

    def nudge(self, sub: str, event_id: str = "first") -> None:
        self.ledger.nudge(sub, EventKey(calendar_of(sub), event_id))

    def look(self, sub: str, event_id: str = "first") -> None:
        """A look at the account, and nothing that it wakes."""
        self.nudge(sub, event_id)
        self.simulation.deliver(Message("look_at_account", sub))
        self.simulation.bag.clear()

    def poison(self, event_id: str) -> None:
        """Every diagnosis of this event fails."""
        judge = verdict.judge

        def fail(lease: Lease, stored: object, *args: object) -> object:
            if stored.event.key.event_id == event_id:
                raise ZeroDivisionError
            return judge(lease, stored, *args)

        self.monkeypatch.setattr(look, "judge", fail)


def reading(story: Story) -> dict[str, object]:
    """How 0.1.0 reads the ledger: what the contract names, and what the vault opens."""
    services, ledger = story.services, story.services.ledger
    redaction = redaction_of(services.settings)
    subs = sorted(key.decode().rpartition(":")[2] for key in ledger.redis.scan_iter(f"{PREFIX}:account:*"))
    events, tokens, mails = [], {}, []
    for sub in subs:
        stored = sorted((*ledger.pending(sub), *ledger.settled(sub)), key=lambda each: each.event.key.field)
        for each in stored:
            case = recorded_case(ledger, services.settings, sub, each.event.key)
            events.append({**case.answer, "delivery": case.delivery})
        credentials = ledger.open_credentials(ledger.account(sub))
        tokens[sub] = [credentials.refresh_token, credentials.access_token]
    for mail_id in sorted(key.decode() for key in ledger.redis.zrange(ledger.keys.outbox, 0, -1)):
        mail = ledger.redis.hgetall(ledger.keys.mail(mail_id))
        message = read_back(ledger.vault.open(mail[b"message"]))
        attempts = int(mail.get(b"attempts", 0))
        head = {"to": message["To"], "subject": message["Subject"]}
        mails.append({"id": mail_id, **head, "attempts": attempts})
    listed = r"^--   P:(\S+?)(?::[A-Z]+)? +(?:hash|set|zset|string|list|stream) "
    return {
        "kinds": re.findall(listed, source("track"), re.MULTILINE),
        "now": ledger.now().isoformat(),
        "vault_key": VAULT_KEY,
        "events": events,
        "tokens": tokens,
        "mails": mails,
        "letters": [as_json(kept, redaction) for kept in ledger.dead_letters],
        "status": read_status(ledger.redis, services.settings).as_json,
    }


def main(url: str, home: Path) -> None:
    fix_randomness()
    with pytest.MonkeyPatch.context() as monkeypatch, Redis.from_url(url) as redis:
        fix_clock(monkeypatch)
        fix_settings(monkeypatch)
        with simulated(redis, url, PREFIX, home, monkeypatch) as simulation:
            simulation.begin()
            story = Story(simulation, monkeypatch)
            story.tell()
            print(json.dumps(reading(story), default=str))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
