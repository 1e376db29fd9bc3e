"""What is mended: a profile that its user connects again, and one that another takes the place of."""

from __future__ import annotations

import time
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from tests.acceptance.harness import Fleet, Person, zoom
from tests.waiting import wait_until

REMOVED, CANDIDATE = "pro_removed", "pro_candidate"
MOVED_BY = timedelta(hours=3)


def _is_assigned(person: Person, event_ids: list[str]) -> bool:
    told = {event_id for kind, event_id in person.told() if kind == "assigned"}
    return told >= set(event_ids)


def test_one_email_asks_for_a_profile_however_many_events_wait_for_it(fleet: Fleet) -> None:
    """Three meetings, one email that lists them soonest first; its link mends all; no reminder follows."""
    person = fleet.person(zoom("pro_expiring"))
    starts = {"later": timedelta(days=3), "soonest": timedelta(days=1), "between": timedelta(days=2)}
    for event_id, start in starts.items():
        person.stick(event_id)
        person.write_and_track(event_id, "pro_expiring", start)
    fleet.control.disconnect_profile(person.sub, "pro_expiring")
    for event_id in starts:
        person.stick(event_id, on=False)

    [mail] = wait_until(person.mails, 15, what="the relink email")
    mailed = time.monotonic()
    account = fleet.control.account(person.sub)
    [token] = [profile["relink_token"] for profile in account["conferencing_profiles"]]
    url = f"{fleet.control.base_url}/v2/relink/zoom?email={person.email.replace('@', '%40')}&token={token}"
    assert url in mail["text"]
    assert url.replace("&", "&amp;") in mail["html"]
    for body in (mail["text"], mail["html"]):
        places = [body.index(f"Meeting {event_id}") for event_id in ("soonest", "between", "later")]
        assert places == sorted(places)
    asked = person.outcome("relink_requested", None)
    assert asked["detail"]["profile_id"] == "pro_expiring"
    assert sorted(asked["detail"]["event_ids"]) == sorted(starts)

    fleet.control.follow_relink(url)

    wait_until(lambda: _is_assigned(person, list(starts)), 15, what="all to be assigned")
    assert person.outcome("relinked", None)["detail"]["profile_id"] == "pro_expiring"
    # The first reminder would have come after three seconds.
    time.sleep(max(0.0, mailed + 4.5 - time.monotonic()))
    assert len(person.mails()) == 1
    assert person.told() == sorted(
        [
            ("account_connected", None),
            ("relink_requested", None),
            ("relinked", None),
            *(("assigned", event_id) for event_id in starts),
        ],
        key=str,
    )


def test_events_of_a_removed_profile_are_moved_to_the_only_other_one(fleet: Fleet) -> None:
    """Sixty events take at most four writes; what people changed meanwhile stays as they left it."""
    person = fleet.person(zoom(REMOVED), zoom(CANDIDATE))
    event_ids = [f"event-{number:02}" for number in range(60)]
    moved, deleted, *untouched = event_ids
    for number, event_id in enumerate(event_ids):
        person.stick(event_id)
        invited = {"invite": [{"email": f"guest-{number}@example.org"}]}
        start = timedelta(days=2, minutes=number)
        body = person.write(event_id, REMOVED, start, attendees=invited)
        if event_id == moved:
            planned = datetime.fromisoformat(body["start"]["time"])
        event = {"sub": person.sub, "calendar_id": person.calendar_id, "event": body}
        fleet.caller.send("track", provider_name="zoom", **event)
    wait_until(fleet.drained, 30, what="all to be tracked")
    times = {"start": planned + MOVED_BY, "end": planned + MOVED_BY + timedelta(hours=1)}
    fleet.control.move_event(person.calendar_id, moved, **{k: v.isoformat() for k, v in times.items()})
    fleet.control.delete_event(person.calendar_id, deleted)
    for event_id in event_ids:
        person.stick(event_id, on=False)

    fleet.control.remove_profile(person.sub, REMOVED)

    wait_until(lambda: _is_assigned(person, [moved, *untouched]), 20, what="all to be assigned")
    assert 1 <= len(fleet.writes(person.sub)) <= 4
    kinds = Counter(person.told())
    assert kinds == Counter(
        [
            ("account_connected", None),
            ("closed", deleted),
            *((kind, event_id) for kind in ("reassigned", "assigned") for event_id in [moved, *untouched]),
        ]
    )
    shown: dict[str, Any] = {name: fleet.control.event(person.calendar_id, name) for name in event_ids}
    assert {event["requested_profile_id"] for name, event in shown.items() if name != deleted} == {CANDIDATE}
    assert datetime.fromisoformat(shown[moved]["start"]["time"]) == times["start"]
    assert datetime.fromisoformat(shown[moved]["end"]["time"]) == times["end"]
    assert shown[deleted]["deleted"]
    invitations = [i for i in fleet.control.invitations() if i["calendar_id"] == person.calendar_id]
    assert Counter(i["email"] for i in invitations) == {f"guest-{n}@example.org": 1 for n in range(60)}
    for outcome in fleet.outcomes(person.sub):
        if outcome["type"] == "reassigned":
            assert outcome["detail"]["from_profile_id"] == REMOVED
            assert outcome["detail"]["to_profile_id"] == CANDIDATE
