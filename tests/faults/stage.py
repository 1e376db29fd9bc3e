"""One account and everything that works on it, in this process: tasks in turn, email and outcomes.

Messages wait in a queue here instead of a broker: failures of Celery and its broker are tested with real
processes elsewhere.
"""

from __future__ import annotations

import os
import signal
import struct
import time
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import Reject
from cryptography.fernet import Fernet
from redis import Redis
from structlog.testing import capture_logs

from config.settings import load_settings
from sandbox.server import RunningSandbox
from tasks import internal, payload, urgent
from tests.faults.effects import Effects, Glitch, answers_counted, counted, load_scripts
from tests.integration.world import World
from worker import app as application
from worker.bootstrap import Services, bootstrap
from worker.cronofy import budget
from worker.cronofy.http import HttpClient
from worker.ledger.packing import pack_memo
from worker.run import looks

Message = tuple[str, Mapping[str, Any]]
SWEEP: Message = (internal.sweep.name, {})
RECONCILE: str = urgent.reconcile_account.name

OUTCOME_TASK = "billing.settle"
OPERATOR = "operator@example.org"


def settings_at(running: RunningSandbox, redis_url: str, prefix: str, data_dir: Path) -> dict[str, Any]:
    """Settings for services on this Redis at this sandbox and its mailbox, without limits."""
    return {
        "redis_url": redis_url,
        "key_prefix": prefix,
        "data_dir": data_dir,
        "vault_keys": Fernet.generate_key().decode(),
        "cronofy_client_id": "sandbox-client",
        "cronofy_client_secret": "sandbox-secret",
        "cronofy_api_url": running.url,
        "smtp_url": running.smtp_url,
        "application_name": "Acme Hiring",
        "api_per_second": 100_000,
        "api_per_minute": 1_000_000,
    }


@contextmanager
def staged(
    running: RunningSandbox,
    redis: Redis,
    redis_url: str,
    prefix: str,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    **settings: Any,
) -> Iterator[Stage]:
    """A stage on this Redis at this sandbox with its mailbox, and with these settings."""
    outgoing = {
        "outcome_task": OUTCOME_TASK,
        "outcome_queue": "billing.outcomes",
        "escalation_email": OPERATOR,
        "escalation_digest": 0,
    }
    # A caller waits for another's look no longer than a task's time limit allows.
    limits = {"http_timeout": 2, "look_timeout": 5, "task_time_limit": 7.5}
    base = settings_at(running, redis_url, prefix, data_dir)
    services = bootstrap(load_settings(**{**base, **outgoing, **limits, **settings}))
    try:
        yield Stage(services, running, redis, monkeypatch)
    finally:
        services.close()


class Stage:
    """The services of one process, at a sandbox that is emptied for each new world."""

    def __init__(
        self, services: Services, running: RunningSandbox, redis: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`redis` is a client whose commands are not counted."""
        self.services = services
        self._running = running
        self.redis = redis
        load_scripts(redis)
        self.prefix = services.ledger.prefix
        #: What the work has logged so far.
        self.lines: list[Mapping[str, Any]] = []
        application.configure(services.settings)
        monkeypatch.setattr(application._Process, "services", services)
        monkeypatch.setattr(application._Process, "owner", os.getpid())
        # Single-threaded, so that side effects are numbered the same in every run.
        monkeypatch.setattr(looks, "THREADS", 1)
        # For the same reason, all that is answered is reported at once.
        monkeypatch.setattr(budget, "REPORT_EVERY", timedelta(0))
        # Time passes only when told to.
        monkeypatch.setattr(payload, "REST_SECONDS", 0)

    def begin(self, profiles: int = 2) -> World:
        """An empty sandbox and ledger, and one connected account with N Zoom profiles."""
        self._running.control.reset()
        self._forget("*")
        self.lines.clear()
        return self.another("pro", profiles)

    def another(self, name: str, profiles: int = 2, **fields: Any) -> World:
        """Another account, with N Zoom profiles whose ids begin with `name`."""
        zooms = [{"provider_name": "zoom", "profile_id": f"{name}_{n}"} for n in range(profiles)]
        account = self._running.control.create_account(conferencing_profiles=zooms, **fields)
        return World(self.services, self._running.control, account)

    def work(self, first: Message, glitch: Glitch | None = None) -> Effects:
        """Run a task and everything it triggers; a glitch, if any, raises. Returns the side effects."""
        effects = Effects(glitch)
        self._work(first, effects, Effects())
        return effects

    def resend(self, first: Message, glitch: Glitch | None = None) -> Effects:
        """The same, with the glitch losing an answer of Redis. Returns Redis's answers."""
        effects = Effects(glitch)
        with answers_counted(effects, self.services):
            self._work(first, Effects(), effects)
        return effects

    def _work(self, first: Message, effects: Effects, others: Effects) -> None:
        queue: deque[Message] = deque([first])

        def publish(task: str, kwargs: dict[str, Any]) -> None:
            if task == OUTCOME_TASK:
                self.redis.rpush(f"{self.prefix}:published", str(kwargs["outcome"]["id"]))
            else:
                queue.append((task, kwargs))

        with capture_logs() as lines, counted(effects, self.services, application.app, publish):
            while queue:
                task, kwargs = queue.popleft()
                try:
                    application.app.tasks[task](**kwargs)
                except Reject:
                    # Returned to the broker, which redelivers it.
                    queue.append((task, kwargs))
                except Exception:
                    if not (effects.struck or others.struck):
                        raise
        self.lines += lines

    def die(self, first: Message, glitch: Glitch, seconds: float = 20) -> int:
        """The same in a child process, which the glitch kills; returns its exit code."""
        self.hang_up()
        with warnings.catch_warnings():
            # The sandbox's thread holds nothing that the child needs.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            code = 1
            try:
                application._Process.owner = os.getpid()
                self.work(first, glitch)
                code = 0
            finally:
                os._exit(code)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.001)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise AssertionError(f"the process neither ended nor died within {seconds:g} s at {glitch}")

    def hang_up(self) -> None:
        """Close the HTTP connections, which two processes must not share; Redis's are not shared."""
        cronofy = self.services.looker.cronofy
        cronofy.http.close()
        cronofy.http = HttpClient(self.services.settings.http_timeout, connections=4)

    def let_time_pass(self, sub: str) -> None:
        """Every lease, pause and turn is over; every email and event is due."""
        for key in ("leased", "outbox", "waiting"):
            for member, _ in self.redis.zscan_iter(f"{self.prefix}:{key}"):
                self.redis.zadd(f"{self.prefix}:{key}", {member: 0}, xx=True)
        for pattern in ("budget:*", "slot", "resuming", "outcomes:lock", "waking:*", "woken:*"):
            self._forget(pattern)
        events = f"{self.prefix}:events:{sub}"
        values: Any = self.redis.hgetall(events)
        for field, value in values.items():
            self.redis.hset(events, field, struct.pack(">d", 0) + value[8:])

    def let_episodes_age(self, sub: str, by: timedelta) -> None:
        """As though the relink emails had been sent this much earlier; the server's clock cannot be moved."""
        memo = self.services.ledger.account(sub).memo
        aged = {
            profile_id: replace(episode, started_at=episode.started_at - int(by.total_seconds() * 1000))
            for profile_id, episode in memo.episodes.items()
        }
        packed = pack_memo(replace(memo, episodes=aged))
        self.redis.hset(f"{self.prefix}:account:{sub}", "memo", packed)

    def published(self) -> list[str]:
        """The ids of the outcomes sent to their task."""
        published: Any = self.redis.lrange(f"{self.prefix}:published", 0, -1)
        return [outcome_id.decode() for outcome_id in published]

    def _forget(self, pattern: str) -> None:
        keys = list(self.redis.scan_iter(match=f"{self.prefix}:{pattern}", count=1000))
        if keys:
            self.redis.delete(*keys)
