"""The faults of the soak: each has a label, and lasts for some seconds under a running fleet."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from celery import Celery

from sandbox.control.control import Control
from tests.acceptance.harness import INTAKE, URGENT
from tests.acceptance.processes import children_of
from tests.acceptance.shop import ran, running_shop
from tests.faults.clocks import LIBRARY, Clocks
from tests.faults.crew import Crew
from tests.faults.hostile_messages import MESSAGES
from tests.faults.server import Server
from tests.waiting import wait_until


@dataclass(slots=True)
class Site:
    """What can be disturbed."""

    ledger: Server
    broker: Server
    clocks: Clocks
    crew: Crew
    control: Control
    #: Where the other Celery application keeps its files.
    shop: Path
    #: The tasks that it was sent, by id.
    bought: list[str] = field(default_factory=list)

    def of(self, name: str) -> Server:
        return self.ledger if name == "ledger" else self.broker

    def runs_of_the_shop(self) -> Counter[str]:
        """How often each of those tasks ran."""
        ids = Counter(line.split()[1] for line in ran(self.shop).splitlines() if " " in line)
        return Counter({task_id: ids[task_id] for task_id in self.bought})


Lay = Callable[[Site, random.Random], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the table."""

    label: str
    #: Applies it until the block ends.
    lay: Lay
    #: How long the block lasts at least.
    seconds: float
    #: Whether it may lose a message in the moment that docs/reliability.md describes: a worker or the broker
    #: dies, or its answer does, between handing out a message and recording that.
    loses_messages: bool = False
    needs: Path = Path("/")


def _refusing(name: str, begin: Callable[[Server], Any]) -> Lay:
    @contextmanager
    def lay(site: Site, _: random.Random) -> Iterator[None]:
        server = site.of(name)
        begin(server)
        try:
            yield
        finally:
            server.set(maxmemory=0, min_replicas_to_write=0)
            server.client.replicaof("no", "one")

    return lay


def _busy(name: str) -> Lay:
    return lambda site, _: site.of(name).busy()


def _frozen(name: str) -> Lay:
    return lambda site, _: site.of(name).frozen()


def _killed(name: str) -> Lay:
    @contextmanager
    def lay(site: Site, _: random.Random) -> Iterator[None]:
        site.of(name).kill()
        try:
            yield
        finally:
            site.of(name).start()

    return lay


def _read_only(server: Server) -> None:
    server.client.replicaof("127.0.0.1", "1")


def _full(server: Server) -> None:
    server.set(maxmemory="1mb")


def _alone(server: Server) -> None:
    server.set(min_replicas_to_write=1)


@contextmanager
def _cut_off(site: Site, _: random.Random) -> Iterator[None]:
    """All connections of both servers are closed, and once more a moment later."""
    for _again in range(2):
        for server in (site.ledger, site.broker):
            for kind in ("normal", "pubsub"):
                server.client.client_kill_filter(_type=kind, skipme=True)
        time.sleep(1)
    yield


@contextmanager
def _scripts_forgotten(site: Site, _: random.Random) -> Iterator[None]:
    site.ledger.client.script_flush()
    yield


OFF_BY = (-3600, -30, 6, 3600)


def _clock(role: str) -> Lay:
    """It is wrong in each of these ways for some seconds, then right."""

    @contextmanager
    def lay(site: Site, dice: random.Random) -> Iterator[None]:
        try:
            for seconds in dice.sample(OFF_BY, len(OFF_BY)):
                site.clocks.set(role, seconds)
                time.sleep(5)
            yield
        finally:
            site.clocks.set(role, 0)

    return lay


def _signalled(name: str, number: signal.Signals) -> Lay:
    """The process gets a signal; its crew starts it again if it ends."""

    @contextmanager
    def lay(site: Site, _: random.Random) -> Iterator[None]:
        site.crew.signal(name, number)
        yield

    return lay


@contextmanager
def _stopped(site: Site, _: random.Random) -> Iterator[None]:
    """A worker's host hangs with all its processes."""
    worker = site.crew.pid("worker one")
    family = [*children_of(worker), worker]
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextmanager
def _doubled(site: Site, _: random.Random) -> Iterator[None]:
    site.crew.start("second beat")
    try:
        yield
    finally:
        site.crew.end("second beat")


def _cronofy(**fields: Any) -> Lay:
    """Every second call gets this."""

    @contextmanager
    def lay(site: Site, dice: random.Random) -> Iterator[None]:
        drawn = {
            name: dice.choice(value) if isinstance(value, list) else value for name, value in fields.items()
        }
        for prefix in ("/v1/", "/oauth/"):
            match = {"path_prefix": prefix}
            site.control.add_fault(match=match, probability=0.5, seed=dice.randrange(1000), **drawn)
        try:
            yield
        finally:
            site.control.clear_faults()

    return lay


def _mail(**manner: Any) -> Lay:
    @contextmanager
    def lay(site: Site, _: random.Random) -> Iterator[None]:
        site.control.set_mailbox(**manner)
        try:
            yield
        finally:
            site.control.set_mailbox()

    return lay


@contextmanager
def _junk(site: Site, dice: random.Random) -> Iterator[None]:
    for message in dice.sample(list(MESSAGES.values()), 20):
        site.broker.client.lpush(dice.choice([INTAKE, URGENT]), message)
    yield


@contextmanager
def _neighbour(site: Site, _: random.Random) -> Iterator[None]:
    """Another Celery works on our broker, with countdowns longer than our visibility timeout."""
    with (
        running_shop(site.shop, site.broker.url),
        Celery("shop", broker=site.broker.url, set_as_current=False) as app,
    ):
        sent = [app.send_task("shop.note", ["countdown"], countdown=12).id for _ in range(10)]
        site.bought += sent
        yield
        with suppress(AssertionError):  # the soak counts what did not run
            wait_until(lambda: all(site.runs_of_the_shop()[each] for each in sent), 30, 0.25)


#: A freeze is longer than a task may run (see `tests.faults.soak.SETTINGS`).
FREEZE = 13.0

FAULTS: tuple[Fault, ...] = (
    *(
        Fault(f"{title} {what}", lay(name), seconds, loses_messages=(name, lay) == ("broker", _killed))
        for name, title in (("ledger", "The ledger"), ("broker", "The broker"))
        for what, lay, seconds in (
            ("is busy with somebody's script", _busy, 6.0),
            ("is frozen for longer than a task may run", _frozen, FREEZE),
            ("is killed (kill -9) and restarted", _killed, 4.0),
            ("is read-only", lambda name: _refusing(name, _read_only), 6.0),
            ("is out of memory", lambda name: _refusing(name, _full), 6.0),
            ("has too few replicas", lambda name: _refusing(name, _alone), 6.0),
        )
    ),
    Fault("All connections to both servers are closed", _cut_off, 2.0, loses_messages=True),
    Fault("The server's scripts are forgotten (SCRIPT FLUSH)", _scripts_forgotten, 2.0),
    Fault("The clock of a worker's host is set four times", _clock("worker"), 0.0),
    Fault("The clock of beat's host is set four times", _clock("beat"), 0.0),
    Fault("The clock of both servers is set four times", _clock("server"), 0.0, needs=LIBRARY),
    Fault("A worker is killed (SIGKILL)", _signalled("worker one", signal.SIGKILL), 3.0, loses_messages=True),
    Fault("A worker is asked to end (SIGTERM)", _signalled("worker one", signal.SIGTERM), 3.0),
    Fault("A worker's terminal is gone (SIGHUP)", _signalled("worker one", signal.SIGHUP), 3.0),
    Fault("A worker's host hangs (SIGSTOP)", _stopped, FREEZE),
    Fault("Beat is killed (SIGKILL)", _signalled("beat", signal.SIGKILL), 3.0),
    Fault("Beat is doubled", _doubled, 12.0),
    Fault("The webhook's process is killed (SIGKILL)", _signalled("serve", signal.SIGKILL), 3.0),
    Fault("Cronofy is slow", _cronofy(kind="slow", seconds=2), 10.0),
    Fault("Cronofy answers 5xx", _cronofy(kind="status", status=[500, 502, 503, 504]), 10.0),
    Fault("Cronofy answers 429", _cronofy(kind="status", status=429, retry_after=2), 6.0),
    Fault("Cronofy closes connections", _cronofy(kind="reset"), 10.0),
    Fault("The mail server refuses for now (421)", _mail(refuse_status=421, refuse_at="connect"), 8.0),
    Fault("The mail server keeps an email and hangs up", _mail(hang_up="kept"), 10.0),
    Fault("Junk is put on the queues", _junk, 2.0),
    Fault("Another Celery works on the broker, with countdowns", _neighbour, 15.0),
)


def schedule(seed: int) -> Iterator[Fault]:
    """Without end: all faults that are possible here in a random order, then all in another one."""
    dice = random.Random(seed)
    possible = [fault for fault in FAULTS if fault.needs.exists()]
    while True:
        yield from dice.sample(possible, len(possible))


@contextmanager
def laid(fault: Fault, site: Site, dice: random.Random) -> Iterator[None]:
    """Apply it for its time; the block is what happens meanwhile."""
    with ExitStack() as stack:
        stack.enter_context(fault.lay(site, dice))
        ends = time.monotonic() + fault.seconds
        yield
        time.sleep(max(0.0, ends - time.monotonic()))
