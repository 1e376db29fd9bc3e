"""The sandbox's rules for when an event gets its conference, on a clock that the test advances."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sandbox.options import SandboxOptions
from sandbox.personality import Personality
from sandbox.world.accounts import Account, Calendar, CalendarProfile, ConferencingProfile
from sandbox.world.events import PENDING, render
from sandbox.world.world import World

NOON = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
PAST = {"start": "2026-12-01T11:00:00Z"}
HOOK = {
    "type": "webhook",
    "uri": "https://app.example/hook",
    "interactions": [{"type": "conferencing_assigned"}, {"type": "conferencing_failing"}],
}


class Stage:
    """A world with one account, a clock to advance, and what the world sent."""

    def __init__(self, **options: Any) -> None:
        """Start at noon; a conference takes 2 s, a retry 10 s."""
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
        self.zoom = self.account.conferencing_profiles[0]
        self.calendar = self.account.calendar_profiles[0].calendars[0]
        self.world.registry.add_account(self.account)
        self.world.open_channel(self.account, "https://app.example/channel", {})

    def write(self, profile_id: str | None, **fields: Any) -> None:
        """Write the event, with a conferencing block if a profile is given; it starts in an hour."""
        block = {"conferencing": {"profile_id": profile_id}} if profile_id else {}
        start = self.time + timedelta(hours=1)
        times = {"start": start.isoformat(), "end": (start + timedelta(minutes=30)).isoformat()}
        body = {"event_id": "e1", "summary": "Interview", **times, "subscriptions": [HOOK], **block, **fields}
        self.world.upsert(self.account, "cal", body)

    def after(self, seconds: float) -> Any:
        """Advance the clock and return the event's conferencing as a read shows it."""
        self.time += timedelta(seconds=seconds)
        self.world.advance()
        return self.shown("conferencing")

    def shown(self, field: str) -> Any:
        """Return a field of the event as a read shows it."""
        return render(self.world.event("cal", "e1"), self.account, Personality()).get(field)

    def notified(self) -> list[tuple[str, str | None]]:
        """Return type and subtype of what subscribers were sent, and the channel's types, in order."""
        notices = [body["notification"] for body in self.sent[1:]]  # without the channel's verification
        interactions = [one for notice in notices for one in notice.get("interactions", [notice])]
        return [(one["type"], one.get("subtype")) for one in interactions]


Act = Callable[[Stage], object]


def both(act: Callable[[Stage, bool], object]) -> tuple[Act, Act]:
    """Start a trouble, and end it."""
    return (lambda stage: act(stage, True), lambda stage: act(stage, False))


def connect(profile_id: str) -> Callable[[Stage, bool], object]:
    """Disconnect a profile, or connect it."""
    return lambda stage, on: stage.world.registry.set_connected("acc_1", profile_id, not on)


def remove_zoom(stage: Stage) -> None:
    """Remove the Zoom profile, which is final."""
    stage.world.registry.remove_profile("acc_1", "pro_zoom")


OUTAGE = (lambda stage: stage.world.outages.add("zoom"), lambda stage: stage.world.outages.clear())
STUCK = both(lambda stage, on: stage.world.set_stuck("cal", "e1", stuck=on))
NO_URL_BY_PROFILE = both(lambda stage, on: setattr(stage.zoom, "missing_meeting_url", on))
NO_URL_BY_CALENDAR = both(lambda stage, on: setattr(stage.account, "missing_meeting_url", on))
NOT_AVAILABLE = both(lambda stage, on: setattr(stage.calendar, "integrated_conferencing_available", not on))
NO_URL = ("conferencing_failing", "missing_meeting_url")
TROUBLES = [
    # what fails, how it starts and ends, how it is notified, the requested profile
    ("disconnected", both(connect("pro_zoom")), ("conferencing_profile_disconnected", None), "pro_zoom"),
    ("calendar disconnected", both(connect("pro_cal")), ("profile_disconnected", None), "pro_zoom"),
    ("removed", (remove_zoom, None), ("conferencing_failing", "profile_missing"), "pro_zoom"),
    ("outage", OUTAGE, ("conferencing_failing", None), "pro_zoom"),
    ("profile gives no URL", NO_URL_BY_PROFILE, NO_URL, "pro_zoom"),
    ("calendar gives no URL", NO_URL_BY_CALENDAR, NO_URL, "integrated"),
    ("calendar without conferencing", NOT_AVAILABLE, NO_URL, "integrated"),
    ("stuck", STUCK, None, "pro_zoom"),
]


@pytest.mark.parametrize("speed", [1, 10])
def test_conference_comes_after_the_generation_time(speed: float) -> None:
    """A conference is pending first, then assigned after `generation_seconds` / `speed`, and notified."""
    stage = Stage(speed=speed)
    stage.write("pro_zoom", description="Join: {{ cronofy.conferencing.join_url }}")
    assert stage.after(1.9 / speed) == PENDING
    assert stage.shown("description") == "Join: Conferencing details are to follow."
    assigned = stage.after(0.2 / speed)
    assert assigned["provider_name"] == "zoom"
    assert assigned["join_url"].startswith("https://zoom.example/j/")
    assert stage.shown("description") == f"Join: {assigned['join_url']}"
    assert stage.notified() == [("conferencing_assigned", None)]
    assert stage.sent[-1]["event"]["conferencing"] == assigned


@pytest.mark.parametrize(
    ("trouble", "notified", "profile_id"), [pytest.param(*row[1:], id=row[0]) for row in TROUBLES]
)
def test_failed_generation_leaves_the_event_pending(
    trouble: tuple[Act, Act | None], notified: tuple[str, str | None] | None, profile_id: str
) -> None:
    """The event stays pending and the reason is notified once; after a fix, a retry succeeds."""
    stage = Stage()
    start, end = trouble
    start(stage)
    stage.write(profile_id)
    assert [stage.after(11) for _ in range(5)] == [PENDING] * 5
    assert stage.notified() == ([notified] if notified else [])
    if end:
        end(stage)
        assert stage.after(11) != PENDING
        assert stage.notified()[-1] == ("conferencing_assigned", None)


@pytest.mark.parametrize("option", ["pending", "absent"])
@pytest.mark.parametrize("removed", [True, False], ids=["profile removed", "start in the past"])
def test_final_failure_is_shown_as_configured(option: Any, removed: bool) -> None:
    """After a final failure a read shows the event pending, or without conferencing, as configured."""
    stage = Stage(personality={"after_failure": option})
    if removed:
        remove_zoom(stage)
    stage.write("pro_zoom", **({} if removed else PAST))
    assert stage.after(3) == (PENDING if option == "pending" else None)


def test_default_stands_for_a_profile_or_the_calendar() -> None:
    """`default` is the account's configured profile, otherwise the calendar's integrated service."""
    stage = Stage()
    for default_profile, provider in ((None, "google_meet"), ("pro_goto", "go_to")):
        stage.account.default_profile = default_profile
        stage.write("default")
        assert stage.after(3)["provider_name"] == provider


def test_another_profile_restarts_a_pending_event() -> None:
    """Writing another profile to a pending event makes its conference there, and only there."""
    stage = Stage()
    remove_zoom(stage)
    stage.write("pro_zoom")
    assert stage.after(3) == PENDING
    stage.write("pro_goto")
    assert stage.after(1.9) == PENDING
    assert stage.after(0.2)["provider_name"] == "go_to"
    assert stage.notified() == [("conferencing_failing", "profile_missing"), ("conferencing_assigned", None)]


def test_only_a_block_in_the_write_changes_the_conference() -> None:
    """Omitted, the block changes nothing; repeated, it makes another meeting; `none` removes it."""
    stage = Stage()
    stage.write("pro_zoom")
    stage.write(None, summary="Later")
    assert stage.after(1) == PENDING
    first = stage.after(2)
    stage.write(None, summary="Later still")
    assert stage.after(3) == first != PENDING
    stage.write("pro_zoom")
    assert stage.after(1) == PENDING
    assert stage.after(2) not in (first, PENDING)
    stage.write("none")
    assert stage.after(3) is None


def test_past_event_moved_ahead_is_generated() -> None:
    """A person who moves a past event into the future gets its conference; a change is notified."""
    stage = Stage()
    stage.write("pro_zoom", **PAST)
    assert stage.after(3) == PENDING
    stage.world.move("cal", "e1", start="2026-12-02T09:00:00Z", end="2026-12-02T10:00:00Z")
    assert stage.after(3) != PENDING
    assert stage.notified() == [("change", None), ("conferencing_assigned", None)]


def test_deleted_event_gets_no_conference() -> None:
    """An event that its owner deleted stays unchanged."""
    stage = Stage()
    stage.write("pro_zoom")
    stage.world.delete_by_owner("cal", "e1")
    assert stage.after(3) == PENDING
    assert stage.shown("deleted")


def test_write_shows_after_the_visibility_delay() -> None:
    """An accepted update shows in a read only after `visibility_seconds`."""
    stage = Stage(visibility_seconds=5)
    stage.write(None, summary="First")
    stage.after(5)
    stage.write(None, summary="Second")
    stage.after(4.9)
    assert stage.shown("summary") == "First"
    stage.after(0.1)
    assert stage.shown("summary") == "Second"
