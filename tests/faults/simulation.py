"""The whole program on simulated time: a month of a fleet's life passes in seconds.

The ledger, its scripts on a real server, the client, the looks, the outbox and the sweep are the program's
own. Three things are replaced: the clock (see `Clock`), Cronofy (the sandbox in this process, behind the
client's own HTTP transport) and the mail server. Messages go into a bag, to be delivered, lost, duplicated
and reordered at will; nothing depends on any of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from cryptography.fernet import Fernet
from redis import Redis
from structlog.testing import LogCapture

from config.settings import load_settings
from tests.faults.cronofy import OPTIONS, ORIGIN, ROOMS, SECRET, Cronofy, Death, calendar_of
from worker.bootstrap import Services, bootstrap
from worker.diagnosis.model import Rung
from worker.ledger.records import EventKey, from_ms, to_ms
from worker.mail.connect_links import ConnectLinks
from worker.mail.smtp import MailError
from worker.reconcile.rooms import Rooms
from worker.run import delivery as outgoing
from worker.run import looks
from worker.run.telling import tell_incidents

BEGINNING = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
PUBLIC = "https://hooks.example.org"
SWEEP_EVERY = timedelta(seconds=5)


class Clock:
    """The server's clock, as the program's scripts see it.

    In each script, the one place that asks for the time reads a key instead; each read advances it by a
    millisecond, so that no two steps coincide. Keys that expire are aged when the clock advances.
    """

    _AGE = """
        for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
          local left = redis.call('PTTL', key)
          if left >= 0 then redis.call('PEXPIRE', key, math.max(0, left - ARGV[2])) end
        end
        return redis.call('INCRBY', KEYS[1], ARGV[2])
    """

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis, self._prefix, self._key = redis, prefix, f"clock-of-{prefix}"
        self._age = redis.register_script(self._AGE)
        self.reset()

    def reset(self) -> None:
        self._redis.set(self._key, to_ms(BEGINNING))

    def now(self) -> datetime:
        """The current time; advances by a millisecond."""
        return from_ms(self._redis.incr(self._key))

    def advance(self, span: timedelta) -> None:
        self._age(keys=[self._key], args=[f"{self._prefix}:*", max(1, int(span.total_seconds() * 1000))])

    def in_script(self, text: str) -> str:
        """The script with this clock in place of the server's."""
        asking = "redis.call('TIME')"
        assert text.count(asking) == 1
        reading = f"""(function()
            local ms = redis.call('INCR', '{self._key}')
            return {{ math.floor(ms / 1000), (ms % 1000) * 1000 }}
        end)()"""
        return text.replace(asking, reading)


class MailServer:
    """The mail server: accepts every email unless told otherwise."""

    def __init__(self) -> None:
        self.taken: list[EmailMessage] = []
        #: What happens to the next emails.
        self.refusals: list[MailError] = []
        #: Called with each email as it is sent.
        self.watch: Callable[[EmailMessage, str], None] = lambda *_: None

    def send(self, message: EmailMessage, sub: str = "") -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        self.watch(message, sub)
        self.taken.append(message)

    def erase(self, *_: object) -> int:
        """What was sent is not here any more."""
        return 0


@dataclass(frozen=True, slots=True)
class Message:
    """One message in the bag: its task's name, and the account it is about, if any."""

    task: str
    sub: str = ""


@dataclass(slots=True)
class Simulation:
    """The program with its Cronofy, mail server and clock."""

    services: Services
    clock: Clock
    cronofy: Cronofy
    mail_server: MailServer
    bag: list[Message]
    #: Errors that were logged.
    errors: list[Any]
    #: The number of looks so far.
    looks: int = 0

    # Messages.

    def deliver(self, message: Message) -> None:
        """A worker carries out the message; it may die doing so."""
        try:
            self._do(message)
        except Death:
            # Redelivered some time later.
            self.bag.append(message)

    def _do(self, message: Message) -> None:
        if message.task == "sweep":
            self.bag += [Message("look_at_ready")] * looks.sweep(self.services)
            self._wake_outgoing()
        elif message.task == "look_at_ready":
            batch = looks.look_at_ready(self.services, 50)
            self.looks += batch.looked_at
            self.bag += [Message("look_at_account", sub) for sub in batch.alone]
            self._wake_outgoing()
        elif message.task == "look_at_account":
            self.looks += looks.look_at_account(self.services, message.sub).looked_at
            self._wake_outgoing()
        elif message.task == "send_mail":
            tell_incidents(self.services)
            outgoing.send_mails(self.services)

    def _wake_outgoing(self) -> None:
        if self.services.outbox.has_due():
            self.bag.append(Message("send_mail"))

    # Time.

    def work(self, span: timedelta) -> None:
        """The fleet works for this long: beat ticks, and every message is delivered.

        The ticks at which nothing is due are left out.
        """
        end = self.clock.now() + span
        while True:
            self.round()
            soonest = self._next_moment()
            now = self.clock.now()
            at = max(soonest, now + SWEEP_EVERY) if soonest else end
            if at >= end:
                break
            self.clock.advance(at - now)
        self.clock.advance(max(timedelta(0), end - self.clock.now()))

    def round(self) -> None:
        """One tick of beat, and all its consequences."""
        self.deliver(Message("sweep"))
        for _ in range(100):
            if not self.bag:
                return
            self.deliver(self.bag.pop(0))
        self.bag.clear()

    def _next_moment(self) -> datetime | None:
        """When something is next due without outside input; None for never."""
        ledger = self.services.ledger
        if ledger.paused_since() is not None:
            return None
        if ledger.redis.zcard(f"{ledger.prefix}:ready:us"):
            return self.clock.now()
        moments: list[float] = []
        for name in ("waiting", "leased", "outbox"):
            first: Any = ledger.redis.zrange(f"{ledger.prefix}:{name}", 0, 0, withscores=True)
            moments += [score for _, score in first]
        if ledger.redis.keys(f"{ledger.prefix}:list:held:*"):
            canaries: Any = ledger.redis.get(ledger.keys.canaries)
            moments.append(float(canaries or 0))
        return from_ms(min(moments)) if moments else None

    # For observers.

    def key(self, sub: str, event_id: str) -> EventKey:
        return EventKey(calendar_of(sub), event_id)

    def set_last_resort(self, *rungs: Rung) -> None:
        """From now on these are the rungs of the last resort; none: it is off."""
        looker = self.services.looker
        policy = replace(looker.policy, fallback=rungs, fallback_url=ROOMS)
        looker = replace(
            looker,
            policy=policy,
            failures=replace(looker.failures, policy=policy),
            rooms=Rooms(ROOMS, self.services.ledger.rooms_key),
        )
        self.services = replace(self.services, looker=looker)
        self.cronofy.last_resort = policy.fallback_before if rungs else None

    def begin(self) -> None:
        ledger = self.services.ledger
        keys = list(ledger.redis.scan_iter(match=f"{ledger.prefix}:*", count=1000))
        if keys:
            ledger.redis.delete(*keys)
        self.clock.reset()
        self.cronofy.begin()
        self.set_last_resort()
        self.mail_server.__init__()  # type: ignore[misc]
        self.bag.clear()
        self.errors.clear()
        self.looks = 0


@contextmanager
def simulated(
    redis: Redis, redis_url: str, prefix: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Simulation]:
    """A simulation on this server."""
    settings = load_settings(
        redis_url=redis_url,
        key_prefix=prefix,
        data_dir=data_dir,
        vault_keys=Fernet.generate_key().decode(),
        cronofy_client_id=OPTIONS.client_id,
        cronofy_client_secret=SECRET,
        cronofy_api_url=ORIGIN,
        api_per_second=100_000,
        api_per_minute=1_000_000,
        escalation_email="operator@example.org",
        history_keep=timedelta(days=400),
        relink_when="disconnected",
        # No lease is waited for: time stands still meanwhile.
        look_timeout=30,
        task_time_limit=32,
        # The program would blame an event for repeated deaths, which are random here.
        max_attempts=1_000_000,
    )
    clock = Clock(redis, prefix)
    register = Redis.register_script
    monkeypatch.setattr(Redis, "register_script", lambda at, text: register(at, clock.in_script(text)))
    # Single-threaded, so that a run can be repeated.
    monkeypatch.setattr(looks, "THREADS", 1)
    services = _asking(bootstrap(settings))
    monkeypatch.setattr(services.ledger, "now", clock.now)
    cronofy, mail_server = Cronofy(clock.now), MailServer()
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", lambda _, request: cronofy.handle(request))
    capture, before = LogCapture(), structlog.get_config()
    structlog.configure(
        processors=[structlog.processors.format_exc_info, capture],
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
    )
    try:
        yield Simulation(
            replace(services, mailer=mail_server), clock, cronofy, mail_server, [], capture.entries
        )
    finally:
        structlog.configure(**before)
        services.close()
        cronofy.close()


def _asking(services: Services) -> Services:
    """The services, with a public address for our links, but no channels; and a page for lost accounts."""
    looker, settings = services.looker, services.settings
    links = ConnectLinks(PUBLIC, services.ledger.vault, settings.relink_reminders[-1])
    looker = replace(
        looker,
        policy=replace(looker.policy, connect=True),
        rules=replace(looker.rules, reconnect_url="https://app.example.org/reconnect/{sub}"),
        emails=replace(looker.emails, links=links),
    )
    return replace(services, looker=looker, settings=settings.model_copy(update={"webhook_url": PUBLIC}))


def asks_to_connect(message: EmailMessage) -> str | None:
    """The kind of an email that asks a user to connect something; None for any other email."""
    body: Any = message.get_body(preferencelist=("plain",))
    text = body.get_content()
    marks = {"relink": "/v2/relink/", "connect": f"{PUBLIC}/connect/", "reconnect": "/reconnect/"}
    return next((kind for kind, mark in marks.items() if mark in text), None)


def sent_about(message: EmailMessage) -> tuple[str, str] | None:
    """The account and profile of a relink email, from its link; None for any other email."""
    body: Any = message.get_body(preferencelist=("plain",))
    _, found, rest = body.get_content().partition(f"{OPTIONS.public_url}/v2/relink/")
    if not found:
        return None
    sub, _, profile_id = rest.split()[0].rpartition("token=")[2].partition(".")
    return sub, profile_id
