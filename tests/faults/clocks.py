"""Hosts whose clocks are set while programs run on them."""

from __future__ import annotations

import os
from pathlib import Path

#: Debian's faketime sets the server's clock; Python's is set by a module of ours.
LIBRARY = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
WRONG_CLOCK = Path(__file__).with_name("wrong_clock")


class Clocks:
    """A file for each role that says by how many seconds its clock is off."""

    def __init__(self, home: Path) -> None:
        self._home = home
        for role in ("server", "worker", "beat"):
            self.set(role, 0)

    def set(self, role: str, seconds: float) -> None:
        new = self._home / "new"
        new.write_text(f"{seconds:+.0f}\n")
        new.replace(self._home / role)

    def of_process(self, role: str) -> dict[str, str]:
        path = os.pathsep.join(filter(None, [str(WRONG_CLOCK), os.environ.get("PYTHONPATH")]))
        return {"CLOCK_OFF_BY": str(self._home / role), "PYTHONPATH": path}

    def of_server(self) -> dict[str, str]:
        if not LIBRARY.exists():
            return {}
        file = {"FAKETIME_TIMESTAMP_FILE": str(self._home / "server"), "FAKETIME_NO_CACHE": "1"}
        return {"LD_PRELOAD": str(LIBRARY), "FAKETIME_DONT_FAKE_MONOTONIC": "1", **file}
