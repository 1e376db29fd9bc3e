"""The names of the ledger's keys, the only place where Python spells them; and the Lua scripts that use them.

The head of ``scripts/common.lua`` says of every key what it holds, how long it lives and who writes it. Here
are those that Python uses, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from redis import Redis


class _Key:
    """A key that a ledger has once."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, keys: Keys, _: type[Keys]) -> str:
        return f"{keys.prefix}:{self.name}"


class _KeyOf:
    """A key that a ledger has once per id; the id comes last, unchanged."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, keys: Keys, _: type[Keys]) -> Callable[[str], str]:
        return lambda identifier: f"{keys.prefix}:{self.name}:{identifier}"


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of the ledger with this prefix (`RECONCILER_KEY_PREFIX`)."""

    prefix: str

    # The ledger itself.
    about = _Key("about")

    # By account.
    account = _KeyOf("account")
    events = _KeyOf("events")
    settled = _KeyOf("settled")
    untracked = _KeyOf("untracked")
    past = _KeyOf("past")
    notices = _KeyOf("notices")
    heard = _KeyOf("heard")
    letters = _KeyOf("letters")
    listed = _KeyOf("listed")
    acknowledged = _KeyOf("acknowledged")
    counted = _KeyOf("counted")
    freed = _KeyOf("freed")
    woken = _KeyOf("woken")
    waking = _KeyOf("waking")

    # By calendar.
    calendar = _KeyOf("calendar")

    # Of all accounts.
    accounts = _Key("accounts")
    lost = _Key("lost")
    ids = _KeyOf("ids")  # by the start of an event id's hash
    emails = _Key("emails")
    waiting = _Key("waiting")
    ready = _KeyOf("ready")  # by data centre
    due = _Key("due")
    leased = _Key("leased")
    starts = _Key("starts")
    oldest = _Key("oldest")
    owing = _Key("owing")
    outages = _Key("outages")
    reports = _KeyOf("reports")  # by outage
    canaries = _Key("canaries")
    list = _KeyOf("list")  # by name
    incident = _KeyOf("incident")
    incidents = _Key("incidents")

    # What goes out.
    outcomes = _Key("outcomes")
    outcomes_of = _KeyOf("outcomes:of")  # by account
    outcomes_sent = _Key("outcomes:sent")
    outcomes_lock = _Key("outcomes:lock")
    outcomes_posted = _KeyOf("outcomes:posted")  # by receiver
    outcomes_posting = _KeyOf("outcomes:posting")  # by receiver
    outcomes_owed = _KeyOf("outcomes:owed")  # by receiver
    outcomes_tries = _KeyOf("outcomes:tries")  # by receiver
    outcomes_dead = _KeyOf("outcomes:dead")  # by receiver
    outcomes_again = _Key("outcomes:again")
    outbox = _Key("outbox")
    mail = _KeyOf("mail")
    mails = _Key("mails")
    answer = _KeyOf("answer")  # by question
    asking = _KeyOf("asking")  # by account
    refused = _KeyOf("refused")  # by mail
    unsent = _KeyOf("unsent")  # by mail
    dead_letters = _Key("dead-letters")
    handled = _Key("handled")
    forgotten = _Key("forgotten")

    # The fleet.
    counters = _Key("counters")
    paused = _Key("paused")
    slot = _Key("slot")
    swept = _Key("swept")
    resuming = _Key("resuming")
    workers = _Key("workers")
    watched = _Key("watched")
    troubles = _Key("troubles")
    backlog = _Key("backlog")
    sampled = _Key("sampled")
    day = _KeyOf("day")  # by the days since 1970
    daily = _Key("daily")
    reported = _Key("reported")
    adopting = _Key("adopting")

    # The budget, by place: CLIENT_ID@ORIGIN.
    budgets = _Key("budgets")
    budget = _KeyOf("budget")

    def budget_refused(self, place: str) -> str:
        """See the head of ``worker/cronofy/budget.lua``."""
        return f"{self.budget(place)}:refused"

    def budget_failing(self, place: str) -> str:
        """See the head of ``worker/cronofy/budget.lua``."""
        return f"{self.budget(place)}:failing"

    def budget_strikes(self, place: str) -> str:
        """See the head of ``worker/cronofy/budget.lua``."""
        return f"{self.budget(place)}:strikes"

    def budget_probe(self, place: str) -> str:
        """See the head of ``worker/cronofy/budget.lua``."""
        return f"{self.budget(place)}:probe"


@cache
def source(name: str) -> str:
    """The full text of one of the ledger's scripts; each begins with that of ``common.lua``."""
    folder = files("worker.ledger") / "scripts"
    return (folder / "common.lua").read_text() + (folder / f"{name}.lua").read_text()


class Scripts:
    """Runs the ledger's scripts on one Redis; each is sent once, then called by its hash."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._prefix = keys.prefix
        self._known: dict[str, Any] = {}

    def run(self, name: str, *args: Any) -> Any:
        """Run a script in one atomic step; its first argument is always the key prefix."""
        return self._script(name)(args=[self._prefix, *args])

    def run_each(self, name: str, calls: Sequence[Sequence[Any]]) -> list[Any]:
        """Run a script for each of these arguments, each in an atomic step of its own; one round trip."""
        if len(calls) == 1:
            return [self.run(name, *calls[0])]
        with self._redis.pipeline(transaction=False) as pipeline:
            for args in calls:
                self._script(name)(args=[self._prefix, *args], client=pipeline)
            return pipeline.execute()

    def _script(self, name: str) -> Any:
        if name not in self._known:
            self._known[name] = self._redis.register_script(source(name))
        return self._known[name]
