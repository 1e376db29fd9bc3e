"""What tells an operator of a fault, and the table of it in ``docs/watching.md``.

    python -m tests.integration.told

writes the table. Each fault is made at a healthy fleet of its own; what `status`, the board and `doctor` say
is observed. The alert and the line of the log are named here, and tests check that they exist.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from redis.exceptions import ConnectionError, RedisError
from rich.console import Group
from rich.text import Text

from benchmarks.report import put
from sandbox.options import SandboxOptions
from sandbox.server import RunningSandbox
from tests.contract.decisions import markdown
from tests.contract.documents import ROOT
from tests.faults.server import Server, running_server
from tests.integration.checked_fleet import CheckedFleet, healthy_fleet
from tests.waiting import wait_until
from worker.cronofy.budget import Budget
from worker.doctor.finding import Health
from worker.ledger.connection import connect_once
from worker.ledger.opening import keyless_ledger
from worker.ledger.records import to_ms
from worker.status.snapshot import read_status
from worker.status.table import status_table
from worker.web.board.overview import read_overview
from worker.web.ledger_pool import PATIENCE

MANUAL = ROOT / "docs" / "watching.md"
OPTIONS = SandboxOptions(per_second=0, per_minute=0, generation_seconds=3600)
#: What a view says of a ledger that it cannot read.
UNAVAILABLE = "Redis is unavailable"
HEADINGS = ("fault", "`status`", "board", "`doctor`", "log", "alert and runbook")


@dataclass(frozen=True, slots=True)
class Stage:
    """A healthy fleet, and its server."""

    fleet: CheckedFleet
    server: Server
    home: Path

    def budget(self, per_minute: int = 500) -> Budget:
        """The budget of the fleet's client."""
        place = f"sandbox-client@{self.fleet.sandbox.url}"
        return Budget(
            self.fleet.redis, self.fleet.prefix, place, per_second=500, per_minute=per_minute, share=1
        )


@dataclass(frozen=True, slots=True)
class Fault:
    """How a fault is made, and what else tells of it: the event in the log, and the alert."""

    make: Callable[[Stage], object]
    log: str = ""
    alert: str = ""


def _no_disk(stage: Stage) -> None:
    shutil.rmtree(stage.home)
    stage.server.client.set("changed", 1)

    def failed() -> bool:
        return bool(stage.server.client.info("persistence")["rdb_last_bgsave_status"] == "err")

    wait_until(failed, 20, what="a failed save")


def _old_sweep(stage: Stage) -> None:
    fleet = stage.fleet
    fleet.redis.set(fleet.ledger.keys.swept, to_ms(fleet.ledger.now()) - 600_000)


def _unconsumed(stage: Stage) -> None:
    fleet = stage.fleet
    fleet.has_workers({"one@host": ("urgent", "intake", "looks")})
    fleet.redis.rpush(f"{fleet.prefix}.mail", *["message"] * 101)


def _spent(stage: Stage) -> None:
    stage.budget().pause(timedelta(minutes=1))


def _dead_letter(stage: Stage) -> None:
    stage.fleet.ledger.dead_letters.keep("conferencing.track", "bad", (), {})


def _wrong_secret(stage: Stage) -> None:
    stage.fleet.values["cronofy_client_secret"] = "wrong"
    budget = stage.budget()
    budget.take()
    budget.refuse_client()


FAULTS: dict[str, Fault] = {
    "Redis is down": Fault(lambda s: s.server.kill(), "redis.unavailable", "ReconcilerUnobserved"),
    "Redis is full": Fault(
        lambda s: s.server.set(maxmemory="1"), "redis.unavailable", "ReconcilerRedisTakesNoWrites"
    ),
    "Redis has no disk": Fault(_no_disk, "redis.unavailable", "ReconcilerRedisTakesNoWrites"),
    "Redis is a read-only replica": Fault(
        lambda s: s.server.client.replicaof("127.0.0.1", "1"),
        "redis.unavailable",
        "ReconcilerRedisTakesNoWrites",
    ),
    "Beat is dead": Fault(_old_sweep, "", "ReconcilerSweepStalled"),
    "No worker": Fault(lambda s: s.fleet.forget_workers(), "", "ReconcilerSweepStalled"),
    "Nobody consumes a queue": Fault(_unconsumed, "", "ReconcilerQueueGrows"),
    "Cronofy answers 500": Fault(
        lambda s: s.fleet.sandbox.control.add_fault("status", match={"path_prefix": "/"}, status=500),
        "look.failed",
        "ReconcilerCronofyFails",
    ),
    "Wrong client secret": Fault(_wrong_secret, "cronofy.client_refused", "ReconcilerClientRefused"),
    "The mail server refuses": Fault(
        lambda s: s.fleet.values.update(smtp_url="smtp://127.0.0.1:1"), "mail.put_off", "ReconcilerMailStuck"
    ),
    "A dead letter": Fault(_dead_letter, "payload.refused", "ReconcilerDeadLetters"),
    "Cronofy asked for a pause": Fault(_spent, "budget.paused", "ReconcilerRateLimited"),
    "The fleet is paused": Fault(lambda s: s.fleet.ledger.set_paused(True), "", "ReconcilerPaused"),
}


@contextmanager
def staged(running: RunningSandbox, folder: Path) -> Iterator[Stage]:
    """A healthy fleet at a server of its own."""
    home = folder / "redis"
    with running_server(home, save='"1 1"') as server:
        fleet = healthy_fleet(server.url, running, "reconciler", folder / "data")
        # Not as a block, whose end heals the server: this one ends.
        yield Stage(fleet.__enter__(), server, home)
        with suppress(ConnectionError):
            server.client.time()
            server.kill()


def told(stage: Stage, fault: Fault) -> tuple[str, str, str]:
    """What `status`, the board and `doctor` say once the fault is made, but for what they say anyway."""
    before = _said(stage)
    fault.make(stage)
    after = _said(stage)
    status, board, doctor = (
        "; ".join(dict.fromkeys(text for text in now if text not in then))
        for then, now in zip(before, after, strict=True)
    )
    return status, board, doctor


def _said(stage: Stage) -> tuple[list[str], list[str], list[str]]:
    settings = stage.fleet.settings
    try:
        with connect_once(settings.ledger_url, PATIENCE) as redis:
            table = status_table(read_status(redis, settings), settings.sweep_every)
            board = list(read_overview(keyless_ledger(redis, settings), settings).attention)
        assert isinstance(table, Group)
        status = [
            " ".join(each.plain.split())
            for each in table.renderables
            if isinstance(each, Text) and any("yellow" in str(span.style) for span in each.spans)
        ]
    except RedisError:
        status = board = [UNAVAILABLE]
    bad = [f"{each.name}: {each.what}" for each in stage.fleet.findings() if each.health in _BAD]
    return _steady(status), _steady(board), _steady(bad)


_BAD = (Health.WRONG, Health.WARNING)


def _steady(texts: list[str]) -> list[str]:
    """The texts without times that have passed and addresses, which differ from run to run."""
    passing = r"\d+ (?:min|s)(?: \d+ s)?(?= ago)|(?<=pause of )[^;]+|(?<=no calls for )[^;.]+"
    return [re.sub(r"127\.0\.0\.1:\d+|localhost:\d+", "HOST", re.sub(passing, "…", text)) for text in texts]


def row(running: RunningSandbox, folder: Path, name: str) -> tuple[str, ...]:
    """The row of one fault."""
    running.control.reset()
    fault = FAULTS[name]
    with staged(running, folder) as stage:
        views = told(stage, fault)
    runbook = f"[`{fault.alert}`](runbook.md#{fault.alert.lower()})" if fault.alert else "–"
    return name, *(view or "–" for view in views), f"`{fault.log}`" if fault.log else "–", runbook


def rows() -> list[tuple[str, ...]]:
    """Every row, in order."""
    found = []
    for name in FAULTS:
        with TemporaryDirectory() as folder, RunningSandbox(OPTIONS) as running:
            found.append(row(running, Path(folder), name))
    return found


if __name__ == "__main__":
    put(MANUAL, "told", markdown(HEADINGS, rows()))
