"""What the reconciler does at a Cronofy of each personality, and the table of it in ``docs/sandbox.md``.

    python -m tests.integration.personalities

writes the table. Each trait has one trial here, in which its value shows; the outcome is what was observed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import httpx
import structlog

from benchmarks.report import put
from sandbox.options import SandboxOptions
from sandbox.personality import TRAITS
from sandbox.server import RunningSandbox
from sandbox.world.courier import sign
from sandbox.world.world import interaction_body
from tests.contract.decisions import markdown
from tests.contract.documents import ROOT
from tests.integration.world import Begin, World, beginning
from worker.host.embedded import embedded_server
from worker.intake import accept
from worker.intake.payloads import ReceiveNotification
from worker.run import looks

MANUAL = ROOT / "docs" / "sandbox.md"
#: A sandbox for trials: without limits, and nothing happens on its own.
OPTIONS = SandboxOptions(per_second=0, per_minute=0, generation_seconds=3600)

Trial = Callable[[Begin, Any], str]


def _removed(world: World, *bodies: dict[str, Any]) -> None:
    """Track these events, and remove the profile that they ask for; exactly one other fits."""
    for number, body in enumerate(bodies, 1):
        world.track(f"e{number}", **body)
    world.control.remove_profile(world.sub, world.profiles[0])
    looks.reconcile_account(world.services, world.sub)


def _shown(world: World, **query: str) -> list[dict[str, Any]]:
    """The account's events, as the likeliest Cronofy shows them."""
    defaults = {name: trait.values[0] for name, trait in TRAITS.items()}
    world.control.set_personality(**defaults)
    headers = {"Authorization": f"Bearer {world.control.account(world.sub)['access_token']}"}
    asked = {"tzid": "Etc/UTC", "only_managed": "true", "localized_times": "true", **query}
    url = f"{world.control.base_url}/v1/events"
    events: list[dict[str, Any]] = httpx.get(url, params=asked, headers=headers).json()["events"]
    return events


def _came_of_it(world: World) -> str:
    return ", ".join(dict.fromkeys(world.types())) or "nothing is concluded"


def omitted_fields(begin: Begin, _value: object) -> str:
    """An event with every optional field is written with another profile."""
    world = begin()
    written = {
        "description": "Bring a pen",
        "location": {"description": "Room 5"},
        "url": "https://x.example",
        "transparency": "opaque",
        "color": "#49BED8",
        "event_private": True,
    }
    _removed(world, written)
    [event] = _shown(world)
    lost = [name for name, value in written.items() if event.get(name) != value]
    guests = [guest["email"] for guest in event["attendees"]]
    assert guests == ["guest@example.org"]
    return f"{_came_of_it(world)}; {'lost: ' + ', '.join(lost) if lost else 'nothing is lost'}"


def integrated_unavailable(begin: Begin, _value: object) -> str:
    """The caller asks for `integrated` in a calendar without it."""
    world = begin(grace=0)
    without = {"integrated_conferencing_available": False}
    profile = world.control.add_calendar_profile(world.sub, calendars=[without])
    world.calendar_id = profile["calendars"][0]["calendar_id"]
    try:
        world.track(profile="integrated", hours=0.5)
    except httpx.HTTPStatusError:
        return "the caller's own write gets 422, so there is nothing to track"
    return f"`{world.look()['cause']}`, {_came_of_it(world)}"


def _two_in_a_batch(begin: Begin) -> tuple[World, int]:
    """Two events are written with another profile; also how many writing calls that took."""
    world = begin()
    calendars = [{"calendars": [{"calendar_id": "cal_U9@EAAAB"}]}]
    world.account = world.control.create_account(
        sub="acc_batch",
        calendar_profiles=calendars,
        conferencing_profiles=[{"profile_id": name} for name in world.profiles],
    )
    world.sub, world.calendar_id = "acc_batch", "cal_U9@EAAAB"
    world.connect()
    _removed(world, {}, {})
    assert {w["body"]["conferencing"]["profile_id"] for w in world.writes()} == {world.profiles[1]}
    return world, len([call for call in world.calls() if call.startswith("POST /v1/")])


def batch(begin: Begin, _value: object) -> str:
    """Two events of a calendar with an `@` in its id are written with another profile."""
    world, calls = _two_in_a_batch(begin)
    assert {r["status"] for r in world.control.requests()} <= {200, 202, 207}
    return f"{_came_of_it(world)}; both events, in {calls} call"


def location(begin: Begin, _value: object) -> str:
    """An event without a location gets its conference."""
    world = begin()
    world.track()
    world.control.set_settings(generation_seconds=0)
    world.control.create_event(world.sub, world.calendar_id, world.body())
    world.look()
    return _came_of_it(world)


def series(begin: Begin, _value: object) -> str:
    """A daily series of three is written with another profile."""
    world = begin()
    rules = {"rules": [{"frequency": "daily", "count": 3}]}
    _removed(world, {"recurrence": rules, "start": "2027-03-01T10:00:00Z", "end": "2027-03-01T10:30:00Z"})
    starts = [event["start"]["time"][:10] for event in _shown(world, to="2028-01-01")]
    if not world.writes():
        return f"{_came_of_it(world)}; nothing is written"
    moved = starts[0] != "2027-03-01"
    return f"{_came_of_it(world)}; {'it is moved to its last occurrence' if moved else 'its dates stay'}"


def _kept_time(begin: Begin, **times: str) -> str:
    world = begin()
    _removed(world, {"tzid": "Europe/Paris", **times})
    [event] = _shown(world, to="2028-01-01")
    kept = event["start"]["tzid"]
    assert event["start"]["time"].startswith(
        ("2027-07-01T10:00:00+02:00", "2027-07-01T08:00:00Z", "2027-07-01")
    )
    return f"{_came_of_it(world)}; same time, now in {kept}"


def all_day(begin: Begin, _value: object) -> str:
    """An all-day event in Paris is written with another profile."""
    return _kept_time(begin, start="2027-07-01", end="2027-07-02")


def localized_times(begin: Begin, _value: object) -> str:
    """An event in Paris is written with another profile."""
    return _kept_time(begin, start="2027-07-01T10:00:00", end="2027-07-01T11:00:00")


def disconnected_calendars(begin: Begin, _value: object) -> str:
    """The profile of the event's calendar is disconnected."""
    world = begin(grace=0)
    world.track(hours=0.5)
    world.control.disconnect_profile(world.sub, world.account["calendar_profiles"][0]["profile_id"])
    return f"`{world.look()['cause']}`, {_came_of_it(world)}"


def after_failure(begin: Begin, _value: object) -> str:
    """The failure of an event whose profile was removed is final before anybody looks."""
    world = begin()
    world.track()
    world.control.remove_profile(world.sub, world.profiles[0])
    world.control.advance_clock(3601)
    world.connect()  # the access token has expired with it
    looks.reconcile_account(world.services, world.sub)
    return _came_of_it(world)


def service_account(begin: Begin, _value: object) -> str:
    """Somebody connects an organisation's service account instead of a person's."""
    world = begin()
    world.account = world.control.create_account(sub="ser_1", type="service_account")
    world.sub = "ser_1"
    calendar = world.account["calendar_profiles"][0]["calendars"][0]
    world.calendar_id = calendar["calendar_id"]
    world.connect()
    world.track(profile="integrated")
    said = world.look()["evidence"][-1].removeprefix("Not re-read: ")
    return f"{_came_of_it(world)}; said: {said}"


def rotate_refresh_tokens(begin: Begin, _value: object) -> str:
    """An access token expires, twice."""
    world = begin()
    world.track()
    for _ in range(2):
        world.control.expire_access_token(world.sub)
        world.look()
    assert [r["status"] for r in world.control.requests("/oauth/token")] == [200, 200]
    return "refreshed twice; the account stays connected"


def retry_after(begin: Begin, _value: object) -> str:
    """Others use up the minute's limit, and a read gets 429."""
    world = begin()
    world.track()
    world.control.set_settings(per_minute=1)
    for _ in range(3):
        looks.reconcile_account(world.services, world.sub)
    statuses = [r["status"] for r in world.control.requests("/v1/")]
    assert statuses.count(429) == 1, statuses
    return f"one 429, then a pause; {_came_of_it(world)}"


def interactions(begin: Begin, shape: Any) -> str:
    """A notification says that the provider is down."""
    world = begin(grace=0)
    world.track(hours=0.5)
    event = {"event_id": "e1", "calendar_id": world.calendar_id}
    said = interaction_body({"type": "conferencing_failing"}, shape)
    body = httpx.Request("POST", "http://x", json={**said, "event": event}).content
    accept.receive_notification(
        world.services,
        ReceiveNotification(body=body.decode(), signature=sign(body, ["sandbox-secret"]), sub=world.sub),
    )
    return f"`{world.look()['cause']}`"


#: By trait; the docstring says what happens.
TRIALS: dict[str, Trial] = {
    "omitted_fields": omitted_fields,
    "integrated_unavailable": integrated_unavailable,
    "batch_status": batch,
    "batch_urls": batch,
    "batch_cost": batch,
    "location": location,
    "series": series,
    "all_day": all_day,
    "localized_times": localized_times,
    "disconnected_calendars": disconnected_calendars,
    "after_failure": after_failure,
    "service_account": service_account,
    "rotate_refresh_tokens": rotate_refresh_tokens,
    "retry_after": retry_after,
    "interactions": interactions,
}
#: Every trait with every value.
CASES = [(name, value) for name, trait in TRAITS.items() for value in trait.values]


def played(begin: Begin, running: RunningSandbox, name: str, value: Any) -> str:
    """Play a trait's trial at a Cronofy with this value; return the outcome."""
    running.control.set_personality(**{name: value})
    return TRIALS[name](begin, value)


def outcomes() -> dict[tuple[str, Any], str]:
    """Play every trial with every value."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    found = {}
    with (
        TemporaryDirectory() as folder,
        embedded_server(Path(folder)) as url,
        RunningSandbox(OPTIONS) as running,
    ):
        for name, value in CASES:
            worlds = beginning(running, url, f"trial-{uuid4().hex[:8]}", Path(folder))
            found[name, value] = played(next(worlds), running, name, value)
            next(worlds, None)
    return found


def trials(found: dict[tuple[str, Any], str]) -> str:
    """The table of outcomes: values that come to the same share a line."""
    rows = []
    for name, trial in TRIALS.items():
        by_outcome: dict[str, list[str]] = {}
        for value in TRAITS[name].values:
            by_outcome.setdefault(found[name, value], []).append(f"`{value}`")
        happens = (trial.__doc__ or "").rstrip(".")
        rows += [(f"`{name}`", ", ".join(values), happens, came) for came, values in by_outcome.items()]
    return markdown(("with the trait", "at", "what happens", "what the reconciler does"), rows)


if __name__ == "__main__":
    put(MANUAL, "personalities", trials(outcomes()))
