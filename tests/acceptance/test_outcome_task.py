"""The task that receives outcomes, as its consumer finds it on the broker."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.acceptance.conftest import OUTCOME_QUEUE
from tests.acceptance.harness import Fleet, zoom
from tests.waiting import wait_until


def _received(fleet: Fleet) -> list[dict[str, Any]]:
    """What a consumer of that queue would get, oldest first: the broker's raw list."""
    raw: Any = fleet.redis.lrange(OUTCOME_QUEUE, 0, -1)
    received = []
    for message in reversed([json.loads(item) for item in raw]):
        assert message["content-type"] == "application/json"
        assert message["headers"]["task"] == "billing.settle"
        _, kwargs, _ = json.loads(base64.b64decode(message["body"]))
        assert list(kwargs) == ["outcome"]
        received.append(kwargs["outcome"])
    return received


def test_the_named_task_is_sent_every_outcome(fleet: Fleet) -> None:
    """Everything in the stream arrives on the queue, in order and unchanged."""
    person = fleet.person(zoom("pro_zoom"))
    for number in range(5):
        person.write_and_track(f"told-{number}", "pro_zoom")
    for number in range(5):
        person.outcome("assigned", f"told-{number}")
    stream = fleet.outcomes()
    ids = {outcome["id"] for outcome in stream}

    # Another's failure may have sent one twice, and those of a forgotten account are in the stream no more.
    def received() -> list[dict[str, Any]]:
        return [o for o in {o["id"]: o for o in _received(fleet)}.values() if o["id"] in ids]

    wait_until(lambda: len(received()) == len(stream), 10, interval=0.1, what="every outcome")
    assert received() == stream
