"""What can be wrong with the fleet, or with what it depends on: one sentence each, the same everywhere.

`status`, the board, `doctor`, the log, the alerts and the runbook say it in these words. Tests compare the
files that repeat them. What is wrong now is found by `worker.status.trouble`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """The name of each: the label `trouble` of the metric, and `cause` of the alerts."""

    REDIS_AWAY = "redis_away"
    REDIS_FULL = "redis_full"
    REDIS_NO_DISK = "redis_no_disk"
    REDIS_READ_ONLY = "redis_read_only"
    REDIS_NO_REPLICAS = "redis_no_replicas"
    REDIS_SLOW = "redis_slow"
    BROKER_AWAY = "broker_away"
    CLOCK_WRONG = "clock_wrong"
    FLEET_PAUSED = "fleet_paused"
    CLIENT_REFUSED = "client_refused"
    CRONOFY_FAILING = "cronofy_failing"
    NO_BUDGET = "no_budget"
    CRONOFY_PAUSE = "cronofy_pause"
    BUDGET_SPENT = "budget_spent"
    NO_WORKER = "no_worker"
    QUEUE_UNCONSUMED = "queue_unconsumed"
    SWEEPS_STOPPED = "sweeps_stopped"
    QUEUE_GROWS = "queue_grows"
    SERVICE_FAILING = "service_failing"
    PROFILES_LAPSED = "profiles_lapsed"
    LOOKS_LATE = "looks_late"
    MAIL_STUCK = "mail_stuck"
    ADDRESS_REFUSED = "address_refused"
    OUTCOMES_OWED = "outcomes_owed"
    OUTCOMES_GIVEN_UP = "outcomes_given_up"
    TOKEN_OWED = "token_owed"  # noqa: S105 - a name
    ACCOUNTS_LOST = "accounts_lost"
    CAME_BACK = "came_back"
    INCIDENTS = "incidents"
    EVENTS_PARKED = "events_parked"
    LETTERS_FULL = "letters_full"
    DEAD_LETTERS = "dead_letters"


@dataclass(frozen=True, slots=True)
class Words:
    """What is said of one of them."""

    #: What `doctor` calls it, in one or two words.
    name: str
    #: Without a full stop; what differs from case to case follows after a colon.
    sentence: str
    #: What helps, as the end of a sentence.
    fix: str
    #: What to type: it resolves it, or shows how.
    command: str = "reconciler doctor"
    #: Work stands still until somebody acts.
    is_grave: bool = False


_NO_WRITES: Final = "Redis takes no writes: it "
WORDS: Final[dict[Kind, Words]] = {
    Kind.REDIS_AWAY: Words(
        "redis", "Redis does not answer", "start it, or correct RECONCILER_REDIS_URL", is_grave=True
    ),
    Kind.REDIS_FULL: Words(
        "redis", f"{_NO_WRITES}is out of memory", "raise maxmemory, or free some", is_grave=True
    ),
    Kind.REDIS_NO_DISK: Words(
        "redis", f"{_NO_WRITES}cannot write to its disk", "free space there", is_grave=True
    ),
    Kind.REDIS_READ_ONLY: Words(
        "redis", f"{_NO_WRITES}is a read-only replica", "name the primary in the URL", is_grave=True
    ),
    Kind.REDIS_NO_REPLICAS: Words(
        "redis",
        f"{_NO_WRITES}has too few replicas",
        "start some, or lower min-replicas-to-write",
        is_grave=True,
    ),
    Kind.REDIS_SLOW: Words(
        "redis latency", "Redis is slow", "run workers near the server; find out what keeps it busy"
    ),
    Kind.BROKER_AWAY: Words(
        "broker", "The broker does not answer", "start it, or correct RECONCILER_BROKER_URL", is_grave=True
    ),
    Kind.CLOCK_WRONG: Words("redis clock", "A clock is wrong", "synchronise all hosts with NTP"),
    Kind.FLEET_PAUSED: Words("pause", "An operator paused the fleet", "end it", "reconciler resume"),
    Kind.CLIENT_REFUSED: Words(
        "client",
        "Cronofy refuses our client id or secret",
        "correct RECONCILER_CRONOFY_CLIENT_ID and RECONCILER_CRONOFY_CLIENT_SECRET, and restart the workers",
        is_grave=True,
    ),
    Kind.CRONOFY_FAILING: Words(
        "cronofy calls",
        "Most calls to Cronofy fail",
        "look at its status page, then at the way out of the workers' hosts",
        is_grave=True,
    ),
    Kind.NO_BUDGET: Words(
        "cronofy calls",
        "Cronofy answers 429 again and again",
        "find what else makes calls, or lower RECONCILER_API_SHARE",
        is_grave=True,
    ),
    Kind.CRONOFY_PAUSE: Words(
        "cronofy calls",
        "Cronofy asked for a pause",
        "it ends automatically",
        "reconciler list --starts-before PT1H",
    ),
    Kind.BUDGET_SPENT: Words(
        "budget",
        "The budget of calls to Cronofy is spent",
        "raise RECONCILER_API_SHARE, or ask Cronofy for a higher limit; more workers do not help",
        "reconciler list --starts-before PT1H",
    ),
    Kind.NO_WORKER: Words(
        "workers", "No worker is running", "start one: reconciler worker", "reconciler worker", is_grave=True
    ),
    Kind.QUEUE_UNCONSUMED: Words(
        "queues", "No worker consumes a queue", "start a worker for it", "reconciler worker", is_grave=True
    ),
    Kind.SWEEPS_STOPPED: Words(
        "beat", "No sweeps are made", "start one: reconciler beat", "reconciler beat", is_grave=True
    ),
    Kind.QUEUE_GROWS: Words(
        "queues", "Messages pile up on a queue", "start more: reconciler worker", "reconciler worker"
    ),
    Kind.SERVICE_FAILING: Words(
        "outage",
        "A conferencing service gives no links",
        "it is tried again all the time; offer another way to meet to those who meet soon",
        "reconciler incidents",
    ),
    Kind.PROFILES_LAPSED: Words(
        "outage",
        "Many profiles of a service lapsed at once",
        "ask an administrator there whether the application was revoked",
        "reconciler incidents",
    ),
    Kind.LOOKS_LATE: Words("late", "Looks are late", "start more: reconciler worker", "reconciler worker"),
    Kind.MAIL_STUCK: Words(
        "emails",
        "Emails cannot be sent",
        "correct RECONCILER_SMTP_URL or RECONCILER_MAIL_FROM, or fix the mail server",
    ),
    Kind.ADDRESS_REFUSED: Words(
        "addresses",
        "A mail server refused an address",
        "connect the account again with another email address",
        "reconciler connect FILE",
    ),
    Kind.OUTCOMES_OWED: Words(
        "outcomes", "The outcome URL does not take outcomes", "see the log", "reconciler outcomes"
    ),
    Kind.OUTCOMES_GIVEN_UP: Words(
        "outcomes", "Outcomes were given up", "replay or drop them", "reconciler outcomes"
    ),
    Kind.TOKEN_OWED: Words(
        "access tokens",
        "Accounts wait for an access token",
        "have the application answer token_needed with conferencing.connect_account",
        "reconciler list --cause account_unauthorized",
    ),
    Kind.ACCOUNTS_LOST: Words(
        "accounts",
        "Accounts are lost",
        "have their users authorise the application again",
        "reconciler list --cause account_unauthorized",
    ),
    Kind.CAME_BACK: Words(
        "acknowledged",
        "Acknowledged events need a person again",
        "decide, or acknowledge them again",
        "reconciler list --escalated",
    ),
    Kind.INCIDENTS: Words(
        "incidents", "Incidents wait for a person", "decide, or acknowledge them", "reconciler incidents"
    ),
    Kind.EVENTS_PARKED: Words(
        "parked events",
        "Events are parked, as looks at them keep failing",
        "replay their dead letters once the reason is gone",
        "reconciler dead-letters",
    ),
    Kind.LETTERS_FULL: Words(
        "dead letters",
        "There is no room for more dead letters",
        "replay or drop them",
        "reconciler dead-letters",
        is_grave=True,
    ),
    Kind.DEAD_LETTERS: Words(
        "dead letters", "Dead letters wait for a person", "see why", "reconciler dead-letters"
    ),
}
