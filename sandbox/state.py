"""The whole of one sandbox: the world and what stands around it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from typing import Any

from sandbox.mailbox import Mailbox
from sandbox.options import SandboxOptions
from sandbox.world.courier import Courier
from sandbox.world.faults import Fault
from sandbox.world.traffic import Traffic
from sandbox.world.world import World

#: How often the world looks at its agenda.
TICK_SECONDS = 0.02


class Sandbox:
    """The parts of a sandbox, sharing one set of options that may change meanwhile."""

    def __init__(self, options: SandboxOptions, origin: str = "") -> None:
        """Make an empty world, served at `origin` unless the options name a public URL."""
        self._initial = self.options = replace(options, public_url=options.public_url or origin)
        self.mailbox = Mailbox(options.mail_dir)
        self.courier = Courier(lambda: self.options, self._undelivered)
        self._begin()

    def _undelivered(self, body: dict[str, Any]) -> None:
        # A channel whose receiver does not answer is closed, without a word to anybody (§6c).
        if "channel" in body:
            self.world.close_channel(body["channel"]["channel_id"])

    def _begin(self) -> None:
        self.world = World(lambda: self.options, self.courier.send)
        self.traffic = Traffic()
        #: The fault rules in force, oldest first; the first that matches a request strikes.
        self.faults: list[Fault] = []

    def configure(self, changes: dict[str, Any]) -> None:
        """Change options by name; raises `pydantic.ValidationError` for what does not exist or fit."""
        self.options = SandboxOptions(**{**asdict(self.options), **changes})

    def reset(self) -> None:
        """Forget everything and go back to the options of the start."""
        self.options = self._initial
        self.courier.clear()
        self.mailbox.clear()
        self._begin()

    async def live(self) -> None:
        """Let time pass in the world, until cancelled."""
        while True:
            self.world.advance()
            await asyncio.sleep(TICK_SECONDS)
