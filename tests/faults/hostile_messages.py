"""Messages no caller would write: each broken in its own way, as raw bytes for the broker's list."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from tests.acceptance.harness import INTAKE

TASK = "conferencing.forget_account"
DEEP = 100_000


def message(
    body: bytes | None = None,
    headers: Mapping[str, Any] | None = None,
    properties: Mapping[str, Any] | None = None,
    envelope: Mapping[str, Any] | None = None,
    without: str = "",
) -> bytes:
    """A valid message of Celery's protocol 2, with these parts replaced."""
    task_id = str(uuid4())
    if body is None:
        body = json.dumps([[], {"sub": "acc_hostile"}, {}]).encode()
    whole = {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": TASK, "id": task_id, "root_id": task_id, **(headers or {})},
        "properties": {
            "correlation_id": task_id,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": INTAKE},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid4()),
            **(properties or {}),
        },
        **(envelope or {}),
    }
    whole.pop(without, None)
    return json.dumps(whole).encode()


def _call(kwargs: str, args: str = "[]", embed: str = "{}") -> bytes:
    """A body, written by hand where Python's encoder would refuse."""
    return f"[{args}, {kwargs}, {embed}]".encode()


_DEEP = "[" * DEEP + "]" * DEEP

#: A worker may carry out, refuse or drop each of these, as long as it survives.
MESSAGES: dict[str, bytes] = {
    "not JSON": b"{not json",
    "not a text": b"\xff\xfe\x00",
    "nothing": b"",
    "a JSON list": b"[1, 2, 3]",
    "a JSON number": b"7",
    **{f"no {part}": message(without=part) for part in ("headers", "properties", "body")},
    "headers that are a number": message(envelope={"headers": 5}),
    "headers without a task": message(envelope={"headers": {"lang": "py", "id": "1"}}),
    "an unknown task": message(headers={"task": "conferencing.nothing"}),
    "a body that is not JSON": message(b"{{{"),
    "a body that is not a triple": message(b'{"sub": "acc_hostile"}'),
    "a triple of the wrong types": message(b"[{}, [], 1]"),
    "bad base64": message(envelope={"body": "not base64!"}),
    "pickle": message(b"\x80\x04]\x94.", envelope={"content-type": "application/x-python-serialize"}),
    "yaml": message(b"- []\n- {sub: acc_hostile}\n- {}\n", envelope={"content-type": "application/x-yaml"}),
    "an unknown content type": message(envelope={"content-type": "application/x-nothing"}),
    "a body nested 100 000 deep": message(_call(f'{{"sub": {_DEEP}}}')),
    "an envelope nested 100 000 deep": message().replace(b'"utf-8"', _DEEP.encode()),
    "a number of 10 000 digits": message(_call(f'{{"sub": {"9" * 10_000}}}')),
    "an envelope with such a number": message().replace(b'"priority": 0', b'"priority": ' + b"9" * 10_000),
    "NaN in an envelope": message(properties={"priority": float("nan")}),
    "a body that is not UTF-8": message(b'[[], {"sub": "\xff\xfe"}, {}]'),
    "an unknown encoding": message(envelope={"content-encoding": "x-nothing"}),
    "no encoding": message(envelope={"content-encoding": None}),
    "binary": message(envelope={"content-encoding": "binary"}),
    "UTF-16": message(json.dumps([[], {}, {}]).encode("utf-16"), envelope={"content-encoding": "utf-16"}),
    "an unknown body encoding": message(properties={"body_encoding": "rot13"}),
    "an unknown compression": message(headers={"compression": "application/x-nothing"}),
    "a body that is not compressed": message(headers={"compression": "application/x-gzip"}),
    "a compression that is a number": message(headers={"compression": 5}),
    "32 MB in 32 KB": message(
        zlib.compress(b"[[], {}, {}]" + b" " * 32_000_000), headers={"compression": "application/x-gzip"}
    ),
    "a name with a lone surrogate": message(headers={"task": "conferencing.\ud800"}),
    "a name with control characters": message(headers={"task": "conferencing.\x00\n\x1b[31m"}),
    "a name of 1 MB": message(headers={"task": "x" * 1_000_000}),
    "a name that is a list": message(headers={"task": [TASK]}),
    "a name that is an object": message(headers={"task": {"name": TASK}}),
    "an id with control characters": message(headers={"id": "\x00\r\n\x1b[31m"}),
    "an id with a lone surrogate": message(headers={"id": "\ud800"}),
    "an id that is a list": message(headers={"id": ["1"]}),
    "an id that is null": message(headers={"id": None}),
    "an id of 1 MB": message(headers={"id": "x" * 1_000_000}),
    "an ETA in words": message(headers={"eta": "soon"}),
    "an ETA that is a list": message(headers={"eta": [1]}),
    "an expiry in words": message(headers={"expires": "never"}),
    "an expiry that is an object": message(headers={"expires": {}}),
    "retries that are text": message(headers={"retries": "many"}),
    "time limits that are text": message(headers={"timelimit": "forever"}),
    "time limits of text": message(headers={"timelimit": ["a", "b"]}),
    "time limits below zero": message(headers={"timelimit": [-1, -1]}),
    "a group that is a number": message(headers={"group": 5}),
    "parents that are objects": message(headers={"parent_id": {}, "root_id": {}}),
    "a shadow that is an object": message(headers={"shadow": {}}),
    "an origin that is a list": message(headers={"origin": []}),
    "stamps that are a number": message(headers={"stamped_headers": "x", "stamps": 5}),
    "a reply address that is an object": message(properties={"reply_to": {}}),
    "a priority that is text": message(properties={"priority": "high"}),
    "a delivery tag that is a list": message(properties={"delivery_tag": []}),
    "no delivery tag": message(properties={"delivery_tag": None}),
    "a routing that is a number": message(properties={"delivery_info": 5}),
    "callbacks that are a number": message(
        _call("{}", embed='{"callbacks": 5, "errbacks": "x", "chain": 1}')
    ),
    "a callback of an unknown task": message(
        _call('{"sub": "acc_hostile"}', embed='{"callbacks": [{"task": "x", "args": [], "options": {}}]}')
    ),
    "a chord that is a text": message(_call('{"sub": "acc_hostile"}', embed='{"chord": "x"}')),
    "arguments that are an object": message(_call("{}", args='{"a": 1}')),
    "keyword arguments with the worker's own names": message(
        _call('{"self": 1, "task": 2, "args": 3, "kwargs": 4, "request": 5}')
    ),
}
