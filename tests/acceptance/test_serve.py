"""`reconciler serve` in a process of its own, beside a fleet that would not look by itself for minutes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from sandbox.notifications import HEADER, sign
from tests.acceptance.harness import CLIENT_SECRET, Fleet, zoom
from tests.acceptance.processes import Child
from tests.ports import free_port
from tests.waiting import wait_until
from worker.cronofy.callbacks import callback_path
from worker.ledger.vault import Vault

PATH = "/webhooks/cronofy"


class _Served:
    """The command, and its address."""

    def __init__(self, fleet: Fleet) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.child: Child = fleet.start("serve", "--port", str(self.port))
        wait_until(self.is_ready, 30, 0.1, what="serve to be ready")

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=3, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def post(self, body: bytes, secret: str, path: str = PATH) -> int:
        headers = {HEADER: sign(body, [secret])}
        answer = httpx.post(self.url + path, content=body, headers=headers, timeout=5, trust_env=False)
        return answer.status_code


@pytest.fixture(scope="module")
def served(quiet_fleet: Fleet) -> Iterator[_Served]:
    """Ended as a supervisor does it, with 0."""
    running = _Served(quiet_fleet)
    yield running
    quiet_fleet.children.remove(running.child)
    assert running.child.end() == 0


def test_a_notification_settles_an_event(quiet_fleet: Fleet, served: _Served) -> None:
    """Sent by Cronofy itself to an address with a key: the outcome comes, minutes before a look would."""
    person = quiet_fleet.person(zoom("pro_zoom"))
    vault = Vault([quiet_fleet.env["RECONCILER_VAULT_KEYS"]])
    uri = served.url + callback_path(vault, person.sub, person.calendar_id, "served")
    subscription = {"type": "webhook", "uri": uri, "interactions": [{"type": "conferencing_assigned"}]}
    person.stick("served")
    person.track(person.write("served", "pro_zoom", timedelta(days=2), subscriptions=[subscription]))

    person.stick("served", False)

    assert person.outcome("assigned", "served", 10)["detail"]["join_url"]


def test_what_cannot_be_opened_as_a_key_is_a_bare_notification(quiet_fleet: Fleet, served: _Served) -> None:
    """204; and one that is not signed is 401."""
    assert served.post(b"{}", CLIENT_SECRET, f"{PATH}/of-another-vault") == 204
    assert served.post(b"{}", "guessed") == 401


def test_the_metrics_are_served(quiet_fleet: Fleet, served: _Served) -> None:
    """To this machine without a token, as none is set."""
    text = httpx.get(f"{served.url}/metrics", trust_env=False).text

    assert "\nreconciler_notifications_total" in text
    assert "\nreconciler_settle_duration_seconds_count" in text


def test_an_address_that_is_taken_is_said_in_one_sentence(quiet_fleet: Fleet, served: _Served) -> None:
    """And the exit code is 1."""
    done = quiet_fleet.run("serve", "--port", str(served.port))

    assert done.returncode == 1
    assert f"port {served.port}" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
