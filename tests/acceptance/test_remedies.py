"""The relink email, from the lost connection to the links of all meetings waiting for it."""

from __future__ import annotations

import time
from datetime import timedelta

from tests.acceptance.harness import Fleet, Person, zoom
from tests.waiting import wait_until


def _is_assigned(person: Person, event_ids: list[str]) -> bool:
    settled = {event_id for kind, event_id in person.outcome_kinds() if kind == "assigned"}
    return settled >= set(event_ids)


def test_one_email_asks_for_a_profile_however_many_events_wait_for_it(fleet: Fleet) -> None:
    """Three meetings, one email that lists them soonest first; its link fixes all; no reminder follows."""
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
    assert person.outcome_kinds() == sorted(
        [
            ("account_connected", None),
            ("relink_requested", None),
            ("relinked", None),
            *(("assigned", event_id) for event_id in starts),
        ],
        key=str,
    )
