"""Each cause of the contract, from tracking to outcome and diagnosis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.acceptance.harness import Fleet, Person, zoom
from tests.waiting import wait_until

DIAGNOSIS = {
    *("sub", "calendar_id", "event_id", "state", "cause", "certainty", "evidence", "remedy", "detail"),
    *("join_url", "next_check_at"),
}
OUTCOME = {"id", "at", "type", "sub", "calendar_id", "event_id", "cause", "detail"}


def _waiting(fleet: Fleet) -> Person:
    """Nothing is wrong, it only takes long."""
    person = fleet.person(zoom("pro_waiting"))
    person.stick("generating")
    person.write_and_track("generating", "pro_waiting")
    return person


def _expired(fleet: Fleet) -> Person:
    person = fleet.person(zoom("pro_expired", connected=False))
    person.write_and_track("credentials_expired", "pro_expired")
    return person


def _removed(fleet: Fleet) -> Person:
    """Two other profiles could take the removed one's place."""
    candidates = [zoom("pro_work"), zoom("pro_home")]
    person = fleet.person(*candidates, removed_profiles=["pro_removed"])
    person.write_and_track("profile_removed", "pro_removed", provider_name="zoom")
    return person


def _past(fleet: Fleet) -> Person:
    person = fleet.person(zoom("pro_past"))
    person.write_and_track("event_in_past", "pro_past", timedelta(hours=-3))
    return person


def _licence(fleet: Fleet) -> Person:
    """The calendar's own service gives no link, and Cronofy notifies that."""
    person = fleet.person(missing_meeting_url=True)
    person.write_and_track("missing_meeting_url", "integrated")
    return person


def _outage(fleet: Fleet) -> Person:
    fleet.control.begin_outage("go_to")
    person = fleet.person({"profile_id": "pro_go_to", "provider_name": "go_to"})
    person.write_and_track("provider_outage", "pro_go_to")
    return person


def _unauthorized(fleet: Fleet) -> Person:
    person = fleet.person(zoom("pro_lost"))
    person.stick("account_unauthorized")
    person.write_and_track("account_unauthorized", "pro_lost")
    fleet.control.revoke_refresh_token(person.sub)
    fleet.control.expire_access_token(person.sub)
    return person


def _gone(fleet: Fleet) -> Person:
    person = fleet.person(zoom("pro_gone"))
    body = person.write("event_gone", "pro_gone", timedelta(days=2))
    fleet.control.delete_event(person.calendar_id, "event_gone")
    person.track(body)
    return person


def _stuck(fleet: Fleet) -> Person:
    """As the one that only takes long, but it never comes."""
    person = fleet.person(zoom("pro_stuck"))
    person.stick("unexplained")
    person.write_and_track("unexplained", "pro_stuck")
    return person


@dataclass(frozen=True)
class Row:
    """A cause: how it comes about, and what the contract says of it."""

    cause: str
    arrange: Callable[[Fleet], Person]
    state: str
    remedy: str
    #: What is told of it, and whether that is about the event or about a profile or account as a whole.
    outcome: str | None
    about_event: bool = True


ROWS = [
    Row("generating", _waiting, "pending", "wait", None),
    Row("credentials_expired", _expired, "pending", "relink_email", "relink_requested", about_event=False),
    Row("profile_removed", _removed, "pending", "escalate", "escalated"),
    Row("event_in_past", _past, "closed", "close", "closed"),
    Row("missing_meeting_url", _licence, "pending", "escalate", "escalated"),
    Row("provider_outage", _outage, "pending", "wait", "delayed"),
    Row("account_unauthorized", _unauthorized, "pending", "close", "account_lost", about_event=False),
    Row("event_gone", _gone, "closed", "close", "closed"),
    Row("unexplained", _stuck, "pending", "escalate", "escalated"),
]


@pytest.fixture(scope="module")
def people(fleet: Fleet) -> dict[str, Person]:
    """All causes brought about at once; they come to light while the first ones are checked."""
    return {row.cause: row.arrange(fleet) for row in ROWS}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.cause)
def test_each_cause_is_diagnosed_and_told_as_the_contract_says(row: Row, people: dict[str, Person]) -> None:
    """Its diagnosis has the contract's keys, state and remedy, and its outcome the contract's fields."""
    person = people[row.cause]
    if row.outcome:
        outcome = person.outcome(row.outcome, row.cause if row.about_event else None)
        assert set(outcome) == OUTCOME
        assert outcome["cause"] == row.cause
        assert outcome["calendar_id"] == (person.calendar_id if row.about_event else None)
        assert isinstance(outcome["detail"], dict)
        assert datetime.fromisoformat(outcome["at"]).tzinfo is not None

    def diagnosed() -> Any:
        answer = person.explain(row.cause)
        return answer if answer["cause"] == row.cause else None

    diagnosis = wait_until(diagnosed, 15, interval=0.2, what=f"{row.cause} to be found")
    assert set(diagnosis) == DIAGNOSIS
    ids = {"sub": person.sub, "calendar_id": person.calendar_id, "event_id": row.cause}
    assert {**diagnosis, **ids} == diagnosis
    assert (diagnosis["state"], diagnosis["remedy"], diagnosis["join_url"]) == (row.state, row.remedy, None)
    assert diagnosis["certainty"] in {"certain", "likely"}
    assert diagnosis["evidence"]
    assert all(isinstance(sentence, str) for sentence in diagnosis["evidence"])
    assert isinstance(diagnosis["detail"], dict)
    if row.state == "closed" or row.cause == "account_unauthorized":
        assert diagnosis["next_check_at"] is None
    else:
        assert datetime.fromisoformat(diagnosis["next_check_at"]).tzinfo is not None


def test_an_event_that_gets_its_conference_is_told_with_its_link(people: dict[str, Person]) -> None:
    """Waiting ends with the outcome `assigned`, and the diagnosis then has no cause and the link."""
    person = people["generating"]

    person.stick("generating", on=False)

    outcome = person.outcome("assigned", "generating")
    assert set(outcome) == OUTCOME
    assert outcome["cause"] is None
    assert outcome["detail"]["provider_name"] == "zoom"
    diagnosis = person.explain("generating")
    assert set(diagnosis) == DIAGNOSIS
    assert (diagnosis["state"], diagnosis["cause"], diagnosis["remedy"]) == ("assigned", None, "none")
    assert diagnosis["join_url"] == outcome["detail"]["join_url"]


def test_an_outage_that_ends_needs_nobody(fleet: Fleet, people: dict[str, Person]) -> None:
    """Once the service is back, the event is assigned by itself, and was told as delayed only once."""
    person = people["provider_outage"]
    person.outcome("delayed", "provider_outage")

    fleet.control.end_outage("go_to")

    person.outcome("assigned", "provider_outage")
    about_event = [kind for kind, event_id in person.told() if event_id]
    assert about_event == ["assigned", "delayed"]


def test_an_account_that_is_connected_again_is_taken_up_where_it_was(
    fleet: Fleet, people: dict[str, Person]
) -> None:
    """Its tracked events are looked at again with the new tokens, without being tracked anew."""
    person = people["account_unauthorized"]
    person.outcome("account_lost", None)
    fresh = fleet.control.authorize(person.sub)
    person.refresh_token, person.access_token = fresh["refresh_token"], fresh["access_token"]
    person.stick("account_unauthorized", on=False)

    person.connect()

    person.outcome("assigned", "account_unauthorized")
    assert person.told().count(("account_lost", None)) == 1
    assert person.told().count(("account_connected", None)) == 2
