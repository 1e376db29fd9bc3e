"""`reconciler serve` in a process of its own, beside a fleet that would not look by itself for minutes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from tests.acceptance.harness import CLIENT_SECRET, Fleet, zoom
from tests.acceptance.served import PATH, Served
from worker.cronofy.callbacks import callback_path
from worker.ledger.vault import Vault


@pytest.fixture(scope="module")
def served(quiet_fleet: Fleet) -> Iterator[Served]:
    """Ended as a supervisor does it, with 0."""
    running = Served(quiet_fleet)
    yield running
    quiet_fleet.children.remove(running.child)
    assert running.child.end() == 0


def test_a_notification_settles_an_event(quiet_fleet: Fleet, served: Served) -> None:
    """Sent by Cronofy itself to an address with a key: the outcome comes, minutes before a look would."""
    person = quiet_fleet.person(zoom("pro_zoom"))
    vault = Vault([quiet_fleet.env["RECONCILER_VAULT_KEYS"]])
    uri = served.url + callback_path(vault, person.sub, person.calendar_id, "served")
    subscription = {"type": "webhook", "uri": uri, "interactions": [{"type": "conferencing_assigned"}]}
    person.stick("served")
    person.track(person.write("served", "pro_zoom", timedelta(days=2), subscriptions=[subscription]))

    person.stick("served", False)

    assert person.outcome("assigned", "served", 10)["detail"]["join_url"]


def test_what_cannot_be_opened_as_a_key_is_a_bare_notification(quiet_fleet: Fleet, served: Served) -> None:
    """204; and one that is not signed is 401."""
    assert served.post(b"{}", CLIENT_SECRET, f"{PATH}/of-another-vault") == 204
    assert served.post(b"{}", "guessed") == 401


def test_the_metrics_are_served(quiet_fleet: Fleet, served: Served) -> None:
    """To this machine without a token, as none is set."""
    text = httpx.get(f"{served.url}/metrics", trust_env=False).text

    assert "\nreconciler_notifications_total" in text
    assert "\nreconciler_settle_duration_seconds_count" in text


def test_an_address_that_is_taken_is_said_in_one_sentence(quiet_fleet: Fleet, served: Served) -> None:
    """And the exit code is 1."""
    done = quiet_fleet.run("serve", "--port", str(served.port))

    assert done.returncode == 1
    assert f"port {served.port}" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
