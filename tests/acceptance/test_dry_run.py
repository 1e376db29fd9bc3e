"""RECONCILER_DRY_RUN: everything is found out, nothing is done."""

from __future__ import annotations

import json
import time
from datetime import timedelta

from tests.acceptance.harness import Fleet, zoom


def test_a_dry_run_diagnoses_and_records_and_acts_on_nothing(quiet_fleet: Fleet) -> None:
    """Expired and removed profiles are diagnosed, but nothing is written at Cronofy and nobody is mailed."""
    expired = quiet_fleet.person(zoom("pro_expired", connected=False))
    expired.write_and_track("expired", "pro_expired")
    removed = quiet_fleet.person(zoom("pro_new"), removed_profiles=["pro_old"])
    for event_id in ("removed-1", "removed-2"):
        removed.write_and_track(event_id, "pro_old", timedelta(days=1), provider_name="zoom")

    [first] = quiet_fleet.caller.call("reconcile_account", sub=expired.sub)
    others = quiet_fleet.caller.call("reconcile_account", sub=removed.sub)

    assert (first["cause"], first["remedy"]) == ("credentials_expired", "relink_email")
    assert [(o["cause"], o["remedy"]) for o in others] == [("profile_removed", "reassign_profile")] * 2
    assert {o["detail"]["to_profile_id"] for o in others} == {"pro_new"}
    recorded = quiet_fleet.run(
        "explain", removed.sub, removed.calendar_id, "removed-1", "--offline", "--json"
    )
    assert recorded.returncode == 0, recorded.stderr
    shown = json.loads(recorded.stdout)
    assert (shown["cause"], shown["remedy"]) == ("profile_removed", "reassign_profile")
    time.sleep(1)
    assert quiet_fleet.writes(expired.sub) == quiet_fleet.writes(removed.sub) == []
    assert quiet_fleet.control.mail() == []
    assert expired.told() == removed.told() == [("account_connected", None)]
