"""What is said of servers, clocks and queues that are not well; nothing else is blamed for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis

from config.queues import Queues
from config.settings import Settings, load_settings
from tests.faults.slowly import slowly
from tests.integration.checked_fleet import AWAY
from worker.cronofy.budget import Budget
from worker.ledger.distance import Distance, measure
from worker.ledger.figures import announce
from worker.ledger.ledger import Ledger
from worker.ledger.records import to_ms
from worker.status.snapshot import Status, read_status
from worker.status.trouble import troubles
from worker.status.watch import tell
from worker.trouble import WORDS, Kind

HOUR = timedelta(hours=1)
NEAR = Distance(timedelta(milliseconds=1), timedelta(0))


@pytest.fixture
def settings(redis_url: str, prefix: str, ledger: Ledger) -> Settings:
    """A fleet with a worker and beat."""
    _report(ledger)
    ledger.promote(0)
    return load_settings(redis_url=redis_url, key_prefix=prefix, api_share=1)


def _report(ledger: Ledger, distance: Distance | None = None) -> None:
    announce(ledger.redis, ledger.keys, "one@host", Queues.of(ledger.prefix), distance)


def _said(status: Status) -> list[str]:
    return [each.sentence for each in troubles(status)]


def _now(settings: Settings, ledger: Ledger) -> list[str]:
    return _said(read_status(ledger.redis, settings))


def test_each_has_one_sentence_of_its_own() -> None:
    """It can be followed by a colon, as it can by a full stop."""
    sentences = [words.sentence for words in WORDS.values()]

    assert set(WORDS) == set(Kind)
    assert len(set(sentences)) == len(sentences)
    assert [each for each in sentences if each.endswith(".") or not each[0].isupper()] == []


def test_a_workers_host_whose_clock_is_off_is_named(settings: Settings, ledger: Ledger) -> None:
    """Counted as one worker, although its reports differ; it is over with the next report."""
    _report(ledger, replace(NEAR, ahead=HOUR))

    assert _now(settings, ledger) == ["A clock is wrong: that of host is 1 h ahead of Redis's."]
    assert read_status(ledger.redis, settings).workers == 1
    _report(ledger, NEAR)
    assert _now(settings, ledger) == []


def test_a_report_of_a_time_to_come_is_forgotten(settings: Settings, ledger: Ledger) -> None:
    """It was made before the server's clock was set back, and would count for as long."""
    _report(ledger, replace(NEAR, ahead=-HOUR))
    report: Any = ledger.redis.zrange(ledger.keys.workers, -1, -1)[0]
    ledger.redis.zadd(ledger.keys.workers, {report: to_ms(ledger.now() + HOUR)})

    _report(ledger, NEAR)

    assert _now(settings, ledger) == []


def test_a_clock_is_not_blamed_for_a_slow_answer() -> None:
    """While the server took its time, its clock went on."""
    late = timedelta(seconds=8)

    assert not Distance(late, late / 2).clocks_differ
    assert Distance(NEAR.round_trip, -late).clocks_differ


def test_a_wrong_clock_of_redis_is_seen_by_cronofys_answers(settings: Settings, ledger: Ledger) -> None:
    """All hosts seem to be off then, so only Redis's is told; the next right answer ends it."""
    budget = Budget(ledger.redis, ledger.prefix, "x@y", per_second=50, per_minute=500, share=1)
    budget.take()
    _report(ledger, replace(NEAR, ahead=-HOUR))
    budget.answered(0, 1, ledger.now() - HOUR - timedelta(seconds=1))

    assert _now(settings, ledger) == ["A clock is wrong: Redis's is 1 h ahead of Cronofy's."]
    # As if it had been set right since.
    ledger.redis.set(f"{ledger.keys.budget('x@y')}:clock", f"3600 {to_ms(ledger.now() + HOUR)}")
    assert _now(settings, ledger) == ["A clock is wrong: that of host is 1 h behind Redis's."]
    _report(ledger, NEAR)
    budget.answered(0, 1, ledger.now() - timedelta(seconds=20))
    assert _now(settings, ledger) == []


def test_a_slow_redis_is_seen_from_here_and_from_workers(settings: Settings, ledger: Ledger) -> None:
    """Through a proxy that holds its answers up."""
    port = int(str(settings.redis_url).rpartition(":")[2].partition("/")[0])
    password = str(settings.redis_url).partition("://")[2].rpartition("@")[0]
    with slowly(port) as way, Redis.from_url(f"redis://{password}@127.0.0.1:{way.port}/0") as redis:
        redis.time()
        way.delay = 0.06
        seen = measure(redis)
    status = read_status(ledger.redis, settings)

    assert seen.is_slow
    assert not seen.clocks_differ
    [said] = _said(replace(status, distance=seen))
    assert said.startswith("Redis is slow: a round trip from here takes ")
    _report(ledger, seen)
    assert _now(settings, ledger) == ["Redis is slow: for the workers on host."]


def test_nobody_is_blamed_who_cannot_report(settings: Settings, ledger: Ledger) -> None:
    """With a Redis that crawls or a broker that is away, nothing is said of workers, beat and queues."""
    ledger.redis.delete(ledger.keys.workers, ledger.keys.swept)
    status = read_status(ledger.redis, settings)
    away = settings.model_copy(update={"broker_url": f"redis://{AWAY}/0"})
    crawling = replace(NEAR, round_trip=timedelta(seconds=1))

    assert _said(status) == ["No worker is running: none was seen in the last 30 s."]
    assert _said(replace(status, distance=crawling)) == [
        "Redis is slow: a round trip from here takes 1,000 ms."
    ]
    assert _now(away, ledger) == ["The broker does not answer: start it, or correct RECONCILER_BROKER_URL."]


def test_a_budget_is_spent_only_while_somebody_waits_for_it(settings: Settings, ledger: Ledger) -> None:
    """A fleet that uses all it may is well."""
    budget = Budget(ledger.redis, ledger.prefix, "x@y", per_second=500, per_minute=500, share=1)
    budget.take(450)
    assert _now(settings, ledger) == []
    ledger.redis.zadd(ledger.keys.waiting, {"sub": 0})

    [said] = _now(settings, ledger)

    assert said.startswith(
        "The budget of calls to Cronofy is spent: 450 of 500 in the last minute, and 1 acc"
    )


def test_messages_that_pile_up_are_another_thing_than_a_queue_without_worker(
    settings: Settings, ledger: Ledger
) -> None:
    """One needs more workers, the other a worker for it."""
    queues = Queues.of(ledger.prefix)
    ledger.redis.rpush(queues.mail, *["message"] * 101)

    assert _now(settings, ledger) == [f"Messages pile up on a queue: 101 wait on {queues.mail}."]
    ledger.redis.delete(ledger.keys.workers)
    announce(ledger.redis, ledger.keys, "one@host", [queues.urgent, queues.intake, queues.looks])
    [found] = troubles(read_status(ledger.redis, settings))
    assert found.sentence == f"No worker consumes a queue: {queues.mail}, on which 101 messages wait."
    assert found.command == f"reconciler worker -Q {queues.mail}"


def test_the_log_tells_of_each_once_and_when_it_is_over(
    settings: Settings, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whichever process looks, and however often."""

    def looks() -> list[str]:
        ledger.redis.delete(ledger.keys.watched)
        tell(ledger.redis, settings)
        tell(ledger.redis, settings)
        return [line for line in capsys.readouterr().out.splitlines() if "trouble." in line]

    assert looks() == []
    ledger.set_paused(True)
    [began] = looks()
    assert "trouble.began" in began
    assert "An operator paused the fleet" in began
    assert looks() == []
    ledger.set_paused(False)
    [over] = looks()
    assert "trouble.over" in over
    assert "fleet_paused" in over
