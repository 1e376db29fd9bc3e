"""An application that keeps its refresh tokens, and gives access tokens when it is asked."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from tests.acceptance.harness import Fleet, zoom
from tests.waiting import wait_until


def test_an_access_token_is_asked_for_once_and_the_next_one_brings_the_link(fleet: Fleet) -> None:
    """While it is missing the account waits without a call; `status` counts it, and `explain` says so."""
    person = fleet.person(zoom("pro_given"))

    def give(access_token: str, expires_in: float) -> None:
        tokens = {"access_token": access_token, "expires_in": expires_in}
        assert fleet.caller.call("connect_account", sub=person.sub, **tokens) is True

    give(person.access_token, 4)
    body = person.write("waits", "pro_given", timedelta(days=2))
    person.stick("waits")
    person.track(body)
    asked = person.outcome("token_needed", None)
    assert set(asked["detail"]) == {"reason", "lapses_at"}
    assert wait_until(lambda: fleet_status(fleet)["without_token"] == 1, 15, what="the token to lapse")
    explained = person.explain("waits")
    assert (explained["state"], explained["cause"]) == ("pending", "account_unauthorized")
    assert "access token" in explained["evidence"][0]
    calls = len(fleet.control.requests())
    looked_at = len(diagnosed(fleet, person.sub))
    wait_until(lambda: len(diagnosed(fleet, person.sub)) > looked_at + 1, 20, what="two more looks")
    assert [r for r in fleet.control.requests()[calls:] if r["sub"] == person.sub] == []

    person.stick("waits", on=False)
    give(fleet.control.refresh_access_token(person.sub)["access_token"], 3600)

    assert person.outcome("assigned", "waits")["detail"]["join_url"]
    kinds = [kind for kind, _ in person.outcome_kinds() if kind != "escalated"]
    assert kinds == ["account_connected", "assigned", "token_needed"]
    assert fleet_status(fleet)["without_token"] == 0


def fleet_status(fleet: Fleet) -> dict[str, Any]:
    """What `reconciler status --json` prints."""
    status: dict[str, Any] = json.loads(fleet.run("status", "--json").stdout)
    return status


def diagnosed(fleet: Fleet, sub: str) -> list[dict[str, Any]]:
    """The log lines of this account's diagnoses."""
    return [line for line in fleet.logged("event.diagnosed") if line["sub"] == sub]
