"""A fleet as an operator runs it, and how the outside world interacts with it.

The console script in separate processes, on a real Redis-compatible server, with the sandbox as
Cronofy and as mail server; a caller that has only Celery and the broker's URL.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from uuid import uuid4

from celery import Celery
from celery.exceptions import TimeoutError as NoResult
from cryptography.fernet import Fernet
from redis import Redis

from sandbox.control.admin import Json
from sandbox.control.control import Control
from sandbox.demo.receiver import receiver
from sandbox.options import SandboxOptions
from sandbox.server import RunningSandbox
from tests.acceptance.processes import Child, environment, run_command
from tests.contract.documents import firsts, table
from tests.waiting import wait_until
from worker.host.embedded import embedded_server

INTAKE, URGENT = "reconciler.intake", "reconciler.urgent"
#: The tasks that callers send to the urgent queue.
QUESTIONS = frozenset({"explain", "reconcile_event", "reconcile_account"})
OPERATOR = "operator@example.org"
CAUSES = firsts(table("docs/contract.md", "cause"))
CLIENT_ID, CLIENT_SECRET = "sandbox-client", f"client-secret-{uuid4().hex}"

#: As in production, but with seconds instead of hours.
QUICK = {
    "RECHECK_MIN": "0.5",
    "RECHECK_MAX": "2",
    "SWEEP_EVERY": "0.5",
    "GRACE": "1",
    "ESCALATE_AFTER": "5",
    "ESCALATE_BEFORE": "1",
    "RELINK_REMINDERS": "3,6,9",
    "API_PER_MINUTE": "6000",
}


class Caller:
    """Another service: it has Celery, the broker's URL, and the names in the contract."""

    def __init__(
        self, url: str, results: str | None = None, prefix: str = "reconciler", **config: Any
    ) -> None:
        self._prefix = prefix
        self._app = Celery(broker=url, backend=results or url, set_as_current=False)
        # Without results there is no need for a backend.
        self._teller = Celery(broker=url, set_as_current=False)
        self._app.conf.update(config)
        self._teller.conf.update(config)

    def close(self) -> None:
        """Close all connections while the server still runs: results unsubscribe when they are freed."""
        gc.collect()
        backend: Any = self._app.backend
        backend.result_consumer.stop()
        self._app.close()
        self._teller.close()

    def call(self, task: str, /, **kwargs: Any) -> Any:
        return _wait_for(self._send(task, (), kwargs))

    def send(self, task: str, /, **kwargs: Any) -> None:
        """Send a task without waiting."""
        self._send(task, (), kwargs, app=self._teller, ignore_result=True)

    def begin(self, task: str, /, **kwargs: Any) -> str:
        """Send a task whose result is wanted, without waiting; returns the task's id."""
        return str(self._send(task, (), kwargs, app=self._teller).id)

    def failure(self, task: str, /, args: Sequence[Any] = (), **kwargs: Any) -> str:
        """Send a task that must fail; returns the kind and text of the failure."""
        result = self._send(task, args, kwargs)
        error = _wait_for(result, propagate=False)
        assert result.state == "FAILURE"
        return f"{type(error).__name__}: {error}"

    def _send(
        self,
        task: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        app: Celery | None = None,
        **options: Any,
    ) -> Any:
        queue = f"{self._prefix}.{'urgent' if task in QUESTIONS else 'intake'}"
        return (app or self._app).send_task(
            f"conferencing.{task}", args=list(args), kwargs=dict(kwargs), queue=queue, **options
        )


def _wait_for(result: Any, *, propagate: bool = True) -> Any:
    end = time.monotonic() + 60
    while True:
        try:
            return result.get(timeout=5, propagate=propagate)
        except NoResult:
            # Celery's client may miss a result while it reconnects; asking again makes it look.
            if time.monotonic() > end:
                raise


@dataclass(slots=True)
class Fleet:
    """The running processes, and how to observe them from outside."""

    home: Path
    env: dict[str, str]
    redis: Redis
    #: The broker's URL; None if it is the ledger's Redis.
    broker: Redis
    redis_url: str
    control: Control
    caller: Caller
    #: Where the caller of the events receives its notifications; it passes each on unchanged.
    webhook: str
    log: Path
    children: list[Child] = field(default_factory=list)

    @property
    def up(self) -> Child:
        """The command started first."""
        return self.children[0]

    def start(self, *args: str) -> Child:
        child = Child(self.home, self.env, self.log, *args)
        self.children.append(child)
        return child

    def restart(self) -> None:
        """Start the first command again after it ended."""
        self.children[0] = Child(self.home, self.env, self.log, "up")
        self.answers()

    def answers(self) -> None:
        """Wait until a worker answers."""
        assert self.caller.call("explain", sub="nobody", calendar_id="none", event_id="none") is None

    def ask_to_end(self) -> None:
        for child in self.children:
            child.ask_to_end()

    def end(self) -> None:
        self.ask_to_end()
        for child in self.children:
            child.end()

    def run(self, *args: str) -> CompletedProcess[str]:
        return run_command(self.home, self.env, *args)

    def logged(self, event: str) -> list[Json]:
        """The log lines of one event so far, without Celery's banner."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def outcomes(self, sub: str | None = None) -> list[dict[str, Any]]:
        """The outcomes stream, or only one account's; oldest first."""
        entries: Any = self.redis.xrange("reconciler:outcomes")
        assert all(list(fields) == [b"outcome"] for _, fields in entries)
        found = [json.loads(fields[b"outcome"]) for _, fields in entries]
        return [outcome for outcome in found if sub in (None, outcome["sub"])]

    def outcome(self, kind: str, sub: str, event_id: str | None, seconds: float = 15) -> dict[str, Any]:
        """The first outcome of this type, waiting for it."""

        def find() -> dict[str, Any] | None:
            wanted = (kind, event_id)
            return next((o for o in self.outcomes(sub) if (o["type"], o["event_id"]) == wanted), None)

        return wait_until(find, seconds, 0.1, what=f"{kind} of {event_id} of {sub}") or {}

    def requests(self, sub: str, path: str) -> list[Json]:
        """The GET requests to Cronofy with this account's token."""
        logged = self.control.requests(path)
        return [request for request in logged if (request["sub"], request["method"]) == (sub, "GET")]

    def answered(self, task_id: str) -> bool:
        return bool(self.redis.exists(f"celery-task-meta-{task_id}"))

    def drained(self) -> bool:
        """Whether no message is waiting or in a worker's hands."""
        queues: Any = [self.broker.llen(name) for name in (INTAKE, URGENT)]
        return not any(queues) and not self.broker.hlen("reconciler.unacked")

    def person(self, *profiles: Json, **fields: Any) -> Person:
        """Somebody at Cronofy with these conferencing profiles, whose account is connected here."""
        person = Person(self, f"acc_{uuid4().hex[:12]}", list(profiles), fields)
        person.connect()
        return person


class Person:
    """An account at Cronofy with one calendar, connected to the fleet."""

    def __init__(self, fleet: Fleet, sub: str, profiles: list[Json], fields: Json) -> None:
        self.fleet, self.sub, self.calendar_id = fleet, sub, f"cal_{sub}"
        self.email = f"{sub}@example.org"
        calendar = {"provider_name": "google", "calendars": [{"calendar_id": self.calendar_id}]}
        account = {"calendar_profiles": [calendar], "conferencing_profiles": profiles, **fields}
        created = fleet.control.create_account(sub=sub, name="Dana", email=self.email, **account)
        self.refresh_token, self.access_token = created["refresh_token"], created["access_token"]

    def connect(self) -> None:
        """Pass on the tokens, as the service that the person authorised does."""
        tokens = {"refresh_token": self.refresh_token, "access_token": self.access_token}
        about = {"sub": self.sub, "email": self.email, "name": "Dana"}
        assert self.fleet.caller.call("connect_account", **about, **tokens) is True

    def write(self, event_id: str, profile_id: str, start: timedelta, **fields: Any) -> Json:
        """Write an event at Cronofy as the calling service does; returns the body sent."""
        begins = (datetime.now(UTC) + start).replace(microsecond=0)
        interactions = [{"type": "conferencing_assigned"}, {"type": "conferencing_failing"}]
        body = {
            "event_id": event_id,
            "summary": f"Meeting {event_id}",
            "start": {"time": begins.isoformat(), "tzid": "Europe/London"},
            "end": {"time": (begins + timedelta(minutes=30)).isoformat(), "tzid": "Europe/London"},
            "conferencing": {"profile_id": profile_id},
            "subscriptions": [{"type": "webhook", "uri": self.fleet.webhook, "interactions": interactions}],
            **fields,
        }
        self.fleet.control.create_event(self.sub, self.calendar_id, body)
        return body

    def track(self, body: Json, **fields: Any) -> None:
        event = {"sub": self.sub, "calendar_id": self.calendar_id, "event": body}
        assert self.fleet.caller.call("track", **event, **fields) is True

    def write_and_track(
        self, event_id: str, profile_id: str, start: timedelta = timedelta(days=2), **fields: Any
    ) -> Json:
        body = self.write(event_id, profile_id, start)
        self.track(body, **fields)
        return body

    def stick(self, event_id: str, on: bool = True) -> None:
        """Let Cronofy make no conference for the event and say nothing, or stop doing so."""
        self.fleet.control.set_stuck(self.calendar_id, event_id, on)

    def explain(self, event_id: str) -> Any:
        """Ask why the event has no conference yet."""
        names = {"sub": self.sub, "calendar_id": self.calendar_id, "event_id": event_id}
        return self.fleet.caller.call("explain", **names)

    def outcome(self, kind: str, event_id: str | None, seconds: float = 15) -> dict[str, Any]:
        """The outcome of this type about one of the events (None: about the whole account)."""
        return self.fleet.outcome(kind, self.sub, event_id, seconds)

    def outcome_kinds(self) -> list[tuple[str, str | None]]:
        """Type and event id of all outcomes about this account, sorted."""
        pairs = [(o["type"], o["event_id"]) for o in self.fleet.outcomes(self.sub)]
        return sorted(pairs, key=str)

    def mails(self) -> list[Json]:
        return [mail for mail in self.fleet.control.mail() if self.email in mail["to"]]


def zoom(profile_id: str, **fields: Any) -> Json:
    """A profile of its account's owner: it bears their email address, unless named otherwise."""
    return {"profile_id": profile_id, "provider_name": "zoom", **fields}


@contextmanager
def running_fleet(
    home: Path,
    command: str = "up",
    settings: Mapping[str, str] | None = None,
    ledger: str | None = None,
    broker: str | None = None,
    smtp_login: str = "",
    callers: str | None = None,
    redis: Redis | None = None,
    caller: Caller | None = None,
    more: Mapping[str, str] | None = None,
) -> Iterator[Fleet]:
    """Start the command on a server, a sandbox and a mailbox of its own; these settings override QUICK.

    `ledger` and `broker` are the URLs of servers that run already; `smtp_login` is user:password for the mail
    server; `callers` is the broker's URL as callers are given it, if that is another; `redis` and `caller`
    are clients of a ledger that needs more than a URL. `more` is added to
    the command's environment.
    """
    with ExitStack() as stack:
        url = ledger or stack.enter_context(embedded_server(home / "redis"))
        sandbox = stack.enter_context(running_sandbox())
        redis = stack.enter_context(redis or Redis.from_url(url))
        queues = stack.enter_context(Redis.from_url(broker)) if broker and "redis" in broker else redis
        caller = caller or Caller(callers or broker or url, callers or url)
        stack.callback(caller.close)
        values = {
            "REDIS_URL": url,
            "BROKER_URL": broker or "",
            "VAULT_KEYS": Fernet.generate_key().decode(),
            "DATA_DIR": str(home),
            **cronofy_settings(sandbox),
            "SMTP_URL": sandbox.smtp_url.replace("://", f"://{smtp_login}@" if smtp_login else "://"),
            **QUICK,
            **(settings or {}),
        }
        webhook = stack.enter_context(
            receiver(lambda body, sign: caller.send("receive_notification", body=body, signature=sign))
        )
        log = home / "processes.log"
        fleet = Fleet(home, environment(**values), redis, queues, url, sandbox.control, caller, webhook, log)
        stack.callback(fleet.end)
        fleet.children.append(Child(home, {**fleet.env, **(more or {})}, log, command))
        fleet.answers()
        yield fleet


def running_sandbox() -> RunningSandbox:
    """A sandbox: conferences come at once, and only the limit per second is enforced."""
    return RunningSandbox(
        SandboxOptions(
            client_id=CLIENT_ID,
            client_secrets=(CLIENT_SECRET,),
            per_minute=0,
            generation_seconds=0.5,
            retry_seconds=0.5,
        )
    )


def cronofy_settings(sandbox: RunningSandbox) -> dict[str, str]:
    """The settings that use the sandbox as Cronofy and as mail server."""
    return {
        "CRONOFY_CLIENT_ID": CLIENT_ID,
        "CRONOFY_CLIENT_SECRET": CLIENT_SECRET,
        "CRONOFY_API_URL": sandbox.url,
        "SMTP_URL": sandbox.smtp_url,
        "MAIL_FROM": "Conferencing <conferencing@example.org>",
        "ESCALATION_EMAIL": OPERATOR,
        "LOG_FORMAT": "json",
    }
