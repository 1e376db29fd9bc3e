"""The program against a model of its world: whatever happens, in whatever order, the invariants hold.

Hypothesis combines the steps: what people and callers do, what happens to calls, emails, messages and
processes, and how time passes. After each step the invariants are checked (`invariants.py`); at the end every
fault is removed, and every event must end well.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.faults.callers import Callers
from tests.faults.cronofy import Cronofy, Disturbance, answers, meanwhile, nonsense, silence
from tests.faults.record import Record
from tests.faults.simulation import Message, Simulation
from worker.diagnosis.model import Rung
from worker.mail.smtp import MailError
from worker.run.deciding import SAME_PROVIDER

SUBS = st.sampled_from(["ann", "bob"])
EVENTS = st.sampled_from(["e0", "e1", "e2", "e3"])
PROFILES = st.sampled_from(["z1", "z2", "t1"])
AWAY = st.sampled_from([-3600, 1, 300, 4000, 100_000, 700_000, 3_000_000]).map(lambda s: timedelta(seconds=s))
SPANS = st.sampled_from([1, 7, 31, 61, 130, 700, 3_700, 22_000, 90_000, 270_000]).map(
    lambda s: timedelta(seconds=s)
)
TROUBLES: dict[str, Callable[[Cronofy], Disturbance]] = {
    "500": lambda _: answers(500),
    "429": lambda _: answers(429),
    "429, Retry-After": lambda _: answers(429, **{"Retry-After": "90"}),
    "423": lambda _: answers(423),
    "silence": lambda _: silence,
    "nonsense": lambda _: nonsense,
    "unheard": lambda cronofy: cronofy.unheard,
    "death before": lambda cronofy: cronofy.death_before,
    "death after": lambda cronofy: cronofy.death_after,
}
INTERACTIONS = st.sampled_from(
    [
        ("conferencing_assigned", None),
        ("conferencing_failing", None),
        ("conferencing_failing", "profile_missing"),
        ("conferencing_failing", "missing_meeting_url"),
    ]
)

ABOUT_AN_EVENT = ["track", "untrack", "reconcile", "delete", "stick", "acknowledge", "acknowledge"]


class Life(RuleBasedStateMachine):
    """Two people and their events, looked after by the program."""

    #: Shared by all runs of a test.
    simulation: Simulation

    @initialize(
        written=st.lists(st.tuples(SUBS, EVENTS, AWAY, PROFILES), min_size=2, max_size=6),
        lapsed=st.lists(st.tuples(SUBS, PROFILES), max_size=2),
        gone=st.lists(st.tuples(SUBS, PROFILES), max_size=2),
        rungs=st.lists(st.sampled_from(Rung), unique=True),
    )
    def begin(
        self,
        written: list[tuple[str, str, timedelta, str]],
        lapsed: list[tuple[str, str]],
        gone: list[tuple[str, str]],
        rungs: list[Rung],
    ) -> None:
        """Two people are connected, some of their events tracked, and some of their profiles disconnected."""
        self.simulation.begin()
        self.simulation.set_last_resort(*rungs)
        self.callers = Callers(self.simulation)
        for sub in ("ann", "bob"):
            self.callers.join(sub)
            self.callers.connect(sub)
        for sub, profile in lapsed:
            self.callers.lose(sub, profile)
        for sub, profile in gone:
            self.callers.remove(sub, profile)
        for sub, event, away, profile in written:
            self.callers.write_and_track(sub, event, away, profile)

    # What callers and people do.

    @rule(sub=SUBS, event=EVENTS, away=AWAY, profile=PROFILES)
    def write_and_track(self, sub: str, event: str, away: timedelta, profile: str) -> None:
        self.callers.write_and_track(sub, event, away, profile)

    @rule(sub=SUBS, event=EVENTS, away=AWAY, profile=PROFILES)
    def adopt(self, sub: str, event: str, away: timedelta, profile: str) -> None:
        self.callers.adopt(sub, event, away, profile)

    @rule(sub=SUBS, event=EVENTS, act=st.sampled_from(ABOUT_AN_EVENT))
    def about_an_event(self, sub: str, event: str, act: str) -> None:
        getattr(self.callers, act)(sub, event)

    @rule(sub=SUBS, event=EVENTS, away=AWAY)
    def move(self, sub: str, event: str, away: timedelta) -> None:
        self.callers.move(sub, event, away)

    @rule(sub=SUBS, event=EVENTS, profile=PROFILES, minutes=st.integers(1, 20))
    def nearly_late(self, sub: str, event: str, profile: str, minutes: int) -> None:
        """An event gets no conference, and starts in a minute."""
        self.callers.write_and_track(sub, event, timedelta(minutes=minutes + 1), profile)
        self.callers.stick(sub, event)
        self.simulation.work(timedelta(minutes=minutes))

    @rule(sub=SUBS, event=EVENTS, interaction=INTERACTIONS)
    def notify(self, sub: str, event: str, interaction: tuple[str, str | None]) -> None:
        """A notification arrives, true or not."""
        self.callers.notify(sub, event, *interaction)

    @rule(sub=SUBS, profile=PROFILES, act=st.sampled_from(["lose", "lose", "link", "remove", "remove"]))
    def about_a_profile(self, sub: str, profile: str, act: str) -> None:
        getattr(self.callers, act)(sub, profile)

    @rule(sub=SUBS, act=st.sampled_from(["follow", "connect_instead"]))
    def asked_to_connect(self, sub: str, act: str) -> None:
        """A user who was asked to connect a service does, or is asked first."""
        getattr(self.callers, act)(sub)

    @rule(
        sub=SUBS,
        act=st.sampled_from(
            [
                *["connect", "connect", "connect", "hand_over", "expire", "expire", "revoke", "forget"],
                "tell_of_a_lapse",
            ]
        ),
    )
    def about_an_account(self, sub: str, act: str) -> None:
        """The account is connected, refused from now on, or forgotten; or one of its profiles lapsed."""
        getattr(self.callers, act)(sub)

    @rule(to=st.sampled_from([SAME_PROVIDER, "integrated", None]))
    def decide(self, to: str | None) -> None:
        """A person settles an incident."""
        self.callers.decide(to)

    # Troubles.

    @rule(names=st.lists(st.sampled_from(list(TROUBLES)), min_size=1, max_size=4))
    def trouble(self, names: list[str]) -> None:
        cronofy = self.simulation.cronofy
        cronofy.disturbances.extend(TROUBLES[name](cronofy) for name in names)

    @rule(
        calls=st.integers(0, 2),
        sub=SUBS,
        event=EVENTS,
        act=st.sampled_from(["track", "untrack", "notify", "connect", "acknowledge"]),
    )
    def something_meanwhile(self, calls: int, sub: str, event: str, act: str) -> None:
        """A caller does something during a look."""
        about = {"notify": (sub, event, "conferencing_failing", None), "connect": (sub,)}.get(
            act, (sub, event)
        )
        quiet: list[Disturbance] = [meanwhile(lambda: None)] * calls
        self.simulation.cronofy.disturbances.extend(
            [*quiet, meanwhile(lambda: getattr(self.callers, act)(*about))]
        )

    @rule(calls=st.integers(0, 2))
    def a_zombie(self, calls: int) -> None:
        """A worker hangs within a call until its lease has expired, and others carry on without it."""
        quiet: list[Disturbance] = [meanwhile(lambda: None)] * calls
        self.simulation.cronofy.disturbances.extend([*quiet, meanwhile(self._others_go_on)])

    def _others_go_on(self) -> None:
        # The answer to what it just wrote comes too late to be kept.
        for written in self.simulation.cronofy.written[-1:]:
            written.answered = False
        self.simulation.clock.advance(self.simulation.services.settings.lease + timedelta(seconds=1))
        self.simulation.round()

    @rule(permanent=st.booleans())
    def refuse_mail(self, permanent: bool) -> None:
        """The mail server refuses the next email, temporarily or for good."""
        self.simulation.mail_server.refusals.append(MailError("no", permanent=permanent))

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.simulation.services.ledger.set_paused(paused)

    # Messages.

    @rule(how=st.sampled_from(["tick", "once", "twice", "never"]), place=st.integers(0, 20))
    def message(self, how: str, place: int) -> None:
        """Beat ticks, or a message from the bag is delivered, delivered twice, or lost."""
        bag = self.simulation.bag
        if how == "tick":
            self.simulation.deliver(Message("sweep"))
        elif bag:
            message = bag.pop(place % len(bag))
            for _ in range({"once": 1, "twice": 2, "never": 0}[how]):
                self.simulation.deliver(message)

    # Time.

    @rule(span=SPANS, working=st.booleans())
    def time_passes(self, span: timedelta, working: bool) -> None:
        (self.simulation.work if working else self.simulation.clock.advance)(span)

    @rule()
    def a_good_day(self) -> None:
        self.simulation.services.ledger.set_paused(False)
        self.simulation.work(timedelta(days=1))

    # Invariants.

    @invariant()
    def all_is_true(self) -> None:
        self.callers.invariants.check()

    def teardown(self) -> None:
        """Every fault is removed, and everything must end well."""
        if hasattr(self, "callers"):
            self.callers.converge()
            _COUNTS["lives"] += 1
            outcomes = self.callers.invariants.outcomes
            _COUNTS["events"] += outcomes["assigned"] + outcomes["closed"]
            _COUNTS["mails"] += len(self.simulation.mail_server.taken)


_COUNTS = {"lives": 0, "events": 0, "mails": 0}


def test_any_life(simulation: Simulation, long: bool, seed: int, record: Record) -> None:
    """No sequence of steps that hypothesis finds breaks an invariant, and each ends well."""

    class Here(Life):
        pass

    Here.simulation = simulation

    bounds: dict[str, Any] = {"max_examples": 400, "stateful_step_count": 60} if long else {}
    shaped = settings(
        **{"max_examples": 15, "stateful_step_count": 30, **bounds},
        deadline=None,
        database=None,
        print_blob=False,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seeded(seed)(Here), settings=shaped)

    lives = _COUNTS.pop("lives")
    record("Lives of the state machine", injected=lives, **_COUNTS)
