"""A world whose user is asked to connect a service, with `serve`, and a hand that does what it asks."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cryptography.fernet import Fernet
from redis import Redis

from tests.integration.served import serving
from tests.integration.world import Begin, World
from worker.bootstrap import Services
from worker.mail.compose import read_back
from worker.run import connections


class Hand:
    """Does what `serve` asks of workers, one after the other."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._ended = threading.Event()
        self.done: list[str] = []
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _work(self) -> None:
        settings = self._services.settings
        with Redis.from_url(settings.ledger_url) as broker:
            while not self._ended.is_set():
                taken: Any = broker.brpop([f"{settings.key_prefix}.urgent"], timeout=0.1)
                if taken:
                    message = json.loads(taken[1])
                    _, kwargs, _ = json.loads(base64.b64decode(message["body"]))
                    self._carry_out(message["headers"]["task"], kwargs)

    def _carry_out(self, task: str, kwargs: dict[str, Any]) -> None:
        if task == "conferencing.authorize_connection":
            connections.authorize_connection(self._services, **kwargs)
        else:
            assert task == "conferencing.note_connection"
            connections.note_connection(self._services, **kwargs)
        self.done.append(task)


@contextmanager
def asked(
    begin: Begin, redis_url: str, prefix: str, *event_ids: str, locale: str | None = None, **settings: Any
) -> Iterator[tuple[World, Hand]]:
    """Events whose profile was removed, with no other: their user is asked to connect one."""
    keys = Fernet.generate_key().decode()
    served = {
        "webhook_url": "http://127.0.0.1:9",
        **{n: v for n, v in settings.items() if n.startswith(("connect_", "mail_"))},
    }
    with serving(redis_url=redis_url, key_prefix=prefix, vault_keys=keys, **served) as url:
        world = begin(profiles=1, vault_keys=keys, **{"webhook_url": url, **settings})
        if locale:
            world.connect(locale=locale)
        for event_id in event_ids or ("e1",):
            world.track(event_id)
        # A look sees the profile before it goes.
        world.look(event_ids[0] if event_ids else "e1")
        world.control.remove_profile(world.sub, world.profiles[0])
        for event_id in event_ids or ("e1",):
            world.look(event_id)
        hand = Hand(world.services)
        try:
            yield world, hand
        finally:
            hand.end()


def link_in(world: World) -> str:
    """The link of ours in the one email that is due."""
    [mail] = world.mails()
    body = read_back(mail.message).get_body(("plain",))
    assert body is not None
    [link] = [line for line in body.get_content().splitlines() if "/connect/" in line]
    return str(link)
