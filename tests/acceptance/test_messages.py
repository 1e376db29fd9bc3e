"""Messages that Celery cannot read, put on the intake's list by whoever can reach the broker."""

from __future__ import annotations

import base64
import json
from typing import Any
from uuid import uuid4

import pytest

from tests.acceptance.harness import INTAKE, Fleet
from tests.waiting import wait_until


def _message(**changes: Any) -> dict[str, Any]:
    """A message as Celery writes it, with these parts changed."""
    task_id = str(uuid4())
    body = json.dumps([[], {"sub": "acc_nobody"}, {}]).encode()
    properties = {
        "correlation_id": task_id,
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": INTAKE},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": str(uuid4()),
    }
    headers = {"lang": "py", "task": "conferencing.forget_account", "id": task_id, "root_id": task_id}
    message = {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": properties,
    }
    return {**message, **changes}


def _encoded(content: Any) -> str:
    return base64.b64encode(json.dumps(content).encode()).decode()


def _without(name: str) -> dict[str, Any]:
    message = _message()
    del message[name]
    return message


def _raw(message: Any) -> bytes:
    return json.dumps(message).encode()


_PICKLE = base64.b64encode(b"\x80\x04]\x94.").decode()
_YAML = base64.b64encode(b"- []\n- {sub: acc_nobody}\n- {}\n").decode()
MESSAGES = {
    "not JSON": b"{not json",
    "no text": b"\xff\xfe\x00",
    "nothing": b"",
    "a JSON list": b"[1, 2, 3]",
    "a JSON number": b"7",
    "no triple": _raw(_message(body=_encoded({"sub": "acc_nobody"}))),
    "a triple of the wrong types": _raw(_message(body=_encoded([{}, [], 1]))),
    "a body that is not JSON": _raw(_message(body=base64.b64encode(b"{{{").decode())),
    "bad base64": _raw(_message(body="not base64!")),
    "pickle": _raw(_message(body=_PICKLE, **{"content-type": "application/x-python-serialize"})),
    "yaml": _raw(_message(body=_YAML, **{"content-type": "application/x-yaml"})),
    "an unknown content type": _raw(_message(**{"content-type": "application/x-nothing"})),
    "an unknown task": _raw(_message(headers={**_message()["headers"], "task": "conferencing.nothing"})),
    "headers without a task": _raw(_message(headers={"lang": "py", "id": "1"})),
    "headers that are none": _raw(_message(headers=5)),
    "no headers": _raw(_without("headers")),
    "no properties": _raw(_without("properties")),
    "no body": _raw(_without("body")),
}


@pytest.mark.parametrize("raw", MESSAGES.values(), ids=MESSAGES.keys())
def test_a_message_that_cannot_be_read_harms_nobody(raw: bytes, fleet: Fleet) -> None:
    """The same worker answers a good call right after, and the message is nowhere any more."""
    worker = fleet.up.role("worker")
    assert worker is not None

    fleet.redis.lpush(INTAKE, raw)

    fleet.answers()
    assert fleet.caller.call("forget_account", sub="acc_nobody") is True
    wait_until(fleet.drained, 30, what="no message in a worker's hands")
    fleet.answers()
    assert fleet.up.role("worker") == worker
