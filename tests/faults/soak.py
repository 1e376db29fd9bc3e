"""A soak under a chaos schedule: ``make soak``.

A real fleet (two workers, beat and serve; ledger and broker on two servers; the sandbox as Cronofy and as
mail server) works for an hour while people come and go. Once a minute it meets a fault of
`tests.faults.chaos`, in an order drawn from the seed. A line for each says what came of it; at the end a
table is shown and written as JSON to ``benchmarks/results``; ``--document FILE`` puts it into a document,
too. Exits with 1 if an event was lost, anything was doubled, or the fleet is not at work at the end.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from rich.console import Console

from benchmarks.report import Report, put
from tests.acceptance.harness import QUICK, Caller, Fleet, cronofy_settings, running_sandbox
from tests.acceptance.processes import environment
from tests.faults.chaos import Fault, Site, laid, schedule
from tests.faults.clocks import Clocks
from tests.faults.crew import Crew
from tests.faults.guests import Guests, Twice
from tests.faults.server import running_server
from tests.ports import free_port
from tests.waiting import wait_until

#: What a dead process held is soon free. No clock of the table reaches an escalation or a reminder.
SETTINGS = {
    **QUICK,
    "LOOK_TIMEOUT": "3",
    "HTTP_TIMEOUT": "3",
    "TASK_TIME_LIMIT": "8",
    "VISIBILITY_TIMEOUT": "10",
    "ESCALATE_AFTER": "P2D",
    "RELINK_REMINDERS": "P2D",
    "API_PER_SECOND": "500",
    "API_PER_MINUTE": "30000",
}
#: A fleet that does not work again after this long is at fault.
PATIENCE = 90.0
#: Time for everything to end, once nobody comes any more.
SETTLE = 180.0

HEADINGS = ("fault", "times", "events", "s until at work", "lost", "sent again", "repeated", "doubled")


@dataclass(slots=True)
class Minute:
    """One fault, and what came of it."""

    fault: Fault
    #: From its end until an event handed over then had its conference; None: not within `PATIENCE`.
    recovered: float | None = None
    events: int = 0
    lost: int = 0
    again: int = 0
    twice: Twice = field(default_factory=Twice)


@dataclass(slots=True)
class Soak:
    """The run: a site, its guests, and the minutes so far."""

    site: Site
    guests: Guests
    caller: Caller
    fleet: Fleet
    dice: random.Random
    every: float
    minutes: list[Minute] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def meet(self, fault: Fault) -> Minute:
        """Let the fleet meet a fault, see it at work again, and wait for the end of the minute."""
        begun = time.monotonic()
        self.guests.minute = len(self.minutes)
        minute = Minute(fault)
        self.minutes.append(minute)
        with laid(fault, self.site, self.dice):
            pass
        minute.recovered = self._time_to_recover()
        while True:
            self.guests.look_around()
            self.guests.read_mail()
            left = begun + self.every - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(left, 3.0))
        self.guests.send_again()
        self._take_stock()
        if self.guests.failure:
            raise self.guests.failure
        return minute

    def _time_to_recover(self) -> float | None:
        """Seconds until an event of somebody new has its conference."""
        begun = time.monotonic()
        newcomer = self.guests.come("well")
        booking = self.guests.book(newcomer, "event-0")

        def assigned() -> bool:
            self.guests.look_around()
            return booking.assigned

        try:
            wait_until(assigned, PATIENCE, 0.1)
        except AssertionError:
            return None
        return time.monotonic() - begun

    def _take_stock(self) -> None:
        """What was tracked in each minute, and lost so far; what was done twice since the last time."""
        for number, minute in enumerate(self.minutes):
            bookings = [
                b for g in self.guests.guests for b in list(g.bookings.values()) if b.minute == number
            ]
            minute.events = len(bookings)
            minute.lost = sum(not booking.assigned for booking in bookings)
            minute.again = self.guests.again[number]
        before = [minute.twice for minute in self.minutes[:-1]]
        now = self.guests.twice()
        ran_twice = sum(max(0, times - 1) for times in self.site.runs_of_the_shop().values())
        self.minutes[-1].twice = Twice(
            now.doubled + ran_twice - sum(twice.doubled for twice in before),
            now.repeated - sum(twice.repeated for twice in before),
        )

    def settle(self) -> None:
        """Nobody comes any more: everything ends; then complain of whatever did not."""
        self.guests.stop_coming()
        ends = time.monotonic() + SETTLE

        def all_settled() -> bool:
            self.guests.send()
            self.guests.look_around()
            self.guests.read_mail()
            if time.monotonic() > ends - SETTLE / 2:
                self.guests.send_again()
            return not self.guests.waiting()

        try:
            wait_until(all_settled, SETTLE, 2)
            # Sweeps go on, so something is always in a worker's hands; but nothing stays there.
            held: Any = self.fleet.broker.hkeys("reconciler.unacked")
            wait_until(
                lambda: not any(self.fleet.broker.hexists("reconciler.unacked", m) for m in held), 30, 0.5
            )
        except AssertionError:
            self.complaints.append("Not everything ended.")
        # Anything done twice has time to show.
        time.sleep(5)
        self.guests.look_around()
        self._take_stock()
        for guest, booking in self.guests.waiting():
            self.complaints.append(f"{booking.body['event_id']} of {guest.person.sub} has no conference.")
        for number, minute in enumerate(self.minutes):
            what = f"{number + 1} ({minute.fault.label})"
            if minute.recovered is None:
                self.complaints.append(f"In minute {what} the fleet was not at work after {PATIENCE:.0f} s.")
            if minute.again and not minute.fault.loses_messages:
                self.complaints.append(f"In minute {what} {minute.again} messages were lost.")
            if minute.twice.doubled:
                self.complaints.append(f"In minute {what} {minute.twice.doubled} things were doubled.")
        if missing := [each for each, times in self.site.runs_of_the_shop().items() if times != 1]:
            self.complaints.append(f"{len(missing)} tasks of the other Celery did not run once.")
        if unexpected := self.guests.unexpected():
            self.complaints.append(f"Outcomes that nothing led to: {dict(unexpected)}.")
        try:
            wait_until(self.site.crew.all_run, 10, what="all processes")
            self.fleet.answers()
        except Exception as error:  # a complaint like the others
            self.complaints.append(f"The fleet is not at work at the end: {error}")

    def report(self, seed: int) -> Report:
        labels = dict.fromkeys(minute.fault.label for minute in self.minutes)
        rows = [_row(label, [m for m in self.minutes if m.fault.label == label]) for label in labels]
        return Report(
            "soak",
            "A soak under a chaos schedule",
            HEADINGS,
            [*rows, _row("all", self.minutes)],
            [self._note(seed)],
            settings={"minutes": len(self.minutes), "every": self.every, "seed": seed},
        )

    def _note(self, seed: int) -> str:
        crew = self.site.crew
        said = (
            f"{len(self.minutes)} minutes of {self.every:.0f} s, `--seed {seed}`. {crew.restarts} times a "
            f"process was started again, {crew.hung} of them because a probe found it stuck."
        )
        return " ".join([said, *self.complaints])


def _row(label: str, minutes: list[Minute]) -> dict[str, str | int | float | None]:
    slowest = max((PATIENCE if m.recovered is None else m.recovered for m in minutes), default=None)
    return dict(
        zip(
            HEADINGS,
            (
                label,
                len(minutes),
                sum(minute.events for minute in minutes),
                slowest,
                sum(minute.lost for minute in minutes),
                sum(minute.again for minute in minutes),
                sum(minute.twice.repeated for minute in minutes),
                sum(minute.twice.doubled for minute in minutes),
            ),
            strict=True,
        )
    )


@contextmanager
def running(home: Path, seed: int, every: float) -> Iterator[Soak]:
    """Start everything, and end it with the block."""
    for name in ("clocks", "shop", "tmp"):
        (home / name).mkdir()
    clocks = Clocks(home / "clocks")
    theirs = environment() | clocks.of_server()
    with (
        running_server(home / "ledger", env=theirs) as ledger,
        running_server(home / "broker", env=theirs) as broker,
        running_sandbox() as sandbox,
    ):
        port = free_port()
        env = environment(
            **SETTINGS,
            **cronofy_settings(sandbox),
            REDIS_URL=ledger.url,
            BROKER_URL=broker.url,
            VAULT_KEYS=Fernet.generate_key().decode(),
            DATA_DIR=str(home),
            WEBHOOK_URL=f"http://127.0.0.1:{port}",
        )
        # The probe finds only processes of ours.
        env["TMPDIR"] = str(home / "tmp")
        crew = Crew(
            home,
            home / "log",
            {
                "worker one": (["worker", "--concurrency", "3"], env | clocks.of_process("worker")),
                "worker two": (["worker", "--concurrency", "3"], env),
                "beat": (["beat"], env | clocks.of_process("beat")),
                "serve": (["serve", "--port", str(port)], env),
                "second beat": (["beat"], env),
            },
        )
        # Half of what Cronofy would tell is never sent, so that looks find out the rest by themselves.
        sandbox.control.set_settings(per_second=0, notify_loss=0.5)
        caller = Caller(broker.url, ledger.url)
        webhook = f"http://127.0.0.1:{port}/webhooks/cronofy"
        fleet = Fleet(
            home, env, ledger.client, broker.client, ledger.url, sandbox.control, caller, webhook, crew.log
        )
        site = Site(ledger, broker, clocks, crew, sandbox.control, home / "shop")
        guests = Guests(fleet, ledger.url, broker.url, seed)
        with crew.on_duty():
            for name in list(crew.commands)[:-1]:
                crew.start(name)
            fleet.answers()
            guests.begin()
            try:
                yield Soak(site, guests, caller, fleet, random.Random(seed), every)
            finally:
                guests.stop_coming()
                caller.close()


def main() -> int:
    """Run it, line by line, then show the table."""
    parser = argparse.ArgumentParser(prog="tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=int, default=60, metavar="N", help="how many faults to meet")
    parser.add_argument("--seed", type=int, metavar="N", help="repeat the schedule of a run with this seed")
    parser.add_argument(
        "--every", type=float, default=60, metavar="SECONDS", help="how long a minute is here"
    )
    parser.add_argument("--fault", default="", metavar="TEXT", help="only faults with this in their label")
    parser.add_argument("--document", type=Path, metavar="FILE", help="put the table into this document")
    options = parser.parse_args()
    seed = options.seed or random.SystemRandom().randrange(1, 1_000_000)
    console = Console(width=150)
    # End everything that was started, as with Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    home = Path(tempfile.mkdtemp(prefix="soak-"))
    console.print(f"{options.minutes} faults, --seed {seed}; files in {home}", highlight=False)
    with running(home, seed, options.every) as soak:
        faults = (fault for fault in schedule(seed) if options.fault in fault.label)
        for number, fault in zip(range(1, options.minutes + 1), faults, strict=False):
            console.print(_line(number, soak, soak.meet(fault)), highlight=False, soft_wrap=True)
        soak.settle()
        report = soak.report(seed)
    report.show(console)
    report.write()
    for complaint in soak.complaints:
        console.print(complaint, style="red", highlight=False)
    if options.document and not put(options.document, report.name, report.markdown()):
        parser.error(f"{options.document} has no marks for {report.name}")
    if not soak.complaints:
        shutil.rmtree(home, ignore_errors=True)
    return int(bool(soak.complaints))


def _line(number: int, soak: Soak, minute: Minute) -> str:
    waiting = soak.guests.waiting()
    oldest = max((time.monotonic() - booking.sent_at for _, booking in waiting), default=0)
    worked = f"{minute.recovered:.1f} s" if minute.recovered is not None else "NOT"
    return (
        f"{number:3d} {time.strftime('%H:%M:%S')} {minute.fault.label:55} at work after {worked:>6}, "
        f"{minute.events} events, {len(waiting)} wait (oldest {oldest:.0f} s), "
        f"sent again {minute.again}, repeated {minute.twice.repeated}, doubled {minute.twice.doubled}"
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
