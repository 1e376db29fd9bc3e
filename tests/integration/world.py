"""A sandbox with one connected account, and the services that look at it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography.fernet import Fernet

from config.settings import load_settings
from sandbox.control.control import Control
from sandbox.server import RunningSandbox
from worker.bootstrap import Services, bootstrap
from worker.cronofy.signature import signature_of
from worker.intake import accept
from worker.intake.payloads import ConnectAccount, ReceiveNotification, TrackEvent
from worker.ledger.outbox import QueuedMail
from worker.ledger.records import EventKey, Stored
from worker.reconcile.answer import Explained
from worker.run import looks
from worker.run.telling import tell_incidents

NOW = datetime.now(UTC).replace(microsecond=0)


class World:
    """One connected account at a sandbox, and the services that look at it."""

    def __init__(self, services: Services, control: Control, account: dict[str, Any]) -> None:
        """Connect the account."""
        self.services = services
        self.control = control
        self.account = account
        self.sub = str(account["sub"])
        self.calendar_id = str(account["calendar_profiles"][0]["calendars"][0]["calendar_id"])
        self.profiles = [str(profile["profile_id"]) for profile in account["conferencing_profiles"]]
        self.connect()

    def connect(self, **given: Any) -> None:
        """Pass the account's current tokens to the intake, with what else is given of it."""
        account = self.control.account(self.sub)
        accept.connect_account(
            self.services,
            ConnectAccount(
                sub=self.sub,
                refresh_token=account["refresh_token"] or "revoked",
                access_token=account["access_token"],
                email=account["email"],
                **given,
            ),
        )

    def another(self) -> World:
        """A second account with one Zoom profile, at the same services."""
        zoom = {"provider_name": "zoom", "profile_id": f"pro_{uuid4().hex[:8]}"}
        return World(self.services, self.control, self.control.create_account(conferencing_profiles=[zoom]))

    def key(self, event_id: str = "e1") -> EventKey:
        """An event's key."""
        return EventKey(self.calendar_id, event_id)

    def body(
        self, event_id: str = "e1", *, hours: float = 48, profile: str | None = None, **fields: Any
    ) -> dict[str, Any]:
        """A caller's event body, using the first profile unless another is named."""
        start = NOW + timedelta(hours=hours)
        return {
            "event_id": event_id,
            "summary": f"Interview {event_id}",
            "description": "Join: {{ cronofy.conferencing.join_url }}",
            "start": start.isoformat(),
            "end": (start + timedelta(minutes=30)).isoformat(),
            "attendees": {"invite": [{"email": "guest@example.org"}]},
            "conferencing": {"profile_id": profile or self.profiles[0]},
            **fields,
        }

    def track(self, event_id: str = "e1", *, write: bool = True, **fields: Any) -> dict[str, Any]:
        """Write an event at the sandbox, and track the same body."""
        body = self.body(event_id, **fields)
        if write:
            self.control.create_event(self.sub, self.calendar_id, body)
        accept.track(
            self.services,
            TrackEvent(sub=self.sub, calendar_id=self.calendar_id, event=body, provider_name="zoom"),
        )
        return body

    def notify(
        self, event_id: str, interaction: str, subtype: str | None = None, *, secret: str = "sandbox-secret"
    ) -> tuple[str, ...]:
        """Receive Cronofy's notification about an event."""
        entry = {"type": interaction} | ({"subtype": subtype} if subtype else {})
        event = {"event_id": event_id, "calendar_id": self.calendar_id}
        body = json.dumps({"notification": {"interactions": [entry]}, "event": event})
        signature = signature_of(body.encode(), secret)
        taken = accept.receive_notification(
            self.services, ReceiveNotification(body=body, signature=signature, sub=self.sub)
        )
        return tuple(sub for sub, _ in taken or ())

    def look(self, event_id: str = "e1") -> dict[str, Any]:
        """Reconcile an event now; returns its diagnosis."""
        answer = looks.reconcile_event(self.services, self.sub, self.key(event_id))
        assert answer is not None
        return answer

    def explain(self, event_id: str = "e1") -> Explained:
        """Explain an event."""
        found = looks.explain(self.services, self.sub, self.key(event_id))
        assert found is not None
        return found

    def stored(self, event_id: str = "e1") -> Stored:
        """An event's record."""
        found = self.services.ledger.find(self.sub, self.key(event_id))
        assert found is not None
        return found

    def outcomes(self) -> list[dict[str, Any]]:
        """All outcomes but the first connect."""
        entries: Any = self.services.ledger.redis.xrange(f"{self.services.ledger.prefix}:outcomes")
        outcomes = [json.loads(fields[b"outcome"]) for _, fields in entries]
        return [o for o in outcomes if o["type"] != "account_connected"]

    def types(self) -> list[str]:
        """The types of the outcomes so far, but for those of incidents."""
        return [o["type"] for o in self.outcomes() if not o["type"].startswith("incident_")]

    def writes(self) -> list[dict[str, Any]]:
        """The application's writes at the sandbox, without the callers' own."""
        return [w for w in self.control.writes() if w["via"] != "sandbox"]

    def calls(self) -> list[str]:
        """The requests so far, as method and path."""
        return [f"{r['method']} {r['path']}" for r in self.control.requests()]

    def standing(self, sub: str | None = None) -> set[str]:
        """Which of the ledger's sets the account is in."""
        ledger, name = self.services.ledger, sub or self.sub
        places = {"waiting": "waiting", "ready:us": "ready", "leased": "leased"}
        scores = {place: ledger.redis.zscore(f"{ledger.prefix}:{place}", name) for place in places}
        return {places[place] for place, score in scores.items() if score is not None}

    def mails(self) -> list[QueuedMail]:
        """The emails due in the outbox, those about incidents included; claims them."""
        tell_incidents(self.services)
        return [mail for mail in iter(self.services.outbox.take, None) if mail is not None]


Begin = Callable[..., World]


def beginning(
    running: RunningSandbox, redis_url: str, prefix: str, data_dir: Path
) -> Iterator[Callable[..., World]]:
    """Yield a function that starts a world with an account of two Zoom profiles, with these settings."""
    opened: list[Services] = []

    def begin(profiles: int = 2, **settings: Any) -> World:
        services = bootstrap(
            load_settings(
                **{
                    "redis_url": redis_url,
                    "key_prefix": prefix,
                    "data_dir": data_dir,
                    "vault_keys": Fernet.generate_key().decode(),
                    "cronofy_client_id": "sandbox-client",
                    "cronofy_client_secret": "sandbox-secret",
                    "application_name": "Acme Hiring",
                    "cronofy_api_url": running.url,
                    "http_timeout": 2,
                    "escalation_digest": 0,
                    **settings,
                }
            )
        )
        opened.append(services)
        zooms = [{"provider_name": "zoom", "profile_id": f"pro_{n}"} for n in range(profiles)]
        return World(services, running.control, running.control.create_account(conferencing_profiles=zooms))

    running.control.reset()
    yield begin
    for services in opened:
        services.close()


def set_environment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have commands of this process use the world's ledger and Cronofy."""
    settings = world.services.settings
    for name, value in {
        "REDIS_URL": settings.redis_url,
        "KEY_PREFIX": settings.key_prefix,
        "VAULT_KEYS": settings.vault_keys[0].get_secret_value(),
        "CRONOFY_CLIENT_ID": settings.cronofy_client_id,
        "CRONOFY_CLIENT_SECRET": settings.cronofy_client_secret[0].get_secret_value(),
        "CRONOFY_API_URL": settings.cronofy_api_url,
    }.items():
        monkeypatch.setenv(f"RECONCILER_{name}", str(value))
