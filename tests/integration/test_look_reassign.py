"""Removed profiles: the writes that set another one, and everything that can happen to them."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
import structlog

from tests.integration.world import NOW, Begin, World
from tests.personalities import under
from tests.waiting import wait_until
from worker.ledger.leases import Lease
from worker.run import looks

POST = {"method": "POST", "path_prefix": "/v1/"}


def removed(begin: Begin, *event_ids: str, **settings: Any) -> World:
    """A world whose events wait for a profile that is gone; exactly one other fits."""
    world = begin(**settings)
    for event_id in event_ids or ("e1",):
        world.track(event_id)
    world.control.remove_profile(world.sub, world.profiles[0])
    return world


def posts(world: World) -> int:
    """How many writing calls the application sent."""
    return len([call for call in world.calls() if call.startswith("POST /v1/")])


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param({"per_second": 50, "per_minute": 500}, id="default limits"),
        pytest.param({"per_second": 200, "per_minute": 2000}, id="raised limits"),
    ],
)
def test_sixty_events_of_a_removed_profile(begin: Begin, limits: dict[str, int]) -> None:
    """A few batches set the new profile on all but the deleted one, and a moved one keeps its new time."""
    world = begin(api_per_second=limits["per_second"], api_per_minute=limits["per_minute"], recheck_min=0.3)
    ids = [f"e{number:02}" for number in range(60)]
    for event_id in ids:
        world.track(event_id, hours=48 + ids.index(event_id) / 10)
    world.control.set_settings(**limits, generation_seconds=0.1)
    world.control.remove_profile(world.sub, world.profiles[0])
    start, end = NOW + timedelta(hours=100), NOW + timedelta(hours=101)
    world.control.move_event(
        world.calendar_id, "e07", start=start.isoformat(), end=end.isoformat(), summary="Moved by Dana"
    )
    world.control.delete_event(world.calendar_id, "e13")

    def all_settled() -> bool:
        world.services.ledger.promote(300)
        looks.look_at_ready(world.services, 100)
        return not world.services.ledger.pending(world.sub)

    wait_until(all_settled, timeout=6, interval=0.2, what="every event to settle")

    written = [w["event_id"] for w in world.writes()]
    assert sorted(written) == sorted(set(ids) - {"e13"})
    assert posts(world) <= 4
    assert Counter(world.types()) == {"reassigned": 59, "assigned": 59, "closed": 1}
    moved = world.control.event(world.calendar_id, "e07")
    shown_at = [datetime.fromisoformat(moved[name]["time"]) for name in ("start", "end")]
    assert (shown_at, moved["summary"]) == ([start, end], "Moved by Dana")
    assert world.control.event(world.calendar_id, "e13")["deleted"]
    shown = [world.control.event(world.calendar_id, event_id) for event_id in written]
    assert {(e["requested_profile_id"], e["conferencing"]["provider_name"]) for e in shown} == {
        (world.profiles[1], "zoom")
    }


#: What a write depends on and Cronofy's documentation leaves open.
ANY_CRONOFY = under("omitted_fields", "batch_status", "location", "localized_times")
ONE_OR_MORE = pytest.mark.parametrize("events", [("e1",), ("e1", "e2")], ids=["alone", "batch"])


@ANY_CRONOFY
@ONE_OR_MORE
def test_an_update_without_an_answer_is_sent_again_only_after_a_read(
    begin: Begin, events: tuple[str, ...], traits: dict[str, Any]
) -> None:
    """It did not arrive: the next look reads first, then writes again, and publishes it once."""
    world = removed(begin, *events)
    world.control.set_personality(**traits)
    world.control.add_fault("reset", match=POST, times=1)

    looks.reconcile_account(world.services, world.sub)
    assert (world.types(), world.writes()) == ([], [])
    before = len(world.calls())
    for _ in range(2):
        looks.reconcile_account(world.services, world.sub)

    new = world.calls()[before:]
    assert new[0] == "GET /v1/events"
    assert sum(call.startswith("POST") for call in new) == 1
    assert sorted(w["event_id"] for w in world.writes()) == sorted(events)
    assert world.types() == ["reassigned"] * len(events)


@ONE_OR_MORE
def test_a_refused_update_is_escalated_once_and_never_sent_again(
    begin: Begin, events: tuple[str, ...]
) -> None:
    """Cronofy refused for good: a person is told, in one email about all of them."""
    world = removed(begin, *events, escalation_email="ops@example.org")
    world.control.add_fault("status", status=422, match=POST)

    for _ in range(3):
        looks.reconcile_account(world.services, world.sub)

    assert (posts(world), world.writes()) == (1, [])
    assert (world.types(), len(world.mails())) == (["escalated"] * len(events), 1)
    assert world.stored().event.cause == "profile_removed"


@ONE_OR_MORE
def test_an_update_that_is_not_found_is_sent_again_and_told_at_the_third(
    begin: Begin, events: tuple[str, ...]
) -> None:
    """A 404 may concern the address alone: nothing is refused for good, and a person knows of it."""
    world = removed(begin, *events, escalation_email="ops@example.org")
    world.control.add_fault("status", status=404, match=POST)

    for _ in range(4):
        looks.reconcile_account(world.services, world.sub)
    assert (world.types(), len(world.mails())) == (["escalated"] * len(events), 1)
    world.control.clear_faults()
    looks.reconcile_account(world.services, world.sub)

    assert sorted(w["event_id"] for w in world.writes()) == sorted(events)
    assert world.types() == ["escalated"] * len(events) + ["reassigned"] * len(events)


@ANY_CRONOFY
def test_an_update_whose_answer_was_lost_is_published_once_seen_in_effect(
    begin: Begin, traits: dict[str, Any]
) -> None:
    """It did arrive: the next look finds the link, writes nothing, and publishes both outcomes."""
    world = removed(begin, http_timeout=0.3)
    world.control.set_personality(**traits)
    world.control.set_settings(generation_seconds=0)
    world.control.add_fault("slow", seconds=0.5, match=POST, times=1)

    assert world.look()["cause"] == "profile_removed"
    assert world.types() == []
    wait_until(world.writes, what="the write to be carried out")
    answer = world.look()

    assert answer["state"] == "assigned"
    assert world.types() == ["reassigned", "assigned"]
    assert world.outcomes()[0]["detail"] == {"from_profile_id": "pro_0", "to_profile_id": "pro_1"}
    assert posts(world) == 1


def test_a_notification_during_the_write_does_not_make_it_twice(begin: Begin) -> None:
    """An accepted write is known, whoever makes the event due in the meantime."""
    world = removed(begin)
    world.control.add_fault("slow", seconds=0.5, match=POST, times=1)
    look = threading.Thread(target=world.look)
    look.start()
    wait_until(lambda: posts(world), what="the write to start")
    world.services.ledger.nudge(world.sub, world.key())
    look.join(10)

    world.look()

    assert (len(world.writes()), world.types()) == (1, ["reassigned"])


@pytest.mark.parametrize("policy", ["never", "any_connected"])
def test_the_policy_decides(begin: Begin, policy: str) -> None:
    """`never` leaves it to a person; `any_connected` takes the connected one, whatever its provider."""
    world = begin(1, replacement=policy)
    world.control.add_conferencing_profile(world.sub, provider_name="go_to", profile_id="pro_goto")
    world.track()
    world.control.remove_profile(world.sub, world.profiles[0])

    world.look()

    profiles = [w["body"]["conferencing"]["profile_id"] for w in world.writes()]
    assert profiles == ([] if policy == "never" else ["pro_goto"])


def test_an_account_lost_between_read_and_write_writes_nothing(begin: Begin) -> None:
    """The grant ends during the write: the event stays due, and the next look finds the account lost."""
    world = removed(begin)
    world.control.add_fault("status", status=401, match=POST, times=1)
    world.control.revoke_refresh_token(world.sub)

    world.look()
    assert (world.types(), world.standing()) == ([], {"ready"})
    world.control.expire_access_token(world.sub)
    world.look()

    assert (world.types(), world.writes()) == (["account_lost"], [])


def test_no_write_starts_after_the_lease_was_lost(begin: Begin) -> None:
    """A look whose account was given to others is void before it writes: the next holder looks again."""
    world = removed(begin)
    ledger = world.services.ledger
    claimed = ledger.claim_account(world.sub, timedelta(milliseconds=50))
    assert isinstance(claimed, Lease)
    world.control.add_fault("slow", seconds=0.6, match={"path_prefix": "/v1/userinfo"}, times=1)
    look = threading.Thread(target=looks.guarded_look, args=(world.services, claimed, [world.key()]))

    look.start()
    wait_until(lambda: ledger.promote(10).expired, what="the lease to expire")
    look.join(10)
    assert (posts(world), world.types()) == (0, [])

    world.look()
    assert (posts(world), world.types()) == (1, ["reassigned"])


DANA, LEE = "dana@example.org", "lee@example.org"


def linked(begin: Begin, *names: str, **settings: Any) -> World:
    """A world whose one event asks for a profile that is gone; it and the one left have these names."""
    world = begin(0, **settings)
    world.profiles = [f"pro_{number}" for number in range(len(names))]
    for profile_id, name in zip(world.profiles, names, strict=True):
        world.control.add_conferencing_profile(
            world.sub, provider_name="zoom", profile_id=profile_id, profile_name=name
        )
    world.track()
    return world


@pytest.mark.parametrize("policy", ["same_provider", "any_connected"])
def test_another_persons_profile_is_never_set(begin: Begin, policy: str) -> None:
    """Two people linked their accounts, and the one's profile is gone: a person chooses, told both names."""
    world = linked(begin, DANA, LEE, replacement=policy, escalation_email="ops@example.org")
    world.look()
    world.control.remove_profile(world.sub, "pro_0")

    answer = world.look()
    world.look()

    assert (world.writes(), world.types()) == ([], ["escalated"])
    assert (answer["remedy"], answer["detail"]["candidates"]) == ("escalate", ["pro_1"])
    assert f'pro_1, named "{LEE}", while the removed one was named "{DANA}"' in " ".join(answer["evidence"])
    [mail] = world.mails()
    assert LEE in mail.message.decode()


def test_the_same_persons_other_profile_is_set(begin: Begin) -> None:
    """Their names agree, though they are not the account's own email address."""
    world = linked(begin, "Lee", "lee")
    world.look()
    world.control.remove_profile(world.sub, "pro_0")

    world.look()

    assert world.types() == ["reassigned"]


@pytest.mark.parametrize(("left", "found"), [(DANA, ["reassigned"]), (LEE, ["escalated"])])
def test_a_profile_that_was_never_seen(begin: Begin, left: str, found: list[str]) -> None:
    """It was removed before the first look: the one left must be named as the account's email address."""
    world = linked(begin, DANA, left)
    world.control.remove_profile(world.sub, "pro_0")

    answer = world.look()

    assert world.types() == found
    if left == LEE:
        assert "the removed one's name was never seen" in " ".join(answer["evidence"])


def test_the_names_seen_are_kept_and_never_logged(begin: Begin, caplog: pytest.LogCaptureFixture) -> None:
    """Also of profiles that are gone."""
    world = linked(begin, DANA, LEE)
    world.look()
    world.control.remove_profile(world.sub, "pro_0")
    with caplog.at_level("DEBUG"), structlog.testing.capture_logs() as lines:
        world.look()

    assert world.services.ledger.account(world.sub).profile_names == {"pro_0": DANA, "pro_1": LEE}
    assert lines
    assert LEE not in f"{lines} {caplog.text}"
