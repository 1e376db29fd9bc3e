"""Events whose looks fail: finally parked, published once, kept with a way back; nobody else waits."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.poison import (
    dead_letters,
    gauge,
    is_parked,
    make_all_due,
    neighbour,
    poison,
    run_until,
    state,
    sweep,
)
from tests.integration.world import Begin, World
from worker.cronofy.errors import CronofyError
from worker.reconcile import emails, relinks
from worker.reconcile.failure import LONGEST_TRACEBACK
from worker.reconcile.observe import observe
from worker.run import looks


def park(world: World, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> list[str]:
    """Track an event `bad` and look at it until it is parked; returns the failed looks."""
    world.track("bad")
    tried = poison(monkeypatch, error or KeyError())
    run_until(world, lambda: is_parked(world), "it to be parked")
    return tried


def test_a_poisoned_event_is_parked_without_affecting_its_neighbours(
    quick: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One outcome, one email, one dead letter; the others settle at the first look, and replay fixes it."""
    world = quick(escalation_email="operator@example.org")
    for event_id in ("good-1", "bad", "good-2"):
        world.track(event_id)
    far = neighbour(world)
    tried = poison(monkeypatch, KeyError("profile"))

    # When read along with others before its turn, it is judged but not yet blamed.
    make_all_due(world)
    run_until(world, lambda: tried, "the first look")
    assert [state(world, name) for name in ("good-1", "bad", "good-2")] == ["assigned", None, "assigned"]
    run_until(world, lambda: is_parked(world), "it to be parked")
    for _ in range(3):
        sweep(world)

    assert tried == ["bad"] * 5
    about = [outcome for outcome in world.outcomes() if outcome["event_id"] == "bad"]
    assert [(outcome["type"], outcome["sub"]) for outcome in about] == [("escalated", world.sub)]
    reason = "Parked: 5 looks in a row at this event failed, the last one with KeyError."
    assert about[0]["detail"] == {"reason": reason}
    [kept] = dead_letters(world)
    ids = {"sub": world.sub, "calendar_id": world.calendar_id, "event_id": "bad"}
    assert (kept.letter.task, kept.letter.kwargs) == ("conferencing.reconcile_event", ids)
    assert kept.letter.reason == reason
    assert "KeyError: 'profile'" in (kept.letter.traceback or "")
    [mail] = world.mails()
    assert b"bad" in mail.message
    # It is ours to fix, and the traceback stays here.
    assert not [words for words in (b"CRONOFY'S SUPPORT", b"Traceback", b"profile'") if words in mail.message]
    assert (gauge(world, "events:pending"), gauge(world, "events:parked")) == (1, 1)
    settled = [outcome["event_id"] for outcome in world.outcomes() if outcome["type"] == "assigned"]
    assert sorted(settled) == ["far", "good-1", "good-2"]
    assert world.services.ledger.pending(far.sub) == ()
    answer = world.explain("bad").answer
    assert (answer["state"], answer["remedy"], answer["next_check_at"]) == ("pending", "escalate", None)
    assert "KeyError" in answer["evidence"][0]

    monkeypatch.undo()
    assert world.look("bad")["state"] == "assigned"
    assert (gauge(world, "events:pending"), gauge(world, "events:parked")) == (0, 0)


#: Where a record can make the program fail, by the name that is replaced there.
STAGES = {
    "its part of the answer": "worker.reconcile.observe.read_sighting",
    "what is planned for the whole look": "worker.reconcile.look.plan_reading",
    "its diagnosis": "worker.reconcile.verdict.diagnose",
    "the update to be written": "worker.reconcile.reassign.update_body",
    "its packing": "worker.ledger.packing._packable",
}


@pytest.mark.parametrize("target", STAGES.values(), ids=STAGES)
def test_it_is_blamed_wherever_it_makes_the_look_fail(
    quick: Begin, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    """Its neighbours, waiting for the same, get their result in the same look or the next."""
    world = quick(profiles=3)
    world.control.set_settings(generation_seconds=3600)
    for event_id in ("good-1", "bad", "good-2"):
        world.track(event_id, summary="POISON" if event_id == "bad" else "fine")
    for profile_id in world.profiles[:2]:
        world.control.remove_profile(world.sub, profile_id)
    module, _, name = target.rpartition(".")
    original = getattr(__import__(module, fromlist=[name]), name)

    def fail_for_one(*args: Any, **kwargs: Any) -> Any:
        if "POISON" in repr(args):
            raise LookupError("planted")
        return original(*args, **kwargs)

    monkeypatch.setattr(target, fail_for_one)
    make_all_due(world)

    run_until(world, lambda: len(world.writes()) == 2, "the neighbours to be served")
    held_against = [world.stored(name).event.attempts for name in ("good-1", "good-2")]
    run_until(world, lambda: dead_letters(world), "it to be parked")

    assert held_against == [0, 0]
    [kept] = dead_letters(world)
    assert "LookupError" in kept.letter.reason
    assert sorted(write["event_id"] for write in world.writes()) == ["good-1", "good-2"]
    assert [o["event_id"] for o in world.outcomes() if o["type"] == "escalated"] == ["bad"]


def test_an_email_omits_an_event_it_cannot_contain(quick: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user is asked because of the others, and the event is parked."""
    world = quick(max_attempts=2)
    world.control.set_settings(generation_seconds=3600)
    for event_id in ("good-1", "bad", "good-2"):
        world.track(event_id)
    world.control.disconnect_profile(world.sub, world.profiles[0])
    meeting = emails.meeting_of

    def fail_for_one(event: Any) -> Any:
        if event.key.event_id == "bad":
            raise LookupError
        return meeting(event)

    monkeypatch.setattr(relinks, "meeting_of", fail_for_one)
    make_all_due(world)

    run_until(world, lambda: is_parked(world), "it to be parked")

    [mail] = world.mails()
    named = [f"Interview {name}".encode() in mail.message for name in ("good-1", "bad", "good-2")]
    assert named == [True, False, True]
    assert world.types() == ["relink_requested", "escalated"]


def test_what_a_look_fails_with_shows_no_secret(quick: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens, client secret, vault key and relink URL in an error are masked in dead letter and outcome."""
    world = quick(max_attempts=1)
    account = world.control.account(world.sub)
    secrets = [
        account["access_token"],
        account["refresh_token"],
        "sandbox-secret",
        world.services.settings.vault_keys[0].get_secret_value(),
        "https://app.cronofy.com/relink/abcdef",
    ]

    park(world, monkeypatch, RuntimeError(f"planted {' '.join(secrets)}"))

    [kept] = dead_letters(world)
    assert "RuntimeError: planted *** *** *** *** ***" in (kept.letter.traceback or "")
    shown = repr([kept, world.outcomes(), world.stored("bad")])
    assert [secret for secret in secrets if secret in shown] == []


def test_a_cut_traceback_contains_no_partial_secret(quick: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token at the place where the traceback is cut is masked first."""
    world = quick(max_attempts=1)
    token = world.control.account(world.sub)["access_token"]
    half = len(token) // 2

    park(world, monkeypatch, RuntimeError(token + "x" * (LONGEST_TRACEBACK - half)))

    [kept] = dead_letters(world)
    assert len(kept.letter.traceback or "") == LONGEST_TRACEBACK
    assert token[-half + 1 :] not in (kept.letter.traceback or "")


def test_external_errors_never_park(quick: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cronofy is down for many looks, and this machine's disk is full for as many: no event is to blame."""
    world = quick(max_attempts=2)
    world.track("e1")
    world.control.add_fault("status", status=503)
    run_until(world, lambda: world.stored().event.failures > 4, "looks that fail")
    world.control.clear_faults()
    for error in (OSError("disk"), CronofyError("odd"), MemoryError()):
        before = world.stored().event.failures
        poison(monkeypatch, error, "e1")
        run_until(world, lambda b=before: world.stored().event.failures > b + 2, "looks that fail")  # type: ignore[misc]
        monkeypatch.undo()

    run_until(world, lambda: state(world, "e1") == "assigned", "it to settle")
    assert dead_letters(world) == []
    assert world.types() == ["assigned"]


def test_a_diagnosis_clears_the_failed_looks(quick: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only consecutive failures count."""
    world = quick(max_attempts=1000)
    world.control.set_settings(generation_seconds=3600)
    world.track("bad")
    tried = poison(monkeypatch, KeyError())
    run_until(world, lambda: len(tried) >= 4, "four failures")
    assert world.stored("bad").event.attempts == len(tried)
    monkeypatch.undo()

    run_until(world, lambda: state(world, "bad") == "pending", "a diagnosis")

    assert world.stored("bad").event.attempts == 0
    assert dead_letters(world) == []


def test_a_notification_leaves_a_parked_event_parked_and_is_kept(
    quick: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot fix the record; the next look that does happen gets the notice."""
    world = quick(max_attempts=1)
    world.control.set_settings(generation_seconds=3600)
    tried = park(world, monkeypatch)

    assert world.notify("bad", "conferencing_failing") == ()
    sweep(world)

    assert len(tried) == 1
    assert is_parked(world)
    monkeypatch.undo()
    assert world.look("bad")["cause"] == "provider_outage"


def test_asked_for_again_it_is_tried_once_and_keeps_one_letter(
    quick: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it is fixed every question costs one look; a new dead letter replaces the old one."""
    world = quick()
    tried = park(world, monkeypatch)
    [first] = dead_letters(world)

    answer = world.look("bad")

    assert len(tried) == 6
    assert (answer["next_check_at"], gauge(world, "events:parked")) == (None, 1)
    [second] = dead_letters(world)
    assert second.letter_id != first.letter_id


def test_tracking_it_again_resumes_it(quick: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is a new one, with no failures counted."""
    world = quick(max_attempts=1)
    park(world, monkeypatch)
    monkeypatch.undo()

    world.track("bad", write=False)

    run_until(world, lambda: state(world, "bad") == "assigned", "it to settle")
    assert gauge(world, "events:parked") == 0


def test_a_replayed_event_is_looked_at_after_the_pause(quick: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fleet is paused while an operator replays the dead letter: its turn comes after the pause."""
    world = quick(max_attempts=1)
    park(world, monkeypatch)
    monkeypatch.undo()
    world.services.ledger.set_paused(True)

    world.look("bad")
    assert not is_parked(world)
    world.services.ledger.set_paused(False)

    run_until(world, lambda: state(world, "bad") == "assigned", "it to settle")


def test_forgetting_the_account_removes_the_dead_letter(
    quick: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the account is left: neither gauge nor dead letter."""
    world = quick(max_attempts=1)
    park(world, monkeypatch)

    world.services.ledger.forget(world.sub)

    assert dead_letters(world) == []
    assert (gauge(world, "events:parked"), gauge(world, "events:pending")) == (0, 0)


def test_an_unattributed_failure_splits_the_look(quick: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """All events of a look are suspects at first; each is then looked at alone, and one remains."""
    world = quick(max_attempts=3)
    names = ["good-1", "bad", "good-2"]
    for event_id in names:
        world.track(event_id)
    sizes = []

    def fail_with_the_bad(session: Any, due: Any, *args: Any) -> Any:
        sizes.append(len(due))
        if any(event.key.event_id == "bad" for event in due):
            raise ArithmeticError
        return observe(session, due, *args)

    monkeypatch.setattr("worker.reconcile.look.observe", fail_with_the_bad)
    make_all_due(world)

    run_until(world, lambda: is_parked(world), "it to be parked")

    assert sizes == [3, 1, 1, 1, 1]
    assert [state(world, name) for name in ("good-1", "good-2")] == ["assigned", "assigned"]
    assert [outcome["event_id"] for outcome in world.outcomes() if outcome["type"] == "escalated"] == ["bad"]


def test_a_suspect_that_is_put_off_keeps_its_count(quick: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that the budget broke off does not count."""
    world = quick(max_attempts=1000)
    world.track("bad")
    tried = poison(monkeypatch, KeyError())
    run_until(world, lambda: len(tried) >= 2, "two failures")
    failures = len(tried)
    world.services.ledger.set_paused(True)
    for _ in range(4):
        looks.reconcile_event(world.services, world.sub, world.key("bad"))

    assert (world.stored("bad").event.attempts, len(tried)) == (failures, failures)
