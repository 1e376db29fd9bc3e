"""Each cause in the contract, from tracking to outcome and diagnosis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from sandbox.control.admin import Json
from tests.acceptance.harness import Fleet, Person, zoom
from tests.waiting import wait_until

DIAGNOSIS = {
    *("sub", "calendar_id", "event_id", "state", "cause", "certainty", "evidence", "remedy", "detail"),
    *("join_url", "next_check_at"),
}
OUTCOME = {"id", "at", "type", "sub", "calendar_id", "event_id", "cause", "detail"}


def _lose(person: Person) -> None:
    person.fleet.control.revoke_refresh_token(person.sub)
    person.fleet.control.expire_access_token(person.sub)


def _delete(person: Person) -> None:
    person.fleet.control.delete_event(person.calendar_id, "event_gone")


def _fail(person: Person) -> None:
    person.fleet.control.begin_outage("go_to")


GO_TO = {"profile_id": "pro_asked", "provider_name": "go_to"}


@dataclass(frozen=True)
class Row:
    """A cause: what the contract says about it, and how to bring it about."""

    cause: str
    state: str
    remedy: str
    #: Its outcome, and whether that is about the event or about a profile or account as a whole.
    outcome: str | None
    about_event: bool = True
    #: The account's profiles, its other fields, and the profile its event asks for.
    profiles: Sequence[Json] = (zoom("pro_asked"),)
    fields: Json = field(default_factory=dict)
    asked: str = "pro_asked"
    start: timedelta = timedelta(days=2)
    #: Whether it never gets a conference, and what happens between the write and tracking.
    stuck: bool = False
    meanwhile: Callable[[Person], None] = lambda _: None

    def arrange(self, fleet: Fleet) -> Person:
        """Somebody with such an event, named after the cause."""
        person = fleet.person(*self.profiles, **self.fields)
        if self.stuck:
            person.stick(self.cause)
        body = person.write(self.cause, self.asked, self.start)
        self.meanwhile(person)
        person.track(body, provider_name=self.profiles[0]["provider_name"] if self.profiles else None)
        return person


EXPIRED, OTHERS = [zoom("pro_asked", connected=False)], [zoom("pro_work"), zoom("pro_home")]
REMOVED, NO_LICENCE = {"removed_profiles": ["pro_asked"]}, {"missing_meeting_url": True}
ROWS = [
    Row("generating", "pending", "wait", None, stuck=True),
    Row("credentials_expired", "pending", "relink_email", "relink_requested", False, profiles=EXPIRED),
    # Two other profiles could replace the removed one.
    Row("profile_removed", "pending", "escalate", "escalated", profiles=OTHERS, fields=REMOVED),
    Row("event_in_past", "closed", "close", "closed", start=timedelta(hours=-3)),
    # The calendar's own service returns no link, and Cronofy notifies that.
    Row("missing_meeting_url", "pending", "escalate", "escalated", True, (), NO_LICENCE, "integrated"),
    Row("provider_outage", "pending", "wait", "delayed", profiles=[GO_TO], meanwhile=_fail),
    Row("account_unauthorized", "pending", "close", "account_lost", False, stuck=True, meanwhile=_lose),
    Row("event_gone", "closed", "close", "closed", meanwhile=_delete),
    Row("unexplained", "pending", "escalate", "escalated", stuck=True),
]


@pytest.fixture(scope="module")
def people(fleet: Fleet) -> dict[str, Person]:
    """All causes at once; they show up while the first ones are checked."""
    return {row.cause: row.arrange(fleet) for row in ROWS}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.cause)
def test_each_cause_is_published_as_in_the_contract(row: Row, people: dict[str, Person]) -> None:
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


def test_an_event_that_gets_its_conference_is_published_with_its_link(people: dict[str, Person]) -> None:
    """Waiting ends with the outcome `assigned`; the diagnosis then has the link and no cause."""
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
    """Once the service is back, the event is assigned; it was reported as delayed only once."""
    person = people["provider_outage"]
    person.outcome("delayed", "provider_outage")

    fleet.control.end_outage("go_to")

    person.outcome("assigned", "provider_outage")
    about_event = [kind for kind, event_id in person.outcome_kinds() if event_id]
    assert about_event == ["assigned", "delayed"]


def test_an_account_connected_again_resumes(fleet: Fleet, people: dict[str, Person]) -> None:
    """Its tracked events are looked at with the new tokens, without being tracked again."""
    person = people["account_unauthorized"]
    person.outcome("account_lost", None)
    fresh = fleet.control.authorize(person.sub)
    person.refresh_token, person.access_token = fresh["refresh_token"], fresh["access_token"]
    person.stick("account_unauthorized", on=False)

    person.connect()

    person.outcome("assigned", "account_unauthorized")
    assert person.outcome_kinds().count(("account_lost", None)) == 1
    assert person.outcome_kinds().count(("account_connected", None)) == 2
