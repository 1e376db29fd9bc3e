"""The sandbox's rules for when an event gets its conference, on a clock that the test moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sandbox.options import SandboxOptions
from sandbox.world.accounts import Account, Calendar, CalendarProfile, ConferencingProfile
from sandbox.world.events import PENDING, render
from sandbox.world.world import World

NOON = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
HOOK = {
    "type": "webhook",
    "uri": "https://app.example/hook",
    "interactions": [{"type": "conferencing_assigned"}, {"type": "conferencing_failing"}],
}


class Stage:
    """A world with one account, a clock to move, and what the world sent."""

    def __init__(self, **options: Any) -> None:
        """Begin at noon; a conference takes 2 s, a retry 10 s."""
        self.time = NOON
        self.sent: list[dict[str, Any]] = []
        settings = SandboxOptions(**{"generation_seconds": 2, "retry_seconds": 10, **options})
        self.world = World(
            lambda: settings, lambda _url, body: self.sent.append(body), clock=lambda: self.time
        )
        self.account = Account(
            sub="acc_1",
            calendar_profiles=[
                CalendarProfile(profile_id="pro_cal", calendars=[Calendar(calendar_id="cal")])
            ],
            conferencing_profiles=[
                ConferencingProfile(profile_id="pro_zoom"),
                ConferencingProfile(profile_id="pro_goto", provider_name="go_to"),
            ],
        )
        self.world.registry.add_account(self.account)
        self.world.open_channel(self.account, "https://app.example/channel", {})

    def write(self, profile_id: str | None, **fields: Any) -> None:
        """Write the event, with a conferencing block if a profile is given; it starts in an hour."""
        block = {"conferencing": {"profile_id": profile_id}} if profile_id else {}
        start = self.time + timedelta(hours=1)
        body = {
            "event_id": "e1",
            "summary": "Interview",
            "start": start.isoformat(),
            "end": (start + timedelta(minutes=30)).isoformat(),
            "subscriptions": [HOOK],
            **block,
            **fields,
        }
        self.world.upsert(self.account, "cal", body)

    def after(self, seconds: float) -> dict[str, Any] | None:
        """Let time pass and return the event's conferencing as a read shows it."""
        self.time += timedelta(seconds=seconds)
        self.world.advance()
        shown = render(self.world.event("cal", "e1"), self.account)
        found: dict[str, Any] | None = shown.get("conferencing")
        return found

    def told(self) -> list[tuple[str, str | None]]:
        """Return type and subtype of what subscribers were sent, and the types of the channel's, in order."""
        told = []
        for body in self.sent:
            for said in body["notification"].get("interactions", [body["notification"]]):
                told.append((said["type"], said.get("subtype")))
        return told[1:]  # without the channel's verification


def test_conference_comes_after_the_generation_time() -> None:
    """A requested conference is pending at first and assigned after `generation_seconds`, and told."""
    stage = Stage()
    stage.write("pro_zoom")
    assert stage.after(1.9) == PENDING
    assigned = stage.after(0.2)
    assert assigned is not None
    assert assigned["provider_name"] == "zoom"
    assert assigned["join_url"].startswith("https://zoom.example/j/")
    assert stage.told() == [("conferencing_assigned", None)]
    assert stage.sent[-1]["event"]["conferencing"] == assigned


def test_speed_divides_the_waiting() -> None:
    """At speed 10 the two seconds of generation take a fifth of a second."""
    stage = Stage(speed=10)
    stage.write("pro_zoom")
    assert stage.after(0.15) == PENDING
    assert stage.after(0.1) != PENDING


@pytest.mark.parametrize(
    ("trouble", "profile_id", "told"),
    [
        pytest.param(
            "disconnect", "pro_zoom", ("conferencing_profile_disconnected", None), id="disconnected"
        ),
        pytest.param("disconnect_calendar", "pro_zoom", ("profile_disconnected", None), id="calendar-lost"),
        pytest.param("remove", "pro_zoom", ("conferencing_failing", "profile_missing"), id="removed"),
        pytest.param("outage", "pro_zoom", ("conferencing_failing", None), id="provider-outage"),
        pytest.param(
            "no_url", "pro_zoom", ("conferencing_failing", "missing_meeting_url"), id="profile-gives-no-url"
        ),
        pytest.param(
            "no_integrated",
            "integrated",
            ("conferencing_failing", "missing_meeting_url"),
            id="integrated-unavailable",
        ),
        pytest.param(
            "account_no_url",
            "integrated",
            ("conferencing_failing", "missing_meeting_url"),
            id="integrated-gives-no-url",
        ),
        pytest.param("past", "pro_zoom", None, id="start-in-the-past"),
        pytest.param("stuck", "pro_zoom", None, id="stuck"),
    ],
)
def test_failed_generation_leaves_the_event_pending(
    trouble: str, profile_id: str, told: tuple[str, str | None] | None
) -> None:
    """A conference that cannot be made stays pending, and its reason is told once over many retries."""
    stage = Stage()
    make(trouble, stage)
    stage.write(profile_id, **({"start": "2026-12-01T11:00:00Z"} if trouble == "past" else {}))
    for _ in range(5):
        assert stage.after(11) == PENDING
    assert stage.told() == ([told] if told else [])


def make(trouble: str, stage: Stage) -> None:
    """Bring the trouble about."""
    registry = stage.world.registry
    match trouble:
        case "disconnect":
            registry.set_connected("acc_1", "pro_zoom", connected=False)
        case "disconnect_calendar":
            registry.set_connected("acc_1", "pro_cal", connected=False)
        case "remove":
            registry.remove_profile("acc_1", "pro_zoom")
        case "outage":
            stage.world.outages.add("zoom")
        case "no_url":
            stage.account.conferencing_profiles[0].missing_meeting_url = True
        case "no_integrated":
            stage.account.calendar_profiles[0].calendars[0].integrated_conferencing_available = False
        case "account_no_url":
            stage.account.missing_meeting_url = True
        case "stuck":
            stage.world.set_stuck("cal", "e1", stuck=True)


@pytest.mark.parametrize(
    ("trouble", "profile_id"),
    [
        pytest.param("disconnect", "pro_zoom", id="relinked"),
        pytest.param("outage", "pro_zoom", id="outage-over"),
        pytest.param("account_no_url", "integrated", id="licence-mended"),
        pytest.param("stuck", "pro_zoom", id="unstuck"),
    ],
)
def test_mended_trouble_ends_in_a_conference(trouble: str, profile_id: str) -> None:
    """Where Cronofy retries, the conference comes by itself once the reason is gone."""
    stage = Stage()
    make(trouble, stage)
    stage.write(profile_id)
    assert stage.after(3) == PENDING
    stage.world.registry.set_connected("acc_1", "pro_zoom", connected=True)
    stage.world.outages.clear()
    stage.account.missing_meeting_url = False
    stage.world.set_stuck("cal", "e1", stuck=False)
    assert stage.after(11) != PENDING
    assert stage.told()[-1] == ("conferencing_assigned", None)


@pytest.mark.parametrize("trouble", ["remove", "past"])
def test_final_failure_may_show_as_absent(trouble: str) -> None:
    """With `after_failure` absent, a read after a final failure shows no conferencing at all."""
    stage = Stage(after_failure="absent")
    make(trouble, stage)
    stage.write("pro_zoom", **({"start": "2026-12-01T11:00:00Z"} if trouble == "past" else {}))
    assert stage.after(3) is None


def test_after_failure_of_one_event_goes_before_the_option() -> None:
    """The switch of one event overrides the world's."""
    stage = Stage(after_failure="absent")
    stage.world.after_failure["cal", "e1"] = "pending"
    make("remove", stage)
    stage.write("pro_zoom")
    assert stage.after(3) == PENDING


@pytest.mark.parametrize(
    ("default_profile", "provider"),
    [pytest.param("pro_goto", "go_to", id="configured"), pytest.param(None, "google_meet", id="integrated")],
)
def test_default_stands_for_a_profile_or_the_calendar(default_profile: str | None, provider: str) -> None:
    """`default` is the account's configured profile, else the calendar's integrated service."""
    stage = Stage()
    stage.account.default_profile = default_profile
    stage.write("default")
    assigned = stage.after(3)
    assert assigned is not None
    assert assigned["provider_name"] == provider


def test_another_profile_restarts_a_pending_event() -> None:
    """Writing another profile to a pending event makes its conference there, and only there."""
    stage = Stage()
    make("remove", stage)
    stage.write("pro_zoom")
    assert stage.after(3) == PENDING
    stage.write("pro_goto")
    assert stage.after(1.9) == PENDING
    assigned = stage.after(0.2)
    assert assigned is not None
    assert assigned["provider_name"] == "go_to"
    assert stage.told() == [("conferencing_failing", "profile_missing"), ("conferencing_assigned", None)]


def test_repeated_block_makes_another_meeting() -> None:
    """Writing the block again to an assigned event begins anew: the meeting's URL changes."""
    stage = Stage()
    stage.write("pro_zoom")
    first = stage.after(3)
    stage.write("pro_zoom")
    assert stage.after(1) == PENDING
    assert stage.after(2) not in (first, PENDING)


def test_omitted_block_leaves_the_conference() -> None:
    """A write without the block changes neither a pending nor an assigned conference."""
    stage = Stage()
    stage.write("pro_zoom")
    stage.write(None, summary="Later")
    assert stage.after(1) == PENDING
    assigned = stage.after(2)
    assert assigned != PENDING
    stage.write(None, summary="Later still")
    assert stage.after(3) == assigned


def test_none_removes_the_conference() -> None:
    """`none` takes the conference away."""
    stage = Stage()
    stage.write("pro_zoom")
    assert stage.after(3) is not None
    stage.write("none")
    assert stage.after(3) is None


def test_past_event_moved_ahead_is_generated() -> None:
    """A person who moves a past event into the future lets its conference come; a change is told."""
    stage = Stage()
    stage.write("pro_zoom", start="2026-12-01T11:00:00Z")
    assert stage.after(3) == PENDING
    stage.world.move("cal", "e1", start="2026-12-02T09:00:00Z", end="2026-12-02T10:00:00Z")
    assert stage.after(3) != PENDING
    assert stage.told() == [("change", None), ("conferencing_assigned", None)]


def test_templates_are_rendered_on_read() -> None:
    """Templates in the description show a placeholder while pending, and the link afterwards."""
    stage = Stage()
    stage.write("pro_zoom", description="Join: {{ cronofy.conferencing.join_url }}")
    event = stage.world.event("cal", "e1")
    assert render(event, stage.account)["description"] == "Join: Conferencing details are to follow."
    assigned = stage.after(3)
    assert assigned is not None
    assert render(event, stage.account)["description"] == f"Join: {assigned['join_url']}"


def test_deleted_event_gets_no_conference() -> None:
    """An event that its owner deleted stays as it was."""
    stage = Stage()
    stage.write("pro_zoom")
    stage.world.delete_by_owner("cal", "e1")
    assert stage.after(3) == PENDING
    assert stage.world.event("cal", "e1").deleted


def test_write_shows_after_the_visibility_delay() -> None:
    """An accepted update shows in a read only after `visibility_seconds`."""
    stage = Stage(visibility_seconds=5)
    stage.write(None, summary="First")
    stage.after(5)
    stage.write(None, summary="Second")
    stage.after(4.9)
    assert stage.world.event("cal", "e1").summary == "First"
    stage.after(0.1)
    assert stage.world.event("cal", "e1").summary == "Second"
