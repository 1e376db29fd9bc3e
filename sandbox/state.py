"""One sandbox's state: the world, traffic, faults, notifications and mailbox."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

from sandbox.mailbox import Mailbox
from sandbox.options import SandboxOptions
from sandbox.world.courier import Courier
from sandbox.world.faults import Fault
from sandbox.world.traffic import Traffic
from sandbox.world.world import World, utc_now

#: How often the world checks its schedule.
TICK_SECONDS = 0.02


class Sandbox:
    """The parts of a sandbox, sharing one set of options that may change."""

    def __init__(self, options: SandboxOptions, origin: str = "") -> None:
        """Make an empty world, served at `origin` unless the options give a public URL."""
        self._initial = self.options = replace(options, public_url=options.public_url or origin)
        self.mailbox = Mailbox(options.mail_dir)
        self.courier = Courier(lambda: self.options, self._undelivered)
        self._begin()

    def _undelivered(self, body: dict[str, Any]) -> None:
        # Cronofy silently closes a channel whose receiver does not answer (§6c).
        if "channel" in body:
            self.world.close_channel(body["channel"]["channel_id"])

    def _begin(self) -> None:
        #: How far the world's clock is ahead of this machine's.
        self.ahead = timedelta(0)
        self.world = World(lambda: self.options, self.courier.send, lambda: utc_now() + self.ahead)
        self.traffic = Traffic()
        #: The active fault rules, oldest first; the first that matches a request applies.
        self.faults: list[Fault] = []

    def configure(self, changes: dict[str, Any]) -> None:
        """Change options by name; raises `pydantic.ValidationError` for an unknown name or a bad value."""
        self.options = SandboxOptions(**{**asdict(self.options), **changes})

    def reset(self) -> None:
        """Forget everything and restore the initial options."""
        self.options = self._initial
        self.courier.clear()
        self.mailbox.clear()
        self._begin()

    async def live(self) -> None:
        """Advance the world until cancelled."""
        while True:
            self.world.advance()
            await asyncio.sleep(TICK_SECONDS)
