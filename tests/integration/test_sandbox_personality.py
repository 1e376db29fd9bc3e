"""The sandbox where Cronofy's documentation is silent: each value of a trait does what it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from sandbox.control.control import Control
from sandbox.personality import TRAITS, Personality, personality_of
from sandbox.server import RunningSandbox
from tests.contract.commands import COMMANDS
from tests.contract.documents import reference
from tests.integration.sandbox_caller import Caller


@pytest.fixture
def caller(running: RunningSandbox, control: Control) -> Iterator[Caller]:
    """A caller for a new account."""
    caller = Caller(running.url, control.create_account())
    with caller.http:
        yield caller


@pytest.mark.parametrize(("value", "description"), [("kept", "Bring a pen"), ("cleared", "")])
def test_fields_that_an_update_omits(caller: Caller, control: Control, value: str, description: str) -> None:
    """They stay or go, but the url always stays, and so do attendees and the series."""
    control.set_personality(omitted_fields=value)
    guest = {"email": "guest@example.org"}
    rules = {"rules": [{"frequency": "daily", "count": 2}]}
    caller.write(
        description="Bring a pen", url="https://x.example", attendees={"invite": [guest]}, recurrence=rules
    )
    caller.write(summary="Second interview")
    shown = caller.read(only_managed="true").json()["events"]
    assert [(e["description"], e["url"]) for e in shown] == [(description, "https://x.example")] * 2
    assert [len(e["attendees"]) for e in shown] == [1, 1]


@pytest.mark.parametrize(("value", "status"), [("accepted", 202), ("refused", 422)])
def test_integrated_in_a_calendar_without_it(
    caller: Caller, control: Control, value: str, status: int
) -> None:
    """Refused, it names the field; in a calendar that has it, either value accepts."""
    control.set_personality(integrated_unavailable=value)
    block = {"conferencing": {"profile_id": "integrated"}}
    assert caller.write(**block).status_code == 202
    without = {"integrated_conferencing_available": False}
    profile = control.add_calendar_profile(caller.account["sub"], calendars=[without])
    caller.calendar_id = profile["calendars"][0]["calendar_id"]
    response = caller.write(**block)
    assert response.status_code == status
    if status == 422:
        [error] = response.json()["errors"]["conferencing.profile_id"]
        assert error["key"] == "errors.integrated_conferencing_not_available"


@pytest.mark.parametrize("value", ["as_written", "join_url"])
@pytest.mark.parametrize("location", [None, {"description": "Room 5"}], ids=["none written", "one written"])
def test_location_of_an_event_with_a_conference(
    caller: Caller, control: Control, value: str, location: dict[str, str] | None
) -> None:
    """Only a location that nobody wrote may be filled with the join URL."""
    control.set_settings(generation_seconds=0)
    control.set_personality(location=value)
    caller.write(conferencing={"profile_id": "integrated"}, location=location)
    event = caller.the_event()
    filled = {"description": event["conferencing"]["join_url"]} if value == "join_url" else None
    assert event.get("location") == (location or filled)


@pytest.mark.parametrize(("value", "found"), [("shown", ["e1"]), ("hidden", [])])
def test_events_of_a_disconnected_calendar(
    caller: Caller, control: Control, value: str, found: list[str]
) -> None:
    """A read shows them or not; once the profile is connected again, it does."""
    control.set_personality(disconnected_calendars=value)
    caller.write()
    profile_id = caller.account["calendar_profiles"][0]["profile_id"]
    control.disconnect_profile(caller.account["sub"], profile_id)
    assert caller.ids(only_managed="true") == found
    control.reconnect_profile(caller.account["sub"], profile_id)
    assert caller.ids(only_managed="true") == ["e1"]


PARIS = {"tzid": "Europe/Paris", "start": "2027-07-01T10:00:00", "end": "2027-07-01T11:00:00"}
ALL_DAY = {"tzid": "Europe/Paris", "start": "2027-07-01", "end": "2027-07-02"}


@pytest.mark.parametrize(
    ("traits", "written", "shown"),
    [
        pytest.param(
            {}, PARIS, {"time": "2027-07-01T10:00:00+02:00", "tzid": "Europe/Paris"}, id="time, local"
        ),
        pytest.param(
            {"localized_times": "utc"},
            PARIS,
            {"time": "2027-07-01T08:00:00Z", "tzid": "Etc/UTC"},
            id="time, UTC",
        ),
        pytest.param({}, ALL_DAY, {"time": "2027-07-01", "tzid": "Europe/Paris"}, id="date, wrapped"),
        pytest.param({"all_day": "plain"}, ALL_DAY, "2027-07-01", id="date, plain"),
    ],
)
def test_localized_times(
    caller: Caller, control: Control, traits: dict[str, str], written: dict[str, str], shown: object
) -> None:
    """A read that asks for the event's zone gets it at best."""
    control.set_personality(**traits)
    caller.write(**written)
    assert caller.the_event(localized_times="true")["start"] == shown
    assert caller.the_event()["start"] in ("2027-07-01", "2027-07-01T08:00:00Z")


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        ("shared_id", ["e1", "e1"]),
        ("own_ids", ["e1_20270327T090000Z", "e1_20270328T080000Z"]),
    ],
)
def test_a_series_over_a_change_of_the_clock(
    caller: Caller, control: Control, value: str, ids: list[str]
) -> None:
    """Its occurrences keep their local time, have a uid each, and one series identifier."""
    control.set_personality(series=value)
    rules = {"rules": [{"frequency": "daily", "count": 2}]}
    start, end = "2027-03-27T10:00:00", "2027-03-27T10:30:00"
    caller.write(tzid="Europe/Paris", start=start, end=end, recurrence=rules)
    shown = caller.read(only_managed="true", to="2027-06-01").json()["events"]
    assert [e["start"] for e in shown] == ["2027-03-27T09:00:00Z", "2027-03-28T08:00:00Z"]
    assert [e["end"][11:16] for e in shown] == ["09:30", "08:30"]
    assert [e["event_id"] for e in shown] == ids
    assert [len({e[name] for e in shown}) for name in ("event_uid", "series_identifier")] == [2, 1]
    assert all(e["recurring"] for e in shown)


@pytest.mark.parametrize(
    ("rule", "dates"),
    [
        pytest.param({"frequency": "daily", "interval": 2, "count": 3}, ["01", "03", "05"], id="daily"),
        pytest.param({"frequency": "weekly", "interval": 2}, ["01", "15", "29"], id="weekly, for ever"),
        pytest.param(
            {"frequency": "weekly", "by_day": ["monday", "friday"], "count": 3}, ["01", "05", "08"], id="days"
        ),
        pytest.param({"frequency": "monthly"}, ["01"], id="monthly"),
        pytest.param({"frequency": "yearly", "count": 4}, ["01"], id="yearly"),
    ],
)
def test_rules_of_a_series(caller: Caller, rule: dict[str, Any], dates: list[str]) -> None:
    """An all-day series happens on its rule's dates; a series is read within the window."""
    day = {"start": "2027-03-01", "end": "2027-03-02"}  # a Monday
    caller.write(**day, recurrence={"rules": [rule]})
    shown = caller.read(only_managed="true", to="2027-04-01").json()["events"]
    assert [(e["start"], e["end"][:7]) for e in shown] == [(f"2027-03-{date}", "2027-03") for date in dates]


def test_an_empty_list_of_rules_ends_a_series(caller: Caller) -> None:
    """An omitted recurrence keeps it."""
    for fields, occurrences in (
        ({"recurrence": {"rules": [{"frequency": "daily", "count": 3}]}}, 3),
        ({}, 3),
        ({"recurrence": {"rules": []}}, 1),
    ):
        caller.write(**fields)
        assert len(caller.ids(only_managed="true")) == occurrences


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({}, "frequency"),
        ({"frequency": "hourly"}, "frequency"),
        ({"frequency": "daily", "interval": 0}, "interval"),
        ({"frequency": "daily", "count": "3"}, "count"),
        ({"frequency": "daily", "by_day": ["monday"]}, "by_day"),
        ({"frequency": "weekly", "by_day": ["mon"]}, "by_day"),
    ],
    ids=str,
)
def test_bad_rule_is_refused(caller: Caller, rule: dict[str, Any], field: str) -> None:
    """422 names the rule's field."""
    response = caller.write(recurrence={"rules": [rule]})
    assert response.status_code == 422
    assert list(response.json()["errors"]) == [f"recurrence.rules[0].{field}"]


@pytest.mark.parametrize("value", ["nested", "flat"])
def test_userinfo_of_a_service_account(running: RunningSandbox, control: Control, value: str) -> None:
    """The newer shape has an email and `cronofy.data`, the older one only the domain."""
    control.set_personality(service_account=value)
    account = control.create_account(sub="ser_1", type="service_account", email="admin@example.com")
    with Caller(running.url, account).http as http:
        info = http.get("/v1/userinfo").json()
    if value == "flat":
        assert info == {
            "sub": "ser_1",
            "cronofy.type": "service_account",
            "cronofy.service_account.domain": "example.com",
        }
    else:
        assert info["email"] == "admin@example.com"
        assert info["cronofy.data"]["service_account"]["domain"] == "example.com"


def test_control_plane_lists_and_sets_traits(control: Control) -> None:
    """Each has its value, all values, a question and a source; what is not named stays; a reset restores."""
    control.set_personality(series="own_ids")
    control.set_personality(batch_status=200)
    listed = {trait["name"]: trait for trait in control.personality()}
    assert list(listed) == list(TRAITS)
    assert (listed["series"]["value"], listed["batch_status"]["value"]) == ("own_ids", 200)
    assert listed["batch_status"]["values"] == [207, 200]
    assert all(trait["question"] for trait in listed.values())
    control.reset()
    assert {t["name"]: t["value"] for t in control.personality()} == Personality().model_dump()


def test_sources_are_sections_of_the_reference() -> None:
    """Each trait names one, and its default is the first of its values."""
    sections = reference()
    for name, trait in TRAITS.items():
        assert f"## {trait.source.removeprefix('§')}" in sections, name
        assert getattr(Personality(), name) == trait.values[0]


def test_choices_of_the_command_line() -> None:
    """`name=value` words make a personality."""
    chosen = personality_of(["batch_status=200", "series=own_ids"])
    assert chosen == Personality(batch_status=200, series="own_ids")
    assert personality_of([]) == Personality()


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ("series", "'series' is not of the form NAME=VALUE"),
        ("serious=own_ids", "no trait 'serious', only omitted_fields"),
        ("batch_status=300", "batch_status is 207 or 200, not '300'"),
    ],
)
def test_bad_choice_is_a_sentence(choice: str, sentence: str) -> None:
    """It names what is wrong, and what there is."""
    with pytest.raises(ValueError, match=sentence):
        personality_of([choice])


def test_command_lists_the_traits() -> None:
    """`--traits` shows each with its values, its question and its source, and serves nothing."""
    ran = CliRunner().invoke(COMMANDS["sandbox"], ["--traits"])
    assert ran.exit_code == 0
    for name, trait in TRAITS.items():
        values = "|".join(str(value) for value in trait.values)
        assert f"{name}={values}\n    {trait.question} ({trait.source})\n" in ran.output


def test_command_refuses_a_bad_choice() -> None:
    """Wrong usage: 2, and the sentence."""
    ran = CliRunner().invoke(COMMANDS["sandbox"], ["--personality", "batch_status=300"])
    assert (ran.exit_code, "batch_status is 207 or 200, not '300'." in ran.output) == (2, True)


@pytest.mark.parametrize("traits", [{"serious": "own_ids"}, {"series": "none"}], ids=str)
def test_bad_trait_is_refused(control: Control, traits: dict[str, str]) -> None:
    """422, and nothing changes."""
    before = control.personality()
    with pytest.raises(httpx.HTTPStatusError, match="422"):
        control.set_personality(**traits)
    assert control.personality() == before
